"""A netCDF 4 of one place over time, as xarray and openEO write it: a band for each date of each variable.

Variables have the dimensions (time, y, x), with coordinates of pixel centres and CF units of time; a band is named by
its date and variable, 2018-07-03 B04. The CRS is that of the first variable's grid mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from satae.errors import SceneError
from satae.grid import Grid, Window
from satae.scene import hdf, raster
from satae.scene.resample import on_grid, shrunk
from satae.scene.source import Band, Pixels, Source

TIMES = "time", "t"
PLACES = ("y", "x"), ("lat", "lon"), ("latitude", "longitude"), ("northing", "easting")
DEGREES = "EPSG:4326"  # of coordinates that are called by degrees, where no CRS is stated
SINCE = re.compile(
    r"\s*(days?|hours?|minutes?|seconds?|milliseconds|microseconds|nanoseconds)\s+since\s+(.+)"
)
SECONDS = {
    "day": 86400.0, "hour": 3600.0, "minute": 60.0, "second": 1.0, "millisecond": 1e-3, "microsecond": 1e-6,
    "nanosecond": 1e-9,
}  # fmt: skip
EVEN = 1e-3  # share of a pixel by which coordinates may be rounded


def matches(path: Path, head: bytes) -> bool:
    """Whether it is HDF5 that holds a variable over time, rows and columns."""
    if not head.startswith(hdf.MAGIC):
        return False
    with hdf.open_file(path) as file:
        return bool(_variables(file))


def describe(path: Path) -> Source:
    """The grid of the coordinates, and a band for each date of each variable, date by date."""
    with hdf.open_file(path) as file:
        found = _variables(file)
        time, *place = next(iter(found.values()))
        if others := [name for name, own in found.items() if own != (time, *place)]:
            raise SceneError(
                f"{path} holds {others[0]} on other axes than {next(iter(found))}; keep those of one grid"
            )
        arrays = {name: hdf.array(file, name, 3) for name in found}
        days = _days(file, time)
        height, width = next(iter(arrays.values())).shape[1:]
        hdf.check_size(path, len(days) * len(arrays), height, width)
        grid = Grid(height, width, _transform(file, *place), _crs(file, next(iter(found)), place))
        bands = [
            Band(
                i * len(arrays) + k,
                f"{day} {name}",
                array.dtype.newbyteorder("=").name,
                scale=_attribute(array, "scale_factor", 1.0),
                offset=_attribute(array, "add_offset", 0.0),
                nodata=_attribute(array, "_FillValue", _attribute(array, "missing_value", None)),
            )
            for i, day in enumerate(days)
            for k, (name, array) in enumerate(arrays.items(), 1)
        ]
        # (dates, rows, columns) that are stored as one piece
        blocks = next(iter(arrays.values())).chunks or (1, 1, width)
        packed = any(array.compression for array in arrays.values())
    return Source(path, grid, tuple(bands), (min(blocks[1], height), min(blocks[2], width)), slow=packed)


@contextmanager
def open(source: Source, grid: Grid | None = None, *, mean: bool = False) -> Iterator[Pixels]:
    """A handle of the caller's own."""
    with hdf.open_file(source.path) as file:
        yield on_grid(Cube(source, file), source, grid, mean=mean)


def place(source: Source, number: int) -> tuple[str, int] | None:
    """The variable of a band, and its number among the dates; None where the file lacks what GDAL needs to place it."""
    with hdf.open_file(source.path) as file:
        found = _variables(file)
        _, *axes = next(iter(found.values()))
        named = all(hdf.text(file[axis], "standard_name") or hdf.text(file[axis], "axis") for axis in axes)
    moment, variable = divmod(number - 1, len(found))
    return (list(found)[variable], moment + 1) if named or axes[0].startswith("lat") else None


