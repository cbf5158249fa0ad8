"""The door to rasterio: what files hold, with GDAL kept off the network and out of other files.

Importing this module configures GDAL for the process, before rasterio is loaded: drivers that reach the
network or other files are not registered, side files are neither read nor written, the block cache is
small. Which files are read is in `readers`, what a scene means (bands, masks, nodata) in `scene`.
"""

from __future__ import annotations

import os
import secrets

os.environ["GDAL_SKIP"] = (
    "HTTP WMS WMTS WCS STACIT STACTA PLMOSAIC EEDA EEDAI DAAS OGCAPI GTI VRT DERIVED OGR_VRT GDALG "
    "WFS OAPIF CSW Carto AmigoCloud PLSCENES NGW Elasticsearch GPSBabel ADBC"
)
# an extension that no file has, and a proxy where nobody listens: two more locks on the same door
os.environ["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = "." + secrets.token_hex(16)
os.environ["GDAL_HTTP_PROXY"] = "127.0.0.1:1"
# side files (.aux.xml) would let one file change what another says
os.environ["GDAL_PAM_ENABLED"] = "NO"
os.environ["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
os.environ["GDAL_VRT_ENABLE_PYTHON"] = "NO"
os.environ["GML_DOWNLOAD_SCHEMA"] = "NO"
os.environ["GDAL_CACHEMAX"] = "64"
os.environ.setdefault("CPL_LOG", os.devnull)  # GDAL prints what no handler takes, among it repeated errors

import logging
import math
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.crs
import rasterio.env
import rasterio.features
import rasterio.warp
import rasterio.windows
from affine import Affine
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import CRSError, EnvError, NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT

from satae.errors import DamageError, SceneError, UnplacedError
from satae.grid import Grid, Window
from satae.scene.source import Band, Source
from satae.scene.wavelengths import of_tags

MAX_BANDS = 1024
MAX_PIXELS = 2 * 10**11
MAX_BLOCK_BYTES = 256 * 2**20
CACHE_BYTES = 64 * 2**20  # of GDAL, as above
PASSING_BYTES = 4 * 2**20  # of GDAL's cache where no block is read twice

logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # errors reach the user once, as SceneError

KINDS = {"GTiff": "a GeoTIFF", "JP2OpenJPEG": "JPEG 2000"}  # what files that a driver reads are called
WITH_HEADERS = ("ENVI",)  # drivers that must see the file beside that which they open
FILTERS = threading.Lock()  # held while Python's warning filters, which belong to the process, are swapped
FAILURES = (RasterioError, rasterio._err.CPLE_BaseError)


@contextmanager
def quietly() -> Iterator[None]:
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


@contextmanager
def open_raster(
    path: Path, driver: str, member: str = "", span: tuple[int, int] | None = None
) -> Iterator[Raster]:
    """A file that the GDAL driver of that name reads, checked before any pixel is; of a .zip, the `member`.

    With `span`, (first byte, bytes), it is that part of the file.

    Raises SceneError for what cannot be read, or would need more memory than its size warrants.
    """
    try:
        beside = (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE") if driver in WITH_HEADERS else nullcontext()
        )
        with quietly(), beside:
            # one driver by name: a file cannot choose another one by its first bytes; a handle is never shared
            name = f"/vsizip/{{{path.absolute()}}}/{member}" if member else path
            if span:
                name = f"/vsisubfile/{span[0]}_{span[1]},{path.absolute()}"
            dataset = rasterio.open(name, driver=driver, sharing=False)
    except FAILURES as error:
        kind = KINDS.get(driver, driver)
        raise SceneError(f"{path} cannot be opened as {kind}: {cause(error)}") from error
    try:
        _check_bounds(path, dataset)
        yield Raster(path, driver, dataset, member, span)
    finally:
        # who closes it may be another thread than the one that opened it, or whoever collects garbage: the file is
        # closed by then, and the settings of GDAL that rasterio looks for in this thread were never here
        with suppress(EnvError):
            dataset.close()


@contextmanager
def once_through(kept: int = PASSING_BYTES) -> Iterator[None]:
    """While files are read block after block and few come again: GDAL keeps so many bytes, in the whole process."""
    rasterio.env.set_gdal_config("GDAL_CACHEMAX", kept)
    try:
        yield
    finally:  # an Env would not always put it back
        rasterio.env.set_gdal_config("GDAL_CACHEMAX", CACHE_BYTES)


def _check_bounds(path: Path, dataset: Any) -> None:
    if dataset.count == 0:
        raise SceneError(f"{path} holds no image bands")
    if dataset.count > MAX_BANDS:
        raise SceneError(f"{path} has {dataset.count} bands, more than the limit of {MAX_BANDS}")
    if dataset.width * dataset.height > MAX_PIXELS:
        raise SceneError(
            f"{path} claims {dataset.height} x {dataset.width} pixels, more than the limit of {MAX_PIXELS:.0e}"
        )
    rows, cols = dataset.block_shapes[0]
    places = [dataset.get_tag_item(f"BLOCK_OFFSET_0_{row}", "TIFF", bidx=1) for row in (0, 1)]
    # of one compressed strip GDAL shows lines, and decodes what lies before each
    if rows == 1 < dataset.height and dataset.compression and places[0] and not places[1]:
        rows = dataset.height
    # where bands are stored pixel by pixel a block holds all of them
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


def wkt(code: str) -> str:
    """The WKT of a CRS code such as EPSG:32632, or of WKT, as GDAL writes it; empty where it is none."""
    try:
        return str(rasterio.crs.CRS.from_string(code).to_wkt())
    except CRSError:
        return ""


def stated_crs(text: str) -> str:
    """The WKT of a CRS that a file states as text: WKT or a code, never the name of a file; empty where it is none."""
    return wkt(text) if re.fullmatch(r"[A-Z][A-Z0-9_]*\[.*\]|[A-Z]+:\d+", text, re.DOTALL) else ""


def same_crs(one: str | None, other: str | None) -> bool:
    """Whether two texts of a CRS mean the same, as GDAL sees it."""
    if one is None or other is None or one == other:
        return one == other
    return bool(rasterio.crs.CRS.from_wkt(one) == rasterio.crs.CRS.from_wkt(other))


def transform(xy: npt.NDArray[np.float64], crs: str, other: str) -> npt.NDArray[np.float64] | None:
    """Coordinates (..., 2) in a CRS as those in another, by GDAL; None where it knows no way."""
    try:
        return np.stack(rasterio.warp.transform(crs, other, *xy.reshape(-1, 2).T), axis=-1).reshape(xy.shape)
    except FAILURES:
        return None


def lonlat(grid: Grid, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """What `Grid.lonlat` gives, for those who have loaded GDAL and not pyproj; None where it knows no way."""
    return None if grid.crs is None else transform(xy, grid.crs, "OGC:CRS84")


def is_georeferenced(grid: Grid) -> bool:
    """What `Grid.is_georeferenced` is, likewise; the grid is asked where GDAL knows no way, as on other planets."""
    return lonlat(grid, grid.footprint()) is not None or grid.is_georeferenced


class Raster:
    """An open file: `source.Pixels`, and what the file says of itself.

    One belongs to one thread. After an error it must not be used again: GDAL may answer the next read with zeros.
    """

    def __init__(
        self, path: Path, driver: str, dataset: Any, member: str = "", span: tuple[int, int] | None = None
    ) -> None:
        self.path, self.driver, self.member, self.span = path, driver, member, span
        self._dataset = dataset  # rasterio.io.DatasetReader carries no types

    def grid(self) -> Grid:
        """Shape, affine and CRS as the file states them, nothing invented; no CRS without a position in it.

        Raises SceneError where the affine is degenerate or the file is located only by ground control points or
        by RPCs: its pixels have no map coordinates yet.
        """
        path, dataset = self.path, self._dataset
        t: Affine = dataset.transform
        numbers = tuple(t)[:6]
        if not all(math.isfinite(v) for v in numbers) or t.determinant == 0:
            raise SceneError(
                f"{path} has an unusable pixel size or origin: {numbers}; repair it with `gdal_edit`"
            )
        # no position at all: fine for a picture, but not where control points wait to be used
        if t.is_identity and dataset.crs is None:
            fix = f"warp it first with `gdalwarp {path.name} warped.tif`"
            if dataset.gcps[0]:
                how = fix.replace("gdalwarp", f"gdalwarp {_utm(*dataset.gcps)}-tps")
                raise UnplacedError(
                    f"{path} is located by {len(dataset.gcps[0])} ground control points only; {how}"
                )
            if dataset.rpcs is not None:
                raise UnplacedError(
                    f"{path} is located by RPCs only; {fix.replace('gdalwarp', 'gdalwarp -rpc')}"
                )
        crs = dataset.crs.to_wkt() if dataset.crs and not t.is_identity else None
        return Grid(dataset.height, dataset.width, t, crs)

    def bands(self) -> tuple[Band, ...]:
        """What the file says of each band; its nodata as GDAL understands it."""
        d = self._dataset
        facts = zip(
            d.descriptions, d.dtypes, d.scales, d.offsets, d.nodatavals, d.mask_flag_enums, d.colorinterp,
            strict=True,
        )  # fmt: skip
        return tuple(
            Band(i, name or "", dtype, scale, offset, nodata, _has_mask(flags), colour.name, *nanometres)
            for i, (name, dtype, scale, offset, nodata, flags, colour) in enumerate(facts, 1)
            for nanometres in [of_tags(d.tags(i), d.tags(i, ns="IMAGERY"))]
        )

    @property
    def title(self) -> str:
        """What the file itself calls its image, empty where it does not."""
        return str(self._dataset.tags().get("TIFFTAG_IMAGEDESCRIPTION", ""))

    @property
    def block(self) -> tuple[int, int]:
        """(rows, cols) that are stored as one piece, of the first band."""
        rows, cols = self._dataset.block_shapes[0]
        return int(rows), int(cols)

    @property
    def overviews(self) -> tuple[int, ...]:
        """By how much each overview of the first band is smaller than it."""
        return tuple(int(factor) for factor in self._dataset.overviews(1))

    def read(self, bands: Sequence[int], window: Window) -> npt.NDArray[Any]:
        """Pixels (band, row, col) of a window inside the grid; see `source.Pixels`."""
        return self._decoded(window, lambda d, w: d.read(list(bands), window=gdal_window(w)))

    def mask(self, band: int, window: Window) -> npt.NDArray[np.bool_]:
        """True where a pixel of the band counts, by that one of nodata, internal mask and alpha which GDAL heeds."""
        return self._decoded(window, lambda d, w: d.read_masks(band, window=gdal_window(w))) > 0

    def means(
        self, bands: Sequence[int], window: Window, shape: tuple[int, int]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """A window at a smaller shape, averaged from overviews where they are; see `source.Pixels`."""
        chosen, size = list(bands), (len(bands), *shape)

        def pixels(d: Any, w: Window) -> Any:
            # from the overview that fits, so that a whole scene costs no more than a screen
            return d.read(chosen, window=gdal_window(w), out_shape=size, resampling=Resampling.average)

        def masks(d: Any, w: Window) -> Any:
            return d.read_masks(chosen, window=gdal_window(w), out_shape=size)

        image = self._decoded(window, pixels)
        valid = (self._decoded(window, masks) > 0).all(axis=0)
        return image, valid & np.isfinite(image).all(axis=0)

    @contextmanager
    def seen_on(self, grid: Grid | None, source: Source, *, mean: bool = False) -> Iterator[Raster]:
        """The file on another grid than that of its `source`; both must have a CRS.

        A pixel is the nearest one, for a mask has no values in between; with `mean`, on a coarser grid, the mean of
        those in it that are not nodata.
        """
        if grid is None or grid == source.grid:
            yield self
            return
        fill = source.bands[0].nodata
        mean &= abs(grid.transform.determinant) > abs(source.grid.transform.determinant)
        with WarpedVRT(
            self._dataset,
            crs=grid.crs,
            transform=grid.transform,
            height=grid.height,
            width=grid.width,
            resampling=Resampling.average if mean else Resampling.nearest,
            **({"src_nodata": fill, "nodata": fill} if mean and fill is not None else {}),
        ) as warped:
            yield Raster(self.path, self.driver, warped, self.member, self.span)

    def _decoded(self, window: Window, get: Callable[[Any, Window], Any]) -> npt.NDArray[Any]:
        try:
            return np.asarray(get(self._dataset, window))
        except FAILURES as error:
            place, reason = window, _fault(cause(error))
            # which block it is can be asked of the file itself alone
            if not isinstance(self._dataset, WarpedVRT):
                place, reason = self._first_damage(window, get) or (place, reason)
            raise DamageError(
                f"{self.path} is damaged between rows {place.row} and {place.stop[0]}, columns {place.col} and "
                f"{place.stop[1]} ({reason}); the file may be half copied"
            ) from error

    def _first_damage(self, window: Window, get: Callable[[Any, Window], Any]) -> tuple[Window, str] | None:
        """The first block in a window that a fresh handle cannot decode, and why."""
        with open_raster(self.path, self.driver, self.member, self.span) as fresh:
            dataset = fresh._dataset
            for part in window.cells(fresh.block):
                try:
                    # one block at a time, on a handle that has not failed yet
                    get(dataset, part)
                except FAILURES as error:
                    whole = Window(0, 0, dataset.height, dataset.width)
                    return part.cell(fresh.block).clip(whole), _fault(cause(error))
        return None


def _utm(points: Sequence[Any], crs: Any) -> str:
    """How `gdalwarp` is told the UTM zone in the middle of control points in degrees; nothing of others."""
    if not crs or not crs.is_geographic:
        return ""
    lon, lat = (float(np.mean([getattr(p, axis) for p in points])) for axis in ("x", "y"))
    return f"-t_srs EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) % 360 // 6) + 1} "


def _fault(text: str) -> str:
    """What GDAL found wrong with a block, without the inner numbers of libtiff, which name no place in the image."""
    if re.search(r"got \d+ bytes|[Rr]ead error|SeekError|Seek error|beyond the end|truncated", text):
        return "the file ends before what is stored there"
    if re.search(r"scanline|TIFF|IReadBlock|Decod|decod|deflate|LZW", text):
        return "what is stored there cannot be decoded"
    return text


def _has_mask(flags: Sequence[MaskFlags]) -> bool:
    """Whether a band has a mask that is neither alpha nor made from nodata."""
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def gdal_window(window: Window) -> Any:
    """A window as rasterio takes it."""
    return rasterio.windows.Window(window.col, window.row, window.width, window.height)


def burn(shapes: list[Any], window: Window, transform: Affine) -> npt.NDArray[np.bool_]:
    """True where a pixel's centre lies in one of the geometries (map coordinates)."""
    if not shapes:
        return np.zeros((window.height, window.width), bool)
    # only the window is burned, not the whole grid
    here = Grid(window.height, window.width, transform, None).part(window).transform
    size = window.height, window.width
    with quietly():
        out = rasterio.features.rasterize(shapes, out_shape=size, transform=here, dtype="uint8")
    return np.asarray(out, bool)


def outlines(label: npt.NDArray[np.int32]) -> list[tuple[list[list[tuple[float, float]]], int]]:
    """Rings around the 4-connected pixels of every label > 0, the outer one first, and its label.

    A ring is its corners in pixel coordinates, closed.
    """
    with quietly():
        # pieces that touch at a corner are polygons of their own; which are one region is known from the labels
        found = list(rasterio.features.shapes(label, mask=label > 0, connectivity=4))
    return [(shape["coordinates"], int(value)) for shape, value in found]
