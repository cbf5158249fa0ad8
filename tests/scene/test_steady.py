"""A file that changes under the reader: one sentence, nothing published, whatever was read of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scored import run

from satae.errors import SceneError
from satae.grid import Window
from satae.inference import runtime
from satae.scene import stream
from satae.scene.describe import describe
from satae.scene.scene import Limits, SceneReader
from satae.tiles.cut import Cut, cut

NOISE = np.random.default_rng(0).integers(1, 200, (2, 300, 190)).astype("uint16")
BLOCKS = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def swap(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    os.replace(other, path)


def rewrite(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))


CHANGES: list[Callable[[Path], None]] = [shorten, swap, rewrite, os.unlink]


def change_at_second_read(change: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in small strips, and do something before the second one."""
    reads, read = [0], SceneReader._read

    def counting(self: SceneReader, window: Window) -> tuple[np.ndarray, np.ndarray]:
        reads[0] += 1
        if reads[0] == 2:
            change()
        return read(self, window)

    monkeypatch.setattr(stream, "STRIP_BYTES", 2**15)
    monkeypatch.setattr(SceneReader, "_read", counting)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("salvage", [False, True])
def test_a_scene_that_changes_while_it_is_cut_leaves_no_tile_set(
    make_scene, tmp_path: Path, monkeypatch, change: Callable[[Path], None], salvage: bool
) -> None:
    path = make_scene(NOISE, **BLOCKS)
    scene = describe([path], limits=Limits(salvage=salvage))
    change_at_second_read(lambda: change(path), monkeypatch)
    with pytest.raises(SceneError, match=r"changed while it was read|does not exist"):
        cut(scene, tmp_path / "tiles", Cut(size=64, workers=1))
    assert list(tmp_path.iterdir()) == []


def test_a_scene_that_changes_while_it_is_scored_leaves_the_older_result(
    scene_path: Path, model: runtime.Model, tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "scene.tif"
    shutil.copy(scene_path, path)
    scene = describe([path])
    run(tmp_path, model, scene)
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file() and p != path}
    change_at_second_read(lambda: rewrite(path), monkeypatch)
    with pytest.raises(SceneError, match=r"scene\.tif changed while it was read, so nothing was kept"):
        run(tmp_path, model, scene, overwrite=True)
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file() and p != path} == before


def test_a_mask_and_a_scene_that_changed_since_they_were_described_are_not_opened(make_scene) -> None:
    path = make_scene(NOISE)
    mask = make_scene(np.ones((1, 300, 190), "uint8"), name="mask.tif")
    scene = describe([path], limits=Limits(mask=mask))
    rewrite(mask)
    with pytest.raises(SceneError, match=r"mask\.tif changed while it was read"), scene.open():
        pass
