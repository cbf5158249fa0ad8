"""Pixels that are no file yet, such as arrays, open datasets and xarray's DataArrays, as a GeoTIFF to describe."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from satae.console import quantity
from satae.errors import SceneError
from satae.grid import Grid, Window
from satae.later import Later
from satae.scene import output, raster

if TYPE_CHECKING:
    import pyproj
else:
    pyproj = Later("pyproj")  # files bring their CRS as text

ROWS = 256  # at once, as many as a block of what is written has
EVEN = 0.01  # pixels by which coordinates may lie beside those of a grid
ACROSS = ("x", "lon", "longitude", "easting")
DOWN = ("y", "lat", "latitude", "northing")
# dtypes that few programs read from a GeoTIFF, and one that holds the same numbers
STORED = {"bool": "uint8", "int8": "int16", "float16": "float32", "int64": "float64", "uint64": "float64"}

Read = Callable[[Window], npt.NDArray[Any]]


@dataclass(frozen=True)
class Image:
    """Pixels on a grid: `read` gives (band, row, col) of a window, `valid` (row, col) what is known beside nodata."""

    grid: Grid
    dtype: str
    names: tuple[str, ...]
    nodata: float | None
    read: Read
    valid: Read | None = None

    def write(self, path: Path) -> None:
        """Write a GeoTIFF, some rows at a time."""
        dtype = STORED.get(self.dtype, self.dtype)
        count = len(self.names)
        if not (count and self.grid.height and self.grid.width):
            shape = (count, self.grid.height, self.grid.width)
            raise SceneError(
                f"an image of shape {shape} has no pixels; give (band, row, col) with some of each"
            )
        with output.writing(path, self.grid, bands=count, dtype=dtype, nodata=self.nodata) as out:
            # rows of a lazy array or a warped dataset are computed as they are asked for, never all at once
            for row in range(0, self.grid.height, ROWS):
                window = Window(row, 0, min(ROWS, self.grid.height - row), self.grid.width)
                out.write(self.read(window).astype(dtype, copy=False), window)
                if self.valid is not None:
                    out.write_mask(self.valid(window), window)
            out.name(self.names)


def is_dataset(source: Any) -> bool:
    """Whether it is an open dataset of rasterio."""
    # by what it can do: to import rasterio for an isinstance would pass by the door that settles GDAL
    return all(hasattr(source, name) for name in ("read", "dataset_mask", "transform", "crs", "driver"))


def has_labels(source: Any) -> bool:
    """Whether it is a DataArray of xarray, which is not imported for that."""
    return all(hasattr(source, name) for name in ("dims", "coords", "isel", "attrs"))


def file_of(source: Any) -> Path | None:
    """The file that an open dataset reads, None where it is none on its own, such as one in memory or a warped one."""
    # a dataset that is written to may hold pixels that its file does not have yet
    path = Path(source.name)
    return path if source.driver == "GTiff" and source.mode == "r" and path.is_file() else None


def of_array(
    array: npt.NDArray[Any],
    transform: Any,
    crs: Any = None,
    nodata: float | None = None,
    names: Sequence[str] | None = None,
) -> Image:
    """An array (band, row, col) or (row, col), masked ones too; `transform` leads from (col, row) to the map."""
    if transform is None:
        raise SceneError(
            "an array needs transform=, an Affine from (col, row) to map coordinates; crs= says of which map"
        )
    # an array does not say where it lies, and a guess would put regions into the sea
    pixels = array[None] if array.ndim == 2 else array
    if pixels.ndim != 3:
        raise SceneError(f"an array of shape {array.shape} is no image; give (band, row, col) or (row, col)")
    _check_dtype(pixels.dtype)
    # a pixel counts where all of its bands do
    shown = np.logical_not(np.ma.getmaskarray(pixels).any(axis=0))
    values = np.ma.getdata(pixels)
    grid = Grid(values.shape[1], values.shape[2], _affine(transform), _wkt(crs))
    return Image(
        grid, str(values.dtype), _names(names, len(values)), nodata,
        lambda w: values[:, w.row : w.stop[0]],
        (lambda w: shown[w.row : w.stop[0]]) if np.ma.is_masked(pixels) else None,
    )  # fmt: skip


def of_dataset(source: Any) -> Image:
    """An open dataset of rasterio, whatever it reads; an alpha band and a mask of its own tell what is valid."""
    # alpha is no measurement: it becomes the mask of the copy
    colours = [colour.name for colour in source.colorinterp]
    bands = [i for i, colour in enumerate(colours, 1) if colour != "alpha"]
    flags = {flag.name for each in source.mask_flag_enums for flag in each}
    _check_dtype(np.dtype(source.dtypes[0]))
    names = [source.descriptions[i - 1] or f"band{i}" for i in bands]
    return Image(
        Grid(source.height, source.width, source.transform, _wkt(source.crs)),
        str(np.result_type(*source.dtypes)), tuple(names), source.nodata,
        lambda w: source.read(bands, window=raster.gdal_window(w)),
        (lambda w: source.dataset_mask(window=raster.gdal_window(w)) > 0) if "per_dataset" in flags else None,
    )  # fmt: skip


def of_dataarray(source: Any, transform: Any = None, crs: Any = None, nodata: float | None = None) -> Image:
    """A DataArray with dimensions of rows and columns, and one of bands where it has three.

    Grid, CRS and nodata are looked for where rioxarray and GDAL put them, then in the coordinates; lazy pixels are
    computed some rows at a time.
    """
    down, across = _dimension(source, DOWN), _dimension(source, ACROSS)
    others = [name for name in source.dims if name not in (down, across)]
    if len(others) > 1:
        raise SceneError(
            f"a DataArray with dimensions {', '.join(map(str, source.dims))} is no image; choose one of the others"
        )
    # transposing moves no pixel, also where they are lazy
    pixels = source.transpose(*others, down, across)
    spatial = source.coords["spatial_ref"].attrs if "spatial_ref" in source.coords else {}
    rows, cols = source.sizes[down], source.sizes[across]
    named = source.coords[others[0]].values.tolist() if others and others[0] in source.coords else None
    texts = named if named and all(isinstance(name, str) for name in named) else None
    # where it was opened with masking, the fill has moved to the encoding
    fill = source.attrs.get("_FillValue", source.encoding.get("_FillValue"))
    _check_dtype(source.dtype)

    def read(window: Window) -> npt.NDArray[Any]:
        found = np.asarray(pixels.isel({down: slice(window.row, window.stop[0])}).values)
        return found if others else found[None]

    where = _affine(transform or _placed(source, down, across, spatial))
    return Image(
        Grid(rows, cols, where, _wkt(crs or _crs(source, spatial))),
        str(source.dtype), _names(texts, source.sizes[others[0]] if others else 1),
        fill if nodata is None and fill is not None else nodata, read,
    )  # fmt: skip


def _dimension(source: Any, known: Sequence[str]) -> str:
    for name in source.dims:
        if str(name).lower() in known:
            return str(name)
    raise SceneError(
        f"a DataArray with dimensions {', '.join(map(str, source.dims))} has none of {', '.join(known)}; rename one"
    )


def _placed(source: Any, down: str, across: str, spatial: dict[str, Any]) -> Affine:
    """Where the pixels lie, by their centres; SceneError where these are not evenly spaced."""
    # what rioxarray writes has no rounding of coordinates in it
    if "GeoTransform" in spatial:
        return Affine.from_gdal(*map(float, str(spatial["GeoTransform"]).split()))
    if down not in source.coords or across not in source.coords:
        raise SceneError(f"a DataArray without coordinates {across} and {down} needs transform=")
    (x, dx), (y, dy) = (
        _steps(np.asarray(source.coords[name].values, float), name) for name in (across, down)
    )
    return Affine(dx, 0, x - dx / 2, 0, dy, y - dy / 2)


def _steps(centres: npt.NDArray[np.float64], name: str) -> tuple[float, float]:
    """The first of evenly spaced centres, and the step between them."""
    if len(centres) < 2:
        raise SceneError(f"a DataArray with one pixel along {name} needs transform=")
    # the mean step: the first one alone would carry its rounding across the scene
    step = float(centres[-1] - centres[0]) / (len(centres) - 1)
    even = centres[0] + step * np.arange(len(centres))
    if not (step and np.isfinite(centres).all() and abs(even - centres).max() <= EVEN * abs(step)):
        raise SceneError(
            f"the coordinates {name} of the DataArray are not evenly spaced; resample it to a grid"
        )
    return float(centres[0]), step


def _crs(source: Any, spatial: dict[str, Any]) -> Any:
    return spatial.get("crs_wkt") or spatial.get("spatial_ref") or source.attrs.get("crs")


def _affine(transform: Any) -> Affine:
    if isinstance(transform, Affine):
        return transform
    try:
        found = Affine(*(float(value) for value in list(transform)[:6]))
    except (TypeError, ValueError):
        found = None
    if found is None or not all(map(math.isfinite, found)):
        raise SceneError(f"transform {transform!r} is no Affine, nor its six numbers a, b, c, d, e, f")
    return found


def _wkt(crs: Any) -> str | None:
    if not crs:
        return None
    try:
        return pyproj.CRS.from_user_input(crs).to_wkt()
    except pyproj.exceptions.CRSError as error:
        raise SceneError(f"crs {crs!r} is no CRS, such as EPSG:32632 or its WKT") from error


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"band{i}" for i in range(1, count + 1))
    if len(names) != count:
        raise SceneError(f"names= has {len(names)} for {quantity(count, 'band')}")
    return tuple(names)


def _check_dtype(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "buif":
        raise SceneError(f"pixels of type {dtype} are no numbers that satae can judge")
