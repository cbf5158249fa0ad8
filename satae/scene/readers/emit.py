"""EMIT L2A reflectance (netCDF): orthorectified by the table in the file, which names the pixel of the swath to show.

The table (`location/glt_x`, `glt_y`) counts from 1 and has 0 where nothing was seen; DN are reflectance, fill is -9999
(NASA, EMIT L2A User Guide). The swath is read in pieces, for a row of the map crosses much of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from satae.errors import SceneError
from satae.grid import Grid, Window
from satae.scene import hdf, raster, wavelengths
from satae.scene.resample import on_grid, shrunk
from satae.scene.source import Band, Pixels, Source

CUBE, ACROSS, ALONG = "reflectance", "location/glt_x", "location/glt_y"
BANDS = "sensor_band_parameters"
FILL = -9999.0
PIECE = 256  # pixels a side of what is orthorectified at once
MOST = 2**23  # numbers of the swath that are read for one
BLOCK = 64  # pixels a side that are best read at once where the swath is unpacked
TALL = 64 * 2**20  # bytes of the swath that are unpacked at once


def matches(path: Path, head: bytes) -> bool:
    """Whether it is such a file, by what it holds."""
    return head.startswith(hdf.MAGIC) and hdf.holds(path, ACROSS) and hdf.holds(path, CUBE)


def describe(path: Path) -> Source:
    """The grid of the table, and a band for each of the swath with its wavelength, marked where it is not good."""
    with hdf.open_file(path) as file:
        cube, across, along = hdf.array(file, CUBE, 3), hdf.array(file, ACROSS, 2), hdf.array(file, ALONG, 2)
        if across.shape != along.shape or across.dtype.kind not in "iu" or along.dtype.kind not in "iu":
            raise SceneError(
                f"{path} holds a geolocation table whose halves differ; download the product again"
            )
        (height, width), count = across.shape, cube.shape[2]
        hdf.check_size(path, count, height, width)
        grid = Grid(height, width, _transform(file, path), _crs(file, path))
        centres, widths, good = (
            _parameter(file, name, count) for name in ("wavelengths", "fwhm", "good_wavelengths")
        )
        kind = cube.dtype.newbyteorder("=").name
    # fill is stated nowhere in some deliveries, and is the same in all
    bands = []
    for i in range(count):
        nm = None if centres is None else round(float(centres[i]), 3)
        bands.append(
            Band(
                i + 1,
                wavelengths.name(nm) or f"band{i + 1}",
                kind,
                nodata=FILL,
                wavelength=nm,
                width=None if widths is None else round(float(widths[i]), 3),
                good=good is None or bool(good[i]),
            )
        )
    return Source(path, grid, tuple(bands), (min(BLOCK, height), min(BLOCK, width)), slow=True)


def place(source: Source, number: int) -> None:
    """GDAL does not place the swath."""


@contextmanager
def open(source: Source, grid: Grid | None = None, *, mean: bool = False) -> Iterator[Pixels]:
    """A handle of the caller's own."""
    with hdf.open_file(source.path) as file:
        yield on_grid(Swath(source, file), source, grid, mean=mean)


def unpack(source: Source, folder: Path) -> Source | None:
    """The product with a swath that is not compressed, in a new file, for a stored chunk serves many places of the map.

    None where that would hold more than TALL bytes at once. Raises DamageError where a chunk cannot be decoded.
    """
    with hdf.open_file(source.path) as file:
        cube = hdf.array(file, CUBE, 3)
        if (
            cube.chunks is None
            or cube.chunks[0] * cube.chunks[1] * cube.shape[2] * cube.dtype.itemsize > TALL
        ):
            return None
        path = folder / f"{source.path.stem}.h5"
        with hdf.new_file(path) as out:
            for name in (ACROSS, ALONG):
                out[name] = hdf.read(hdf.array(file, name, 2), np.s_[:], source.path, source.grid.window)
            plain = out.create_dataset(CUBE, cube.shape, cube.dtype)
            # all bands of some pixels at a time: so they lie in the new file
            for part in Window(0, 0, *cube.shape[:2]).cells(cube.chunks[:2]):
                rows, cols = part.slices(Window(0, 0, *cube.shape[:2]))
                plain[rows, cols] = hdf.read(cube, np.s_[rows, cols], source.path, part)
    return replace(source, path=path, stamp=())


def _transform(file: Any, path: Path) -> Affine:
    numbers = hdf.numbers(file, "geotransform")
    if len(numbers) != 6 or not np.isfinite(numbers).all():
        raise SceneError(f"{path} states a geotransform of {len(numbers)} numbers, not 6 finite ones")
    transform = Affine.from_gdal(*map(float, numbers))
    if transform.determinant == 0:
        raise SceneError(f"{path} has an unusable pixel size or origin: {tuple(transform)[:6]}")
    return transform


