"""The only door to rasterio: GeoTIFF in and out, with GDAL kept off the network and out of other files.

Importing this module configures GDAL for the process, before rasterio is loaded: drivers that reach the
network or other files are not registered, side files are neither read nor written, the block cache is
small. What a scene means (bands, masks, nodata) is in `scene`.
"""

from __future__ import annotations

import os
import secrets

os.environ["GDAL_SKIP"] = (
    "HTTP WMS WMTS WCS STACIT STACTA PLMOSAIC EEDA EEDAI DAAS OGCAPI GTI VRT DERIVED OGR_VRT GDALG "
    "WFS OAPIF CSW Carto AmigoCloud PLSCENES NGW Elasticsearch GPSBabel ADBC"
)
os.environ["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = "." + secrets.token_hex(16)
os.environ["GDAL_HTTP_PROXY"] = "127.0.0.1:1"
os.environ["GDAL_PAM_ENABLED"] = "NO"
os.environ["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
os.environ["GDAL_VRT_ENABLE_PYTHON"] = "NO"
os.environ["GML_DOWNLOAD_SCHEMA"] = "NO"
os.environ["GDAL_CACHEMAX"] = "64"
os.environ.setdefault("CPL_LOG", os.devnull)  # GDAL prints what no handler takes, among it repeated errors

import html
import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.crs
import rasterio.features
import rasterio.shutil
import rasterio.windows
import shapely
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT

from satae.errors import DamageError, OutputError, SceneError
from satae.grid import Grid, Window
from satae.scene.tags import GDAL_METADATA, MAX_TEXT, text_tags

MAX_BANDS = 1024
MAX_PIXELS = 2 * 10**11
MAX_BLOCK_BYTES = 256 * 2**20
NON_TIFF = (
    (b"", "is empty"),
    (b"version https://git-lfs", "is a git-lfs pointer; run `git lfs pull` to get the file itself"),
    (b"<VRTDataset", "is a VRT, which is not read for safety; make a GeoTIFF with `gdal_translate`"),
    (b"<GDAL_WMS", "is a WMS description, not an image; download the scene as a GeoTIFF first"),
    (b"<!DOCTYPE", "is a web page or XML, not an image; the download may have failed"),
    (b"<html", "is a web page, not an image; the download may have failed"),
    (b"<HTML", "is a web page, not an image; the download may have failed"),
    (b"<?xml", "is XML, not an image"),
    (b"\x1f\x8b", "is gzip; unpack it first"),
    (b"PK\x03\x04", "is a zip archive; unpack it first"),
    (b"\x00\x00\x00\x0cjP", "is JPEG 2000; convert it with `gdal_translate in.jp2 out.tif`"),
    (b"\x89HDF", "is HDF5 or netCDF; convert the dataset you need with `gdal_translate`"),
    (b"\x89PNG", "is a PNG without georeference; convert it with `gdal_translate`"),
    (b"\xff\xd8\xff", "is a JPEG without georeference; convert it with `gdal_translate`"),
)
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

__all__ = ["ColorInterp", "MaskFlags"]

logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # errors reach the user once, as SceneError

Dataset = Any  # rasterio.io.DatasetReader carries no types
FILTERS = threading.Lock()  # held while Python's warning filters, which belong to the process, are swapped
FAILURES = (RasterioError, rasterio._err.CPLE_BaseError)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without the warning that a raster has no georeference.

    rasterio swaps the warning filters in `rasterize` and `shapes` too; of two threads that swap them at once,
    one puts back the filters of the other.
    """
    with FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def cause(error: BaseException) -> str:
    """The last, most specific sentence of a GDAL error chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def check_file(path: Path) -> None:
    """Raise SceneError where `path` is not a TIFF file on this machine, saying what it is instead."""
    text = str(path)
    if "://" in text or text.startswith(("/vsi", "<", "vrt:", "GTIFF_")) or ":/" in text:
        raise SceneError(f"{text!r} is not a file on this machine; download the scene first")
    try:
        text.encode()
        if path.is_dir():
            raise SceneError(f"{path} is a folder; name the GeoTIFF files in it")
        if not path.exists():
            raise SceneError(f"{path} does not exist")
        if not path.is_file():
            raise SceneError(f"{path} is not a regular file")
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise SceneError(f"{path} has a name that is not UTF-8; rename it") from error
    if head.startswith(TIFF_MAGIC):
        return
    for magic, meaning in NON_TIFF:
        if head == magic or (magic and head.lstrip().startswith(magic)):
            raise SceneError(f"{path} {meaning}")
    raise SceneError(f"{path} is not a GeoTIFF; convert it with `gdal_translate in out.tif`")


@contextmanager
def reading(path: Path) -> Iterator[Dataset]:
    """An open GeoTIFF, checked before any pixel is read.

    One handle belongs to one thread. Raises SceneError for what cannot be read, or would need more memory
    than its size warrants.
    """
    check_file(path)
    metadata = text_tags(path).get(GDAL_METADATA, "")
    if len(metadata) > MAX_TEXT:
        raise SceneError(
            f"{path} holds more than {MAX_TEXT >> 20} MiB of metadata; clean it with `gdal_translate`"
        )
    plain = html.unescape(metadata).upper()
    if "OVERVIEW_FILE" in plain or "/VSI" in plain:
        raise SceneError(
            f"{path} refers to another file or server in its metadata; clean it with `gdal_translate`"
        )
    try:
        with _unwarned():
            dataset = rasterio.open(path, driver="GTiff", sharing=False)
    except FAILURES as error:
        raise SceneError(f"{path} cannot be opened as a GeoTIFF: {cause(error)}") from error
    with dataset:
        _check_bounds(path, dataset)
        yield dataset


def _check_bounds(path: Path, dataset: Dataset) -> None:
    if dataset.count == 0:
        raise SceneError(f"{path} holds no image bands")
    if dataset.count > MAX_BANDS:
        raise SceneError(f"{path} has {dataset.count} bands, more than the limit of {MAX_BANDS}")
    if dataset.width * dataset.height > MAX_PIXELS:
        raise SceneError(
            f"{path} claims {dataset.height} x {dataset.width} pixels, more than the limit of {MAX_PIXELS:.0e}"
        )
    rows, cols = dataset.block_shapes[0]
    interleaved = dataset.count if str(dataset.interleaving).lower().endswith("pixel") else 1
    size = rows * cols * np.dtype(numpy_dtype(dataset.dtypes[0])).itemsize * interleaved
    if size > MAX_BLOCK_BYTES:
        raise SceneError(
            f"{path} is stored in blocks of {rows} x {cols} pixels ({size / 2**20:.0f} MiB, limit "
            f"{MAX_BLOCK_BYTES >> 20}); rewrite it with `gdal_translate -co TILED=YES`"
        )


def numpy_dtype(name: str) -> str:
    """The numpy name of a GDAL type."""
    return "complex64" if name == "complex_int16" else name


def grid_of(path: Path, dataset: Dataset) -> Grid:
    """Shape, affine and CRS as the file states them, nothing invented; no CRS without a position in it.

    Raises SceneError where the affine is degenerate or the file is located only by ground control points or
    by RPCs: its pixels have no map coordinates yet.
    """
    t: Affine = dataset.transform
    numbers = tuple(t)[:6]
    if not all(math.isfinite(v) for v in numbers) or t.determinant == 0:
        raise SceneError(
            f"{path} has an unusable pixel size or origin: {numbers}; repair it with `gdal_edit`"
        )
    if t.is_identity and dataset.crs is None:
        fix = f"warp it first with `gdalwarp {path.name} warped.tif`"
        if dataset.gcps[0]:
            raise SceneError(f"{path} is located by {len(dataset.gcps[0])} ground control points only; {fix}")
        if dataset.rpcs is not None:
            raise SceneError(f"{path} is located by RPCs only; {fix.replace('gdalwarp', 'gdalwarp -rpc')}")
    crs = dataset.crs.to_wkt() if dataset.crs and not t.is_identity else None
    return Grid(dataset.height, dataset.width, t, crs)


def wkt(code: str) -> str:
    """The WKT of a CRS code such as EPSG:32632, as GDAL writes it."""
    return str(rasterio.crs.CRS.from_string(code).to_wkt())


def read(path: Path, dataset: Dataset, bands: list[int], window: Window) -> npt.NDArray[Any]:
    """Pixels (band, row, col) of a window inside the grid; DamageError names the first damaged block.

    After an error the handle must not be used again: GDAL may answer the next read with zeros.
    """
    return _decoded(path, dataset, window, lambda d, w: d.read(bands, window=_gdal(w)))


def read_mask(path: Path, dataset: Dataset, band: int, window: Window) -> npt.NDArray[np.bool_]:
    """True where GDAL's own mask of the band (nodata, internal mask, alpha) says that the pixel is good."""
    return _decoded(path, dataset, window, lambda d, w: d.read_masks(band, window=_gdal(w))) > 0


def decimated(
    path: Path, dataset: Dataset, bands: list[int], window: Window, shape: tuple[int, int]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """A window at a smaller `shape` (rows, cols) for show: (band, row, col) and where all bands are valid.

    Pixels are averaged, from overviews where they are. Raises DamageError as `read` does.
    """
    size = (len(bands), *shape)

    def pixels(d: Dataset, w: Window) -> Any:
        return d.read(bands, window=_gdal(w), out_shape=size, resampling=Resampling.average)

    def masks(d: Dataset, w: Window) -> Any:
        return d.read_masks(bands, window=_gdal(w), out_shape=size)

    image = _decoded(path, dataset, window, pixels)
    valid = (_decoded(path, dataset, window, masks) > 0).all(axis=0)
    return image, valid & np.isfinite(image).all(axis=0)


def overviews(dataset: Dataset) -> list[int]:
    """By how much each overview of the first band is smaller than it."""
    return [int(factor) for factor in dataset.overviews(1)]


def _gdal(window: Window) -> Any:
    return rasterio.windows.Window(window.col, window.row, window.width, window.height)


def _decoded(
    path: Path, dataset: Dataset, window: Window, get: Callable[[Dataset, Window], Any]
) -> npt.NDArray[Any]:
    try:
        return np.asarray(get(dataset, window))
    except FAILURES as error:
        place, reason = window, cause(error)
        if not isinstance(dataset, WarpedVRT):
            place, reason = _first_damage(path, window, get) or (place, reason)
        raise DamageError(
            f"{path} is damaged between rows {place.row} and {place.stop[0]}, columns {place.col} and "
            f"{place.stop[1]} ({reason}); the file may be half copied"
        ) from error


def _first_damage(
    path: Path, window: Window, get: Callable[[Dataset, Window], Any]
) -> tuple[Window, str] | None:
    """The first block in a window that a fresh handle cannot decode, and why."""
    with reading(path) as dataset:
        for part in window.cells(dataset.block_shapes[0]):
            try:
                get(dataset, part)
            except FAILURES as error:
                whole = Window(0, 0, dataset.height, dataset.width)
                return part.cell(dataset.block_shapes[0]).clipped(whole), cause(error)
    return None


@contextmanager
def on_grid(dataset: Dataset, grid: Grid) -> Iterator[Dataset]:
    """`dataset` as seen on another grid, nearest neighbour; both must have a CRS."""
    with WarpedVRT(
        dataset,
        crs=grid.crs,
        transform=grid.transform,
        height=grid.height,
        width=grid.width,
        resampling=Resampling.nearest,
    ) as warped:
        yield warped


def burn(shapes: list[Any], window: Window, transform: Affine) -> npt.NDArray[np.bool_]:
    """True where a pixel's centre lies in one of the geometries (map coordinates)."""
    if not shapes:
        return np.zeros((window.height, window.width), bool)
    here = Grid(window.height, window.width, transform, None).part(window).transform
    size = window.height, window.width
    with _unwarned():
        out = rasterio.features.rasterize(shapes, out_shape=size, transform=here, dtype="uint8")
    return np.asarray(out, bool)


def outlines(label: npt.NDArray[np.int32]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Polygons around the 4-connected pixels of every label > 0, in pixel coordinates, and their labels."""
    with _unwarned():
        found = list(rasterio.features.shapes(label, mask=label > 0, connectivity=4))
    polygons = [shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in found]
    return np.array(polygons, dtype=object), np.array([int(value) for _, value in found], np.int64)


@contextmanager
def writing(
    path: Path, grid: Grid, *, bands: int = 1, dtype: str = "float32", nodata: float | None = None
) -> Iterator[Dataset]:
    """A new GeoTIFF in 256-pixel blocks, compressed; OutputError where GDAL says that it failed.

    GDAL does not always say so: a full disk goes unnoticed. Read back what matters with `verify`.
    """
    tiled = grid.height >= 256 and grid.width >= 256
    layout: dict[str, Any] = {"tiled": True, "blockxsize": 256, "blockysize": 256} if tiled else {}
    try:
        with _unwarned():
            dataset = rasterio.open(
                path, "w", driver="GTiff", height=grid.height, width=grid.width, count=bands, dtype=dtype,
                crs=grid.crs, transform=grid.transform, nodata=nodata, compress="zstd", zstd_level=1,
                predictor=3 if np.dtype(dtype).kind == "f" else 2, bigtiff="IF_SAFER",
                photometric="MINISBLACK", alpha="NO", sparse_ok=False, **layout,
            )  # fmt: skip
        with dataset:
            yield dataset
    except FAILURES as error:
        raise OutputError(f"{path.name} could not be written: {cause(error)}") from error


def write(dataset: Dataset, image: npt.NDArray[Any], window: Window) -> None:
    """Put (band, row, col) pixels at a window of an open output."""
    dataset.write(image, window=_gdal(window))


def write_mask(dataset: Dataset, valid: npt.NDArray[np.bool_]) -> None:
    """Give an open output an internal mask."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        dataset.write_mask(valid)


def describe(dataset: Dataset, names: Sequence[str]) -> None:
    """Name the bands of an open output."""
    for i, name in enumerate(names, 1):
        dataset.set_band_description(i, name)


def to_cog(source: Path, target: Path) -> None:
    """Copy a GeoTIFF to a cloud-optimised one with averaged overviews.

    GDAL does it in one call that no signal ends, so it runs in a thread that an interrupt leaves behind.
    """
    failures: list[BaseException] = []

    def copy() -> None:
        try:
            rasterio.shutil.copy(
                source, target, driver="COG", compress="ZSTD", level=9, predictor="YES",
                overview_resampling="AVERAGE", bigtiff="IF_SAFER", num_threads="1",
            )  # fmt: skip
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=copy, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(0.1)
    for error in failures:
        if isinstance(error, FAILURES):
            raise OutputError(f"{target.name} could not be written: {cause(error)}") from error
        raise error
