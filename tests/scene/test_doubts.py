"""What may be fill, or lies beside a scene unread: each is said, with the option that cures it, and cures it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy as gdal_copy

from satae.scene.describe import describe
from satae.scene.doubts import doubts
from satae.scene.scene import Limits

PIXELS = np.random.default_rng(3).integers(1, 200, (5, 64, 64)).astype("int16")


def said(path: Path, **limits: object) -> str:
    """All that is doubted of a scene."""
    scene = describe([path], limits=Limits(**limits))
    return "\n".join([*doubts(scene, declared=len(scene.names)), *scene.files[0].source.remarks])


def share(path: Path, **limits: object) -> float:
    """The valid share of a scene."""
    scene = describe([path], limits=Limits(**limits))
    with scene.open() as reader:
        return float(reader.read(scene.grid.window)[1].mean())


def framed(value: float, dtype: str, side: int = 4) -> np.ndarray:
    """Pixels with a strip of fill on the left."""
    pixels = PIXELS.astype(dtype)
    pixels[:, :, :side] = value
    return pixels


FILL = {
    "uint8": [255, 0],
    "uint16": [65535, 0],
    "int16": [-9999, -32768],
    "int32": [2**31 - 1],
    "float64": [1e21],
}
FILL |= {"float32": [-9999, 65535, -3.4028234663852886e38]}


@pytest.mark.parametrize(("value", "dtype"), [(v, d) for d, values in FILL.items() for v in values])
def test_what_is_usual_for_fill_is_doubted_where_little_of_the_edge_has_it(make_scene, value, dtype) -> None:
    path, told = make_scene(framed(value, dtype)), f"{100 * (64 + 8) / 256:.0f} % of its edge is"
    assert told in said(path)
    given = float(said(path).split("--nodata ")[1].split()[0])
    assert said(path, nodata=given) == "" and share(path, nodata=given) == 60 / 64


@pytest.mark.parametrize("value", [37, 1.5])
def test_any_value_is_doubted_where_much_of_the_edge_has_it(make_scene, value: float) -> None:
    assert said(make_scene(framed(value, "float32", side=1))) != ""
    few = PIXELS.astype("float32")
    few[:, :, :1][:, ::2] = value
    assert said(make_scene(few)) == ""
    assert said(make_scene(np.full_like(few, value))) == ""


def test_a_value_of_one_band_alone_is_no_fill(make_scene) -> None:
    pixels = PIXELS.copy()
    pixels[0, :, :8] = -9999
    assert said(make_scene(pixels)) == ""


AUX = "<PAMDataset>{}</PAMDataset>"
AUX_BAND = '<PAMRasterBand band="{}">\n <NoDataValue>{}</NoDataValue></PAMRasterBand>'


def beside(path: Path, *values: object) -> Path:
    """A side file of GDAL that declares nodata for each band."""
    bands = "".join(AUX_BAND.format(i, value) for i, value in enumerate(values, 1))
    Path(f"{path}.aux.xml").write_text(AUX.format(bands))
    return path


def test_nodata_of_a_side_file_is_named_with_the_option_that_applies_it(make_scene) -> None:
    pixels = PIXELS.copy()
    pixels[:, 20:30, 20:30] = 777  # away from the edge
    path = beside(make_scene(pixels), *[777] * 5)
    with rasterio.open(path) as dataset:
        assert dataset.nodata in (777, None)  # GDAL's own view depends on what satae has set
    assert f"{path}.aux.xml declares nodata 777" in said(path) and "pass --nodata 777" in said(path)
    assert said(path, nodata=777) == "" and share(path, nodata=777) == 1 - 100 / 64**2


def test_nodata_of_a_side_file_that_adds_nothing_is_not_told(make_scene) -> None:
    assert said(beside(make_scene(PIXELS, nodata=777), *[777] * 5)) == ""
    assert said(beside(make_scene(PIXELS), "nan", "nan", "", "none")) == ""


def test_nodata_of_a_side_file_that_differs_by_band_wants_another_file(make_scene) -> None:
    text = said(beside(make_scene(PIXELS), 0, 777, 0, 0, 0))
    assert "declares nodata 0, 777 for different bands" in text and "gdal_translate scene.tif out.tif" in text


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\0", b"<PAMDataset>", b"<NoDataValue>5", b"<" * 2_000_000]
)
def test_broken_side_files_say_nothing(make_scene, content: bytes) -> None:
    path = make_scene(PIXELS)
    Path(f"{path}.aux.xml").write_bytes(content)
    assert said(path) == ""


@pytest.mark.parametrize("names", [("scene.tfw",), ("scene.TFW", "scene.prj"), ("scene.tif.aux.xml",)])
def test_files_that_hold_the_missing_position_are_named(make_scene, names: tuple[str, ...]) -> None:
    path = make_scene(PIXELS, crs=None)
    for name in names:
        path.with_name(name).write_text("<SRS>PROJCS</SRS>")
    assert all(name in said(path) for name in names) and "gdal_translate" in said(path)
    located = make_scene(PIXELS)
    for name in names:
        located.with_name(name).write_text("<SRS>PROJCS</SRS>")
    assert said(located) == ""


def test_pages_beyond_the_first_are_named_with_what_reads_them(tmp_path: Path, make_scene) -> None:
    path = tmp_path / "pages.tif"
    for i, band in enumerate(PIXELS):
        gdal_copy(make_scene(band[None]), path, driver="GTiff", **({"APPEND_SUBDATASET": "YES"} if i else {}))
    assert "holds 5 pages" in said(path) and "GTIFF_DIR:2:pages.tif" in said(path)


def test_overviews_and_masks_are_no_pages(make_scene) -> None:
    path = make_scene(np.tile(PIXELS, (1, 4, 4)), mask=np.ones((256, 256), bool))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert said(path) == ""


def sparse(path: Path, **options: object) -> Path:
    """A file of which two of four blocks are stored."""
    size = {"height": 64, "width": 64, "count": 1, "dtype": "int16", "crs": "EPSG:32632"}
    blocks = {"tiled": True, "blockxsize": 32, "blockysize": 32, "sparse_ok": True}
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_200_000)
    with rasterio.open(path, "w", driver="GTiff", **size, transform=transform, **blocks, **options) as out:
        out.write(PIXELS[:1, :32], window=rasterio.windows.Window(0, 0, 64, 32))
    return path


def test_blocks_that_are_not_stored_are_counted(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.tif")
    assert "lacks 2 of its 4 blocks" in said(path) and "pass --nodata 0" in said(path)
    assert share(path, nodata=0) == 0.5
    assert said(sparse(tmp_path / "b.tif", nodata=0)) == "" and share(tmp_path / "b.tif") == 0.5


def test_bands_of_one_name_are_told_apart_by_their_numbers(make_scene) -> None:
    path = make_scene(PIXELS)
    with rasterio.open(path, "r+") as out:
        for band, name in enumerate(["B", "B", "B_1", "nir", "x"], 1):
            out.set_band_description(band, name)
    assert describe([path]).names == ("B_1_", "B_2", "B_1", "nir", "x")
    assert describe([path], bands=[2, 4]).names == ("B", "nir")
    stack = [make_scene(PIXELS[:2], name=f"LC08_{part}.tif") for part in ("north", "south")]
    assert describe(stack).names == ("north_band1", "north_band2", "south_band1", "south_band2")
