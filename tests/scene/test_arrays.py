"""Arrays and DataArrays that are no scene are refused in one sentence, and the others keep their places and fills."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio

from satae.api.scenes import open_scene
from satae.errors import SataeError
from satae.scene import arrays

PLACE = (10, 0, 5e5, 0, -10, 5e6)
IMAGE = np.random.default_rng(0).integers(1, 200, (2, 20, 30)).astype("uint16")


@pytest.mark.parametrize(
    ("array", "how", "sentence"),
    [
        (IMAGE, {}, "an array needs transform="),
        (IMAGE[None], {"transform": PLACE}, r"of shape \(1, 2, 20, 30\) is no image"),
        (IMAGE.astype(complex), {"transform": PLACE}, "pixels of type complex128"),
        (IMAGE, {"transform": (1, 2)}, r"transform \(1, 2\) is no Affine"),
        (IMAGE, {"transform": PLACE, "crs": "EPSG:none"}, "crs 'EPSG:none' is no CRS"),
        (IMAGE, {"transform": PLACE, "names": ["red"]}, "names= has 1 for 2 bands"),
        (IMAGE[:, :0], {"transform": PLACE}, r"shape \(2, 0, 30\) has no pixels"),
        (IMAGE[:0], {"transform": PLACE}, r"shape \(0, 20, 30\) has no pixels"),
        (IMAGE[0, :, :0], {"transform": PLACE}, r"shape \(1, 20, 0\) has no pixels"),
        (5, {}, "^int is no scene"),
    ],
)
def test_what_is_no_scene_is_refused(array: Any, how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SataeError, match=sentence):
        open_scene(array, **how)


def test_an_array_without_a_crs_is_as_a_file_without_one(tmp_path: Path) -> None:
    scene = open_scene(IMAGE, transform=PLACE, keep=tmp_path / "kept.tif")
    (tmp_path / "file.tif").write_bytes(Path(scene.path).read_bytes())
    assert scene.grid == open_scene(tmp_path / "file.tif").grid
    assert (scene.grid.crs, scene.grid.pixel_area_m2, tuple(scene.grid.transform)[:6]) == (None, None, PLACE)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float16", "uint8", "float32"])
def test_numbers_of_any_type_are_kept(dtype: str, tmp_path: Path) -> None:
    image = (IMAGE % 2 if dtype == "bool" else IMAGE % 100).astype(dtype)
    arrays.of_array(image, PLACE, "EPSG:32632").write(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert np.array_equal(dataset.read().astype("float64"), image.astype("float64"))
        assert tuple(dataset.transform)[:6] == PLACE and dataset.crs.to_epsg() == 32632


def test_masked_pixels_do_not_count_in_any_band(tmp_path: Path) -> None:
    image = np.ma.masked_array(IMAGE, np.zeros(IMAGE.shape, bool))
    image[1, 3, 4] = np.ma.masked
    scene = open_scene(image, transform=PLACE, keep=tmp_path / "kept.tif")
    with scene.open() as reader:
        _, valid = reader.read(scene.grid.window)
    assert np.argwhere(~valid).tolist() == [[3, 4]] and scene.path == tmp_path / "kept.tif"


def labelled(x: Any, y: Any, dims: tuple[str, ...] = ("y", "x")) -> Any:
    """What of a DataArray is looked at before its pixels are."""
    coords = {"x": SimpleNamespace(values=np.array(x)), "y": SimpleNamespace(values=np.array(y))}
    made = SimpleNamespace(
        dims=dims, coords=coords, attrs={}, encoding={}, isel=None, dtype=np.dtype("uint8"),
        sizes={"x": len(x), "y": len(y)},
    )  # fmt: skip
    made.transpose = lambda *names: made
    return made


@pytest.mark.parametrize(
    ("x", "y", "dims", "sentence"),
    [
        ([0, 1, 3], [2, 1], ("y", "x"), "coordinates x of the DataArray are not evenly spaced"),
        ([0, 1], [2], ("y", "x"), "with one pixel along y needs transform="),
        ([0, 1], [2, 1], ("y", "along"), "has none of x, lon, longitude, easting; rename one"),
        ([0, 1], [2, 1], ("time", "band", "y", "x"), "with dimensions time, band, y, x is no image"),
    ],
)
def test_a_dataarray_off_a_grid_is_refused(x: Any, y: Any, dims: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(SataeError, match=sentence):
        arrays.of_dataarray(labelled(x, y, dims))


def test_centres_of_pixels_make_the_grid() -> None:
    image = arrays.of_dataarray(labelled([5.0, 15.0, 25.0], [95.0, 85.0]))
    assert tuple(image.grid.transform)[:6] == (10, 0, 0, 0, -10, 100) and image.grid.width == 3
