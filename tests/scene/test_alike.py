"""Files that lie on one grid but for rounding, on none, or elsewhere: stacks and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import alike
from satae.scene.describe import describe
from satae.scene.scene import Limits

PIXELS = np.random.default_rng(2).integers(1, 200, (1, 24, 32)).astype("uint16")
UTM = Affine(10, 0, 500_000, 0, -10, 5_200_000)
HALF = np.zeros((1, 24, 32), "uint8")
HALF[:, :, 16:] = 1


def stack(make_scene, **change: object) -> int:
    """The number of bands of two files stacked, of which the second differs."""
    paths = make_scene(PIXELS, name="a_B2.tif"), make_scene(PIXELS, name="a_B3.tif", **change)
    return len(describe(paths).names)


def valid(scene: Path, mask: Path) -> np.ndarray:
    described = describe([scene], limits=Limits(mask=mask))
    with described.open() as reader:
        return reader.read(described.grid.window)[1]


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 500_000 + 1e-7, 0, -10, 5_200_000 - 1e-7),
        Affine(np.nextafter(10, 11), 0, 500_000, 0, -np.nextafter(10, 9), 5_200_000),
        Affine(320.01 / 32, 0, 500_000, 0, -10, 5_200_000),
    ],
)
def test_grids_that_differ_by_rounding_are_stacked(make_scene, transform: Affine) -> None:
    assert stack(make_scene, transform=transform) == 2


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_a_difference_is_measured_in_pixels_over_the_whole_extent(make_scene, scale: float) -> None:
    # a hundredth of a thousandth of a pixel a column comes to a pixel in a wide scene
    wide = Grid(10, 100_000, Affine(scale, 0, 0, 0, -scale, 0), None)
    other = Grid(10, 100_000, Affine(scale * (1 + 1e-5), 0, 0, 0, -scale, 0), None)
    assert wide.apart(other) == pytest.approx(1, rel=1e-6) and wide.apart(wide) < 1e-9


def test_a_place_is_where_the_grid_has_its_coordinates() -> None:
    grid = Grid(10, 20, Affine(8, 6, 400_000, 6, -8, 6_000_000), None)
    at = np.array([[0.5, 0.5], [3, 17.25]])
    assert grid.place(grid.xy(at[:, 0], at[:, 1])) == pytest.approx(at)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"transform": Affine(10, 0, 500_001, 0, -10, 5_200_000)},
            "by up to 0.1 pixels; resample one with `gdalwarp`",
        ),
        ({"crs": "EPSG:32633"}, "state different CRSs; resample one with `gdalwarp`"),
        ({"crs": None}, "a_B3.tif states no CRS or no position and"),
    ],
)
def test_what_differs_is_said_with_what_mends_it(make_scene, change: dict, said: str) -> None:
    with pytest.raises(SceneError) as info:
        stack(make_scene, **change)
    assert said in str(info.value)


def test_one_crs_written_in_two_ways_is_one(make_scene, tmp_path: Path) -> None:
    esri = rasterio.crs.CRS.from_epsg(32632).to_wkt(version="WKT1_ESRI")
    assert stack(make_scene, crs=esri) == 2


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("crs", [None, "EPSG:32632"])
def test_a_mask_of_the_scenes_shape_without_a_position_is_used_with_a_note(
    make_scene, caplog, monkeypatch, crs
) -> None:
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    mask = make_scene(HALF, name="mask.tif", crs=crs, transform=Affine.identity() if crs is None else UTM)
    assert (valid(make_scene(PIXELS), mask) == HALF[0].astype(bool)).all()
    assert ("taken as those of the scene" in caplog.text) == (crs is None)


def test_a_mask_without_a_crs_at_another_place_is_refused(make_scene) -> None:
    mask = make_scene(HALF, name="mask.tif", crs=None, transform=UTM @ Affine.translation(3, 0))
    with pytest.raises(SceneError, match="without a CRS in both they cannot be matched"):
        valid(make_scene(PIXELS), mask)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3857", "EPSG:32733"])
def test_a_mask_of_another_place_is_refused(make_scene, crs: str) -> None:
    mask = make_scene(HALF, name="mask.tif", crs=crs, transform=Affine(10, 0, 400_000, 0, -10, 100_000))
    with pytest.raises(SceneError, match=r"mask.tif lies elsewhere: it does not touch the scene"):
        valid(make_scene(PIXELS), mask)


def test_a_mask_that_covers_a_part_or_the_world_is_used(make_scene) -> None:
    part = make_scene(HALF, name="part.tif", transform=UTM @ Affine.translation(16, 0))
    assert valid(make_scene(PIXELS), part).sum() == 0  # its used half lies outside
    world = np.ones((1, 18, 36), "uint8")
    here = make_scene(world, name="world.tif", crs="EPSG:4326", transform=Affine(10, 0, -180, 0, -10, 90))
    assert valid(make_scene(PIXELS), here).all()


def test_grids_without_a_crs_or_with_one_that_tears_may_touch() -> None:
    here = Grid(24, 32, UTM, rasterio.crs.CRS.from_epsg(32632).to_wkt())
    assert alike.may_touch(here, Grid(24, 32, UTM, None))
    disc = Grid(
        9, 9, Affine(2e6, 0, -9e6, 0, -2e6, 9e6), rasterio.crs.CRS.from_string("+proj=ortho").to_wkt()
    )
    assert alike.may_touch(disc, here)