class Cube:
    """The pixels of all variables: `source.Pixels`."""

    def __init__(self, source: Source, file: Any) -> None:
        self.source = source
        self._arrays = [hdf.array(file, name, 3) for name in _variables(file)]

    def read(self, bands: Sequence[int], window: Window) -> npt.NDArray[Any]:
        """Pixels (band, row, col) of a window."""
        # bands count date by date
        rows, cols = window.slices(self.source.grid.window)
        parts = []
        for band in bands:
            moment, number = divmod(band - 1, len(self._arrays))
            parts.append(hdf.read(self._arrays[number], np.s_[moment, rows, cols], self.source.path, window))
        return np.stack([part.astype(part.dtype.newbyteorder("="), copy=False) for part in parts])

    def mask(self, band: int, window: Window) -> npt.NDArray[np.bool_]:
        """True where the pixel is neither fill nor NaN."""
        values, fill = self.read([band], window)[0], self.source.bands[band - 1].nodata
        known = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
        return known if fill is None else np.asarray(known & (values != fill))

    def means(
        self, bands: Sequence[int], window: Window, shape: tuple[int, int]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """A window at a smaller shape; see `source.Pixels`."""
        return shrunk(self, bands, window, shape)


def _variables(file: Any) -> dict[str, tuple[str, ...]]:
    """The dimensions of each variable over time, rows and columns, in the order of their names."""
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(file):
        dimensions = _dimensions(file.get(name)) if hdf.is_inside(file, name) else ()
        if len(dimensions) == 3 and dimensions[0] in TIMES and dimensions[1:] in PLACES:
            found[name] = dimensions
    return found


def _dimensions(array: Any) -> tuple[str, ...]:
    """The names of the axes of a data set, none where they have none."""
    try:
        return tuple(axis[0].name.strip("/") for axis in array.dims)
    except (RuntimeError, ValueError, IndexError, KeyError, OSError, AttributeError):
        return ()


def _days(file: Any, name: str) -> list[str]:
    """The dates of a time axis, as ISO 8601."""
    axis, path = hdf.array(file, name, 1), file.filename
    units = hdf.text(axis, "units")
    said = SINCE.match(units)
    calendar = hdf.text(axis, "calendar") or "standard"
    if said is None or calendar not in ("standard", "gregorian", "proleptic_gregorian"):
        raise SceneError(
            f"{path} counts time in {units!r} ({calendar}); days since 1970-01-01 and the like are read"
        )
    try:
        # a zone, if one is given, moves no date by more than a day's part
        # CF writes UTC in words that Python does not know
        begin = datetime.fromisoformat(said[2].strip().replace(" UTC", "")).replace(tzinfo=None)
        step = SECONDS[said[1].rstrip("s")]
        return [(begin + timedelta(seconds=float(v) * step)).date().isoformat() for v in axis[()]]
    except (ValueError, OverflowError) as error:
        raise SceneError(f"{path} has a time that is no date: {' '.join(str(error).split())}") from error


def _transform(file: Any, row: str, col: str) -> Affine:
    """Pixels to map coordinates, of the coordinates of their centres."""
    ends = []
    for name in (col, row):
        at = np.asarray(hdf.array(file, name, 1)[()], np.float64)
        step = (at[-1] - at[0]) / (len(at) - 1) if len(at) > 1 else 0.0
        if not (step and np.isfinite(at).all() and np.abs(np.diff(at) - step).max() <= EVEN * abs(step)):
            raise SceneError(
                f"{file.filename} has a coordinate {name} that is not in even steps; resample it first"
            )
        ends.append((at[0] - step / 2, step))
    # coordinates are of centres, and a transform of corners
    (left, right), (top, down) = ends
    return Affine(right, 0, left, 0, down, top)


def _crs(file: Any, variable: str, place: Sequence[str]) -> str | None:
    """The CRS of a variable's grid mapping, else by the names of its coordinates; None where nothing says."""
    mapping = hdf.text(file[variable], "grid_mapping")
    if mapping and hdf.is_inside(file, mapping):
        for key in ("crs_wkt", "spatial_ref"):
            if stated := hdf.text(file[mapping], key):
                return raster.stated_crs(stated) or None
    return raster.wkt(DEGREES) if place[0].startswith("lat") else None


def _attribute(array: Any, name: str, otherwise: Any) -> Any:
    """A number that a variable states, which may be in an array of one."""
    try:
        return float(np.ravel(array.attrs[name])[0])
    except (KeyError, ValueError, TypeError, IndexError, OSError):
        return otherwise
