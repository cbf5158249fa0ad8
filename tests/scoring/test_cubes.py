"""A hyperspectral model and a cube of other band centres: bands by wavelength, or a refusal with both lists."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import geopandas
import numpy as np
import pytest
import rasterio
from commands import refused, typed
from deliveries import envi, raster
from numpy.typing import NDArray

from satae.errors import ModelError
from satae.inference import runtime
from satae.inference.card import Band
from satae.scene.describe import describe
from satae.scoring.cubes import _listed, by_wavelength
from satae.tiles import store

PCA = Path(__file__).parents[2] / "configs" / "pca.yaml"
RNG = np.random.default_rng(0)
CENTRES = np.arange(400.0, 520, 10)
SMOOTH = np.cumsum(RNG.normal(0, 4, (12, 96, 112)), axis=0) + 1000
CUBE = (SMOOTH + RNG.normal(0, 3, SMOOTH.shape)).astype("<f4")
CUBE[5, 40:45, 50:55] += 60  # in one band, which no smooth spectrum has
REST = np.ones((96, 112), np.uint8)
REST[32:64, 48:64] = 0


def cube(
    path: Path, image: NDArray[np.float32], centres: NDArray[np.float64], width: float | None = 10
) -> Path:
    lists = {"wavelength": centres} | ({} if width is None else {"fwhm": np.full(len(centres), width)})
    header = "".join(f"{key} = {{{', '.join(map(str, values))}}}\n" for key, values in lists.items())
    return envi(path, image.astype("<f4"), header=f"wavelength units = Nanometers\n{header}")


def trained(here: Path, width: float | None = 10) -> Path:
    """A model of twelve bands, in the folder that is worked in."""
    path = cube(here / "first.img", CUBE, CENTRES, width)
    rest = raster(here / "rest.tif", REST[None], 30)
    for words in (
        ("tile", path, "--size", 16, "--mask", rest),
        ("train", "--config", PCA, "--epochs", 1, "--device", "cpu"),
    ):
        assert typed(*words).exit_code == 0
    return here / "model.onnx"


def heat(path: Path) -> NDArray[np.float32]:
    with rasterio.open(path) as file:
        return np.asarray(file.read(1))


def taken(path: Path, centres: Sequence[float], widths: Sequence[float | None]) -> tuple[str, ...]:
    """The bands of a cube that stand for those of a model."""
    known = enumerate(zip(centres, widths, strict=True))
    bands = [Band(name=f"B{i}", wavelength=nm, width=width) for i, (nm, width) in known]
    card = SimpleNamespace(bands=bands)
    return by_wavelength(describe([path]), cast(Any, SimpleNamespace(card=card))).names


def test_bands_of_other_centres_and_order_are_taken_by_wavelength(here: Path) -> None:
    model = trained(here)
    # the same ground, seen 3 nm further on, backwards, and with bands between and beyond
    centres = np.concatenate([CENTRES + 3, CENTRES + 5.5, [300.0, 900.0]])
    image = np.concatenate([CUBE, RNG.normal(0, 1, (14, 96, 112))])
    other = cube(here / "other.img", image[::-1], centres[::-1])
    for path in ("first.img", other):
        out = here / f"{Path(path).stem}.gpkg"
        how = ("--heatmap", out.with_suffix(".tif"), "--top", 3, "--force-domain")
        assert (done := typed("score", path, "--out", out, *how)).exit_code == 0
    assert "12 of its 26 bands are taken by wavelength, at most 3 nm from those of the model" in done.stderr
    one, two = (heat(here / f"{name}.tif") for name in ("first", "other"))
    assert np.array_equal(one, two, equal_nan=True) and np.nanmax(one) > 2
    row = geopandas.read_file(here / "other.gpkg", layer="anomalies").iloc[0]
    names = [f"{nm:g} nm" for nm in CENTRES + 3]
    assert row["top_band"] in names and set(json.loads(row["band_shares"])) <= set(names)
    # what is kept, in model, tile set, and a decoded copy on a grid of its own
    assert [(b.wavelength, b.width) for b in runtime.load(model, "cpu").card.bands] == [
        (nm, 10) for nm in CENTRES
    ]
    record = store.load(here / "tiles" / "first").record
    assert (record.wavelengths, record.widths) == (CENTRES.tolist(), [10.0] * 12)
    assert typed("tile", here / "first.img", "--size", 16, "--gsd", 60, "--out", "coarse").exit_code == 0
    assert describe([here / "coarse" / "first" / "scene.tif"]).wavelengths == tuple(CENTRES)
    # and what is refused
    away = np.where((CENTRES > 440) & (CENTRES < 480), 900 + CENTRES, CENTRES + 2.0)
    said = refused(2, "score", cube(here / "away.img", CUBE, away), "--out", "away.gpkg")
    assert "has no band within the width of 460, 470 nm" in said
    assert "its bands lie at 402, 412, 422, 432, 442, 1350, 1360, 1370, 482, 492, 502, 512 nm" in said
    assert "the model's at 400, 410, 420, 430, 440, 450, 460, 470, 480, 490, 500, 510 nm" in said
    assert not (here / "away.gpkg").exists()


def test_a_width_that_is_not_known_is_the_distance_to_the_next_band(tmp_path: Path) -> None:
    path = cube(tmp_path / "cube.img", CUBE[:3], np.array([404.0, 420, 437]), None)
    assert taken(path, [410, 400, 432], [None] * 3) == ("404 nm_1", "404 nm_2", "437 nm")
    with pytest.raises(ModelError, match="within the width of 390 nm"):
        taken(path, [390, 400, 410], [None] * 3)


def test_one_band_within_the_width_of_two_stands_for_both_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = cube(tmp_path / "cube.img", CUBE[:2], np.array([404.0, 420]))
    assert taken(path, [420, 400, 408], [10, 10, 10]) == ("420 nm", "404 nm_2", "404 nm_3")
    assert "1 of the model's bands share one with another" in caplog.text


def test_wide_bands_are_put_in_order_where_they_are_the_same_under_other_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Landsat 8 in the order of a catalogue, and a model of Sentinel-2: NIR is 33 nm apart
    path = cube(tmp_path / "cube.img", CUBE[:4], np.array([655.0, 482, 562, 865]), 60)
    sentinel = ([493, 560, 665, 833], [65, 35, 30, 105])
    assert taken(path, *sentinel) == ("482 nm", "562 nm", "655 nm", "865 nm")
    assert (
        "655 nm, 482 nm, 562 nm, 865 nm are taken in the order of the model's, B0, B1, B2, B3" in caplog.text
    )
    given = ("655 nm", "482 nm", "562 nm", "865 nm")
    # other bands (one of 705, one twice as far), or not one for each
    for centres in ([705, 480, 560, 865], [493, 560, 740, 833], [493, 560, 665]):
        assert taken(path, centres, [60] * len(centres)) == given
    # and nothing to say of an order that is right
    caplog.clear()
    right = cube(tmp_path / "right.img", CUBE[:4], np.array([482.0, 562, 655, 865]), 60)
    assert taken(right, *sentinel) == describe([right]).names and not caplog.text


def test_unknown_wavelengths_are_left_to_their_names(tmp_path: Path) -> None:
    plain = raster(tmp_path / "plain.tif", CUBE[:2], 30)
    assert taken(plain, [420, 400], [10, 10]) == ("band1", "band2")


def test_long_lists_are_shortened() -> None:
    said = _listed(np.arange(400.0, 2500, 10).tolist())
    assert said.startswith("400, 410,") and said.endswith("2490 nm (210 bands)") and len(said) < 200


def test_files_of_before_are_read_and_others_are_not_mixed_with_them(here: Path) -> None:
    path = here / "tiles" / "first" / "tileset.json"
    typed("tile", cube(here / "first.img", CUBE, CENTRES), "--size", 16)
    record = json.loads(path.read_text())
    old = {key: value for key, value in record.items() if key not in ("wavelengths", "widths")}
    path.write_text(json.dumps(old))
    assert store.load(path.parent).record.wavelengths is None
    moved = {**record, "sha256": "0", "wavelengths": [nm + 300 for nm in record["wavelengths"]]}
    for name, content in (("one", record), ("two", moved)):
        shutil.copytree(path.parent, here / "sets" / name)
        (here / "sets" / name / "tileset.json").write_text(json.dumps(content))
    assert "has wavelengths 700" in refused(2, "train", here / "sets", "--config", PCA)
    assert Band.model_validate({"name": "red", "scale": 1.0, "offset": 0.0}).wavelength is None