def _crs(file: Any, path: Path) -> str:
    stated = hdf.text(file, "spatial_ref").strip()
    if wkt := raster.stated_crs(stated):
        return wkt
    raise SceneError(f"{path} states a spatial_ref that is no WKT: {stated[:60]!r}")


def _parameter(file: Any, name: str, count: int) -> npt.NDArray[Any] | None:
    """A number for each band; None where they are not stated."""
    if f"{BANDS}/{name}" not in file:
        return None
    stated = hdf.array(file, f"{BANDS}/{name}", 1)
    # a list of billions is not read to find that out
    values = np.asarray(stated[: count + 1])
    if len(values) != count or not np.isfinite(values).all():
        raise SceneError(
            f"{file.filename} states {len(stated)} {name} for {count} bands, or some that are no numbers"
        )
    return values


class Swath:
    """The pixels of a swath, in their places on the map: `source.Pixels`."""

    def __init__(self, source: Source, file: Any) -> None:
        self.source, self._file = source, file
        self._cube, self._across, self._along = (
            hdf.array(file, name, dimensions) for name, dimensions in ((CUBE, 3), (ACROSS, 2), (ALONG, 2))
        )

    def read(self, bands: Sequence[int], window: Window) -> npt.NDArray[Any]:
        """Pixels (band, row, col) of a window of the map, fill where the table names none."""
        image = np.full((len(bands), window.height, window.width), FILL, self.source.bands[0].dtype)
        for piece in window.cells((PIECE, PIECE)):
            rows, cols = piece.slices(window)
            self._place(image[:, rows, cols], bands, piece)
        return image

    def mask(self, band: int, window: Window) -> npt.NDArray[np.bool_]:
        """True where the table names a pixel that is not fill."""
        return np.asarray(self.read([band], window)[0] != FILL)

    def means(
        self, bands: Sequence[int], window: Window, shape: tuple[int, int]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """A window at a smaller shape; see `source.Pixels`."""
        return shrunk(self, bands, window, shape)

    def _place(self, out: npt.NDArray[Any], bands: Sequence[int], piece: Window) -> None:
        """Put the pixels that the table names for a piece."""
        path, (rows, cols) = self.source.path, piece.slices(self.source.grid.window)
        row, col = (
            hdf.read(table, (rows, cols), path, piece).astype(np.int64) - 1
            for table in (self._along, self._across)
        )
        # 0 in the table, and whatever else it may hold for fill
        named = (row >= 0) & (col >= 0)
        if not named.any():
            return
        row, col = row[named], col[named]
        if row.max() >= self._cube.shape[0] or col.max() >= self._cube.shape[1]:
            raise SceneError(
                f"{path} names pixel {row.max() + 1}, {col.max() + 1} in its geolocation table and has "
                f"{self._cube.shape[0]} x {self._cube.shape[1]}; download the product again"
            )
        left, right = int(col.min()), int(col.max()) + 1
        first, last = int(min(bands)) - 1, int(max(bands))
        at = np.nonzero(named)
        # a table may name pixels from anywhere: what is read for a piece is bounded, not how often
        for top, bottom, low, high in self._blocks(
            int(row.min()), int(row.max()) + 1, right - left, first, last
        ):
            here = (row >= top) & (row < bottom)
            wanted = [i for i, band in enumerate(bands) if low < band <= high]
            if not here.any() or not wanted:
                continue
            swath = hdf.read(self._cube, np.s_[top:bottom, left:right, low:high], path, piece)
            found = swath[row[here] - top, col[here] - left]  # (pixel, band)
            for i in wanted:
                out[i, at[0][here], at[1][here]] = found[:, bands[i] - 1 - low]

    def _blocks(
        self, first: int, last: int, width: int, low: int, high: int
    ) -> Iterator[tuple[int, int, int, int]]:
        """(first row, last row, first band, last band) of reads of MOST numbers at the most, along stored chunks."""
        chunk = (self._cube.chunks or (1, 1, 1))[2]
        # whole columns of the swath before all bands: what is decoded for one read is then used in it
        tall = min(last - first, max(1, MOST // width))
        deep = max(1, MOST // (width * tall))
        deep = deep // chunk * chunk or deep
        for top in range(first, last, tall):
            band = low
            while band < high:
                stop = min(high, (band // deep + 1) * deep)
                yield top, min(last, top + tall), band, stop
                band = stop
