"""Single files of Sentinel-2 and Sentinel-1: what their names tell, and what they leave open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from commands import refused, told, typed
from deliveries import raster, sentinel1, sentinel2
from rasterio.control import GroundControlPoint

from satae.scene import msi
from satae.scene.describe import describe

RNG = np.random.default_rng(7)
TEN, TWENTY = ("B02", "B03", "B04", "B08"), ("B05", "B8A", "B11", "B12")
MAP = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_200_000)}
CORNERS = [GroundControlPoint(r, c, 9 + c / 700, 47 - r / 600) for r in (0, 60) for c in (0, 70)]


def files(folder: Path, darkest: int) -> list[Path]:
    """Eight files of one band each."""
    made = []
    for metres, names in ((10, TEN), (20, TWENTY)):
        side = 1200 // metres
        image = RNG.integers(darkest, 3000, (len(names), 1, side, side)).astype(np.uint16)
        made += [
            raster(folder / f"T32TQM_20230101T101401_{name}_{metres}m.jp2", plane, metres)
            for name, plane in zip(names, image, strict=True)
        ]
    return made


def test_eight_files_are_the_bands_that_their_names_say(here: Path) -> None:
    paths = files(here, 60)
    scene = describe(paths)
    assert scene.names == TEN + TWENTY
    assert scene.wavelengths == (492.7, 559.8, 664.6, 832.8, 704.1, 864.7, 1613.7, 2202.4)
    assert {b.nodata for b in scene.bands} == {0.0} and scene.grid.transform.a == 10
    done = typed("tile", *paths, "--stack", "--bands", "red,B8A".replace("red", "B04"), "--size", 16)
    assert done.exit_code == 0 and "offset" not in done.stderr


@pytest.mark.parametrize(
    ("darkest", "said"),
    [
        (
            1060,
            "by their dark end its DN hold the offset of 1000 that came with baseline 04.00; pass --offset -1000",
        ),
        (2200, "its dark end does not tell whether its DN hold the offset of 1000"),
    ],
)
def test_an_offset_of_an_unknown_baseline_is_doubted(here: Path, darkest: int, said: str) -> None:
    paths = files(here, darkest)
    assert said in typed("tile", *paths, "--stack", "--size", 16).stderr
    cured = typed("tile", *paths, "--stack", "--size", 16, "--offset", -1000, "--out", "cured")
    assert cured.exit_code == 0 and "its DN hold" not in cured.stderr and "dark end" not in cured.stderr


def test_the_folder_above_states_the_baseline(here: Path) -> None:
    image = {"B02_10": RNG.integers(3000, 5000, (96, 120))}  # too bright to tell
    for baseline, holds in (("05.11", True), ("02.14", False)):
        file = next(sentinel2(here, image, baseline=baseline).rglob("*_B02_10m.jp2"))
        text = typed("info", file).stderr
        assert (
            f"its folder names processing baseline {baseline}" in text
        ) == holds and "does not" not in text


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("T32TQM_20230101T101401_B8A.jp2", "B8A"),
        ("L2A_T32TQM_20170101T101401_B02_10m.jp2", "B02"),
        ("T32TQM_20230101T101401_SCL_20m.jp2", ""),
        ("T32TQM_20230101T101401_B13_20m.jp2", ""),
        ("B02.jp2", ""),
    ],
)
def test_names_of_files_are_those_of_bands(name: str, band: str) -> None:
    assert msi.band_of(name) == band


def test_radar_in_its_own_geometry_is_refused_with_what_cures_it(here: Path) -> None:
    images = {pol: RNG.integers(1, 500, (60, 70)) for pol in ("vv", "vh")}
    path = sentinel1(here, images, gcps=CORNERS, crs="EPSG:4326")
    text = refused(2, "tile", path)
    assert "is in the geometry of the radar" in text and "located by 4 ground control points only" in text
    assert "`gdalwarp -t_srs EPSG:32632 -tps s1a-iw-grd-vv-" in text and "--stack" in text
    assert "EPSG:32632 -tps" in refused(2, "info", next(path.rglob("*-vh-*.tiff")))


def test_radar_on_a_map_is_amplitudes_and_says_so(here: Path) -> None:
    images = {pol: RNG.integers(1, 500, (60, 70)) for pol in ("vv", "vh")}
    images["vh"][:9] = 0
    path = sentinel1(here, images, **MAP)
    said = told("info", path)
    assert (said["product"], said["day"], said["baseline"]) == ("Sentinel-1 GRD", "2023-06-15", "003.61")
    assert [b["name"] for b in said["bands"]] == ["vv", "vh"] and len(said["remarks"]) == 1
    done = typed("tile", path, "--size", 16)
    assert done.exit_code == 0 and done.stderr.count("nothing is calibrated (no sigma nought)") == 1
    scene = describe([path])
    with scene.open() as reader:
        image, valid = reader.read(scene.grid.window)
    assert np.array_equal(image, list(images.values()))
    assert np.array_equal(valid, (np.arange(60) >= 9)[:, None].repeat(70, 1))


def test_radar_is_known_by_its_tag_once_it_was_renamed(here: Path) -> None:
    path = raster(here / "warped.tif", RNG.integers(1, 500, (1, 60, 70)).astype(np.uint16), 10)
    assert "sigma" not in typed("info", path).stderr
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_IMAGEDESCRIPTION="Sentinel-1A IW GRD HR L1")
    assert "nothing is calibrated (no sigma nought)" in typed("info", path).stderr
