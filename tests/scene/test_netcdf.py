"""A netCDF over time is read as its arrays are, and as a GeoTIFF of the same pixels lies."""

from datetime import date, timedelta

import cubes
import h5py
import numpy as np
import pytest

from satae.cli.acquisitions import scenes_of
from satae.cli.flags import PIXELS, PixelOptions
from satae.console import SILENT
from satae.errors import SceneError
from satae.grid import Window
from satae.scene.describe import describe
from satae.series import stack

TIMES = [3, 19, 200]
RNG = np.random.default_rng(0)
VALUES = {name: RNG.integers(1, 5000, (3, 20, 30)).astype("<u2") for name in ("B04", "B08")}


def days(times=TIMES):
    return [(date(2018, 1, 1) + timedelta(days=t)).isoformat() for t in times]


def test_bands_grid_and_pixels_are_those_of_the_arrays(tmp_path):
    path = cubes.netcdf(tmp_path / "a.nc", TIMES, VALUES, chunks=(1, 8, 8), compression="gzip")
    scene = describe([path])
    assert [b.name for b in scene.bands] == [f"{d} {name}" for d in days() for name in VALUES]
    assert tuple(scene.grid.transform)[:6] == (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_200_000.0)
    assert "32N" in scene.grid.crs and scene.block == (8, 8) and not scene.is_plain
    window = Window(3, 5, 11, 20)
    with scene.open() as reader:
        image, valid = reader.read(window)
    whole = np.stack([VALUES[name][i] for i in range(3) for name in VALUES])
    np.testing.assert_array_equal(image, whole[:, *window.slices(scene.grid.window)])
    assert valid.all()


def test_a_cube_is_a_scene_a_date_with_fill_masked_and_scales_kept(tmp_path):
    holed = {name: cube.copy() for name, cube in VALUES.items()}
    holed["B04"][1, :5] = 0
    path = cubes.netcdf(tmp_path / "a.nc", TIMES, holed)
    with h5py.File(path, "r+") as file:
        for name in holed:
            file[name].attrs["scale_factor"] = np.array([1e-4])
    scenes, found = scenes_of([str(path)], None, PIXELS, SILENT)
    assert [s.name for s in scenes] == [f"a_{d.replace('-', '')}" for d in days()]
    assert {s.names for s in scenes} == {("B04", "B08")} and {s.scales for s in scenes} == {(1e-4, 1e-4)}
    place = stack.stack(scenes, found)
    with place.open() as reader:
        cube, valid = reader.read(place.grid.window)
    assert not valid[1, :5].any() and valid.sum() == 3 * 600 - 150
    np.testing.assert_array_equal(cube[0], np.stack([holed[name][0] for name in holed]))
    scenes, _ = scenes_of([str(tmp_path)], None, PixelOptions(bands="B08"), SILENT)
    assert {s.names for s in scenes} == {("B08",)}


@pytest.mark.parametrize(
    ("units", "times"),
    [
        ("days since 2018-01-01", TIMES),
        ("hours since 2018-01-01T00:00:00Z", [24 * t + 10 for t in TIMES]),
        ("seconds since 1970-01-01 00:00:00", [86400.0 * (17_532 + t) for t in TIMES]),
        ("nanoseconds since 2018-01-01 00:00:00.000000", [86400e9 * t for t in TIMES]),
    ],
)  # fmt: skip
def test_times_are_counted_in_units_of_cf(tmp_path, units, times):
    path = cubes.netcdf(tmp_path / "a.nc", times, VALUES, units=units)
    assert [b.name[:10] for b in describe([path]).bands[::2]] == days()


def test_degrees_and_rows_from_south_to_north_are_known_by_their_coordinates(tmp_path):
    path = cubes.netcdf(
        tmp_path / "a.nc",
        TIMES,
        VALUES,
        axes=("t", "lat", "lon"),
        corner=(10.0, 45.0),
        pixel=(0.01, 0.02),
        crs=None,
    )
    grid = describe([path]).grid
    assert "WGS 84" in grid.crs
    np.testing.assert_allclose(grid.xy(0, 0), (10.0, 45.0), atol=1e-9)
    np.testing.assert_allclose(grid.xy(20, 30), (10.3, 45.4), atol=1e-9)


def uneven(file):
    file["x"][4] += 3


def other_axes(file):
    file["B08"].dims[1].detach_scale(file["y"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (uneven, "coordinate x that is not in even steps"),
        (
            lambda f: f["time"].attrs.__setitem__("units", "moons since 2018-01-01"),
            "'moons since 2018-01-01'",
        ),
        (lambda f: f["time"].attrs.__setitem__("calendar", "360_day"), "360_day"),
        (lambda f: f["time"].__setitem__(0, np.inf), "a time that is no date"),
    ],
)
def test_what_cannot_be_placed_is_refused(tmp_path, change, said):
    path = cubes.netcdf(tmp_path / "a.nc", TIMES, VALUES)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(SceneError, match=said):
        describe([path])


def test_a_variable_on_other_axes_is_no_band_and_hdf5_without_time_is_no_cube(tmp_path):
    path = cubes.netcdf(tmp_path / "a.nc", TIMES, VALUES)
    with h5py.File(path, "r+") as file:
        other_axes(file)
    assert [b.name for b in describe([path]).bands] == [f"{d} B04" for d in days()]
    with h5py.File(path, "r+") as file:
        del file["B04"]
    with pytest.raises(SceneError, match=r"no variables over \(time, y, x\)"):
        describe([path])


def test_two_passes_of_one_day_are_refused_with_the_day(tmp_path):
    path = cubes.netcdf(tmp_path / "a.nc", [3.1, 3.4, 19], VALUES)
    with pytest.raises(SceneError, match="twice on 2018-01-04"):
        scenes_of([str(path)], None, PIXELS, SILENT)
