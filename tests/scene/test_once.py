"""What is slow to read is decoded once, block by block, whoever asks for it: the scan and its halo, checks, threads."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import typed
from deliveries import DRIVERS, raster, sentinel2

from satae.grid import Window
from satae.scene import stream
from satae.scene.describe import describe
from satae.scene.raster import Raster
from satae.scene.scene import Limits, Scene, Survey
from satae.scene.together import once as decoded_once

PCA = Path(__file__).parents[2] / "configs" / "pca.yaml"
RNG = np.random.default_rng(0)
SIDE, BLOCK = (200, 170), 64
FINE = {f"{band}_10": RNG.integers(200, 3000, SIDE) for band in ("B02", "B03", "B04", "B08")}
CLASSES = RNG.choice([4, 9], (100, 85), p=[0.9, 0.1]).astype(np.uint8)
BLOCKS = 4 * 4 * 3  # of all files


def in_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Sentinel-2 product in blocks of 64 pixels."""
    monkeypatch.setitem(DRIVERS, ".jp2", DRIVERS[".jp2"] | {"blockxsize": BLOCK, "blockysize": BLOCK})
    monkeypatch.setattr(stream, "LARGEST_SIDE", BLOCK)
    return sentinel2(folder, FINE, classes=CLASSES)


@contextmanager
def counted() -> Iterator[Counter[tuple[str, Window]]]:
    """How often each block of an image of 10 m is decoded meanwhile."""
    found, read = Counter[tuple[str, Window]](), Raster._decoded

    def decoded(self: Raster, window: Window, *how: object) -> np.ndarray:
        if self.path.stem.endswith("_10m"):
            found.update((self.path.stem, part.cell(self.block)) for part in window.cells(self.block))
        return read(self, window, *how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Raster, "_decoded", decoded)
        yield found


def test_a_product_that_is_scored_is_decoded_once_and_one_that_was_tiled_never(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = in_blocks(here, monkeypatch)
    assert typed("tile", product, "--size", 16).exit_code == 0
    assert typed("train", "--config", PCA, "--epochs", 1, "--device", "cpu").exit_code == 0
    with counted() as found:
        assert typed("score", product, "--out", "tiled.gpkg", "--top", 3).exit_code == 0
    assert not found
    Path("tiles").rename("elsewhere")
    with counted() as found:
        assert typed("score", product, "--out", "alone.gpkg", "--top", 3, "--workers", 3).exit_code == 0
    assert len(found) == BLOCKS and set(found.values()) == {1}
    assert not list(Path().glob(".*"))  # what was decoded is gone
    assert Path("tiled_heatmap.tif").read_bytes() == Path("alone_heatmap.tif").read_bytes()


def test_any_window_is_what_the_scene_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = describe([in_blocks(tmp_path, monkeypatch)])
    kept = pickle.loads(pickle.dumps(decoded_once(scene, tmp_path / "kept")))
    with scene.open() as reader:
        image, valid = (
            np.pad(a, [(0, 0)] * (a.ndim - 2) + [(90, 90)] * 2) for a in reader.read(scene.grid.window)
        )
    assert 0.85 < valid[90:-90, 90:-90].mean() < 0.95
    places = [
        Window(*map(int, RNG.integers(-80, 160, 2)), *map(int, RNG.integers(1, 90, 2))) for _ in range(60)
    ]

    def same(at: Window) -> bool:
        rows, cols = at.slices(Window(-90, -90, *valid.shape))
        with kept.open() as reader:
            mine = reader.read(at)
        return all(map(np.array_equal, mine, (image[:, rows, cols], valid[rows, cols])))

    with counted() as found, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, places))
    assert set(found.values()) == {1}


def test_blocks_that_cannot_be_decoded_are_told_to_all_who_read(tmp_path: Path) -> None:
    path = raster(tmp_path / "s.tif", np.ones((1, 96, 96), np.uint8), 10, tiled=True, blockxsize=32, blockysize=32,
                  compress="deflate")  # fmt: skip
    content = bytearray(path.read_bytes())
    content[-8:] = bytes(8)  # the end of the last block
    path.write_bytes(content)
    scene = describe([path], limits=Limits(salvage=True))
    assert decoded_once(scene, tmp_path / "kept") is scene  # what is soon read is not kept
    (file,) = scene.files
    scene = replace(scene, files=(replace(file, source=replace(file.source, slow=True)),))
    direct, kept = damaged(scene), decoded_once(scene, tmp_path / "kept")
    assert direct == damaged(kept) == damaged(kept) == (Window(64, 64, 32, 32),)


def damaged(scene: Scene) -> tuple[Window, ...]:
    survey = Survey(scene)
    with survey.open() as reader:
        _, valid = reader.read(scene.grid.window)
    assert valid.sum() == 96 * 96 - 32 * 32
    return survey.damage
