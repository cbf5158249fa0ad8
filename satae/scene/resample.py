"""Pixels that GDAL does not read, on another grid than their own and at smaller sizes, in bounded memory.

Files that GDAL reads are warped by it, in `raster`; this does the same for what satae puts together itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.grid import Grid, Window
from satae.scene import raster
from satae.scene.source import Pixels, Source

MOST = 2**22  # numbers of one read, over all bands


@dataclass(frozen=True)
class OtherGrid:
    """The pixels of a source seen on another grid: the nearest one, or with `mean` the mean of those in it that count.

    Off the source pixels are nodata, 0 where it has none, and do not count.
    """

    pixels: Pixels
    source: Source
    grid: Grid
    mean: bool

    def read(self, bands: Sequence[int], window: Window) -> npt.NDArray[Any]:
        """Pixels (band, row, col) of a window of the other grid."""
        own = [self.source.bands[b - 1] for b in bands]
        kind = np.result_type(*[raster.numpy_dtype(b.dtype) for b in own])
        image = np.zeros((len(bands), window.height, window.width), kind)
        for plane, said in zip(image, own, strict=True):
            plane[:] = as_stored(np.array(said.nodata or 0.0), kind)
        for part in _divided(window, self._reach, len(bands)):
            rows, cols = part.slices(window)
            # a mean is taken band by band, for each may have other pixels that count
            if self._nests:
                for i, band in enumerate(bands):
                    self._average(image[i, rows, cols], band, part)
                continue
            at, near = self._nearest(part)
            if near is not None:
                image[:, rows, cols][:, near] = self.pixels.read(bands, at[0])[:, at[1], at[2]]
        return image

    def mask(self, band: int, window: Window) -> npt.NDArray[np.bool_]:
        """True where a pixel of the band counts."""
        good = np.zeros((window.height, window.width), bool)
        for part in _divided(window, self._reach, 1):
            rows, cols = part.slices(window)
            at, near = self._nearest(part)
            if near is not None:
                good[rows, cols][near] = self.pixels.mask(band, at[0])[at[1], at[2]]
        return good

    def means(
        self, bands: Sequence[int], window: Window, shape: tuple[int, int]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """A window at a smaller shape; see `source.Pixels`."""
        return shrunk(self, bands, window, shape)

    @property
    def _nests(self) -> bool:
        """Whether means are asked for, and pixels are rectangles of the source's."""
        a, b = self.source.grid.transform, self.grid.transform
        return self.mean and a.b == a.d == b.b == b.d == 0

    def _reach(self, window: Window) -> Window | None:
        """The part of the source that a window is made of, by its corners and the middles of its sides."""
        # a side bends where the CRSs differ; a pixel of margin on all sides takes up what the middles miss
        on = np.array([0, 0.5, 1])
        rows, cols = np.meshgrid(window.row + on * window.height, window.col + on * window.width)
        row, col = self._places(rows, cols)
        if not np.isfinite(row).any():
            return None
        low = np.floor([np.nanmin(row), np.nanmin(col)]).astype(int) - 1
        high = np.ceil([np.nanmax(row), np.nanmax(col)]).astype(int) + 1
        around = Window(int(low[0]), int(low[1]), *map(int, high - low))
        return around.within(self.source.grid.window)

    def _places(
        self, rows: npt.NDArray[np.float64], cols: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Where points of the other grid lie on the source's, in its pixels; NaN where no way leads there."""
        own = self.source.grid
        xy = self.grid.xy(rows, cols)
        # without a CRS in both, coordinates are taken to mean the same
        if own.crs != self.grid.crs and own.crs and self.grid.crs:
            found = raster.transform(xy, self.grid.crs, own.crs)
            xy = np.full_like(xy, np.nan) if found is None else found
        t = ~own.transform
        col, row = (a * xy[..., 0] + b * xy[..., 1] + c for a, b, c in ((t.a, t.b, t.c), (t.d, t.e, t.f)))
        known = np.isfinite(row) & np.isfinite(col) & (np.abs(row) < 1e9) & (np.abs(col) < 1e9)
        return np.where(known, row, np.nan), np.where(known, col, np.nan)

    def _nearest(self, window: Window) -> tuple[Any, npt.NDArray[np.bool_] | None]:
        """(window of the source, rows, cols in it) of the pixels that have a nearest one, and which have."""
        rows, cols = np.mgrid[: window.height, : window.width] + 0.5
        row, col = self._places(rows + window.row, cols + window.col)
        with np.errstate(invalid="ignore"):
            near = (row >= 0) & (row < self.source.grid.height) & (col >= 0) & (col < self.source.grid.width)
        if not near.any():
            return None, None
        r, c = row[near].astype(int), col[near].astype(int)
        around = Window(r.min(), c.min(), r.max() - r.min() + 1, c.max() - c.min() + 1)
        return (around, r - around.row, c - around.col), near

    def _average(self, out: npt.NDArray[Any], band: int, window: Window) -> None:
        """Put the means of what lies in each pixel and counts, by the share that lies in it."""
        around = self._reach(window)
        if around is None:
            return
        good = self.pixels.mask(band, around)
        image = np.where(good, self.pixels.read([band], around)[0].astype(float), 0.0)
        edges = self._places(
            np.arange(window.row, window.stop[0] + 1.0), np.full(window.height + 1, float(window.col))
        )[0]
        sides = self._places(
            np.full(window.width + 1, float(window.row)), np.arange(window.col, window.stop[1] + 1.0)
        )[1]
        # (row, row of the source) and (col of the source, col): which length of a pixel of the source lies in it
        down = _shares(edges, around.row, around.height)
        across = _shares(sides, around.col, around.width).T
        # sums of a rectangle are products of matrices, rows first
        weight = down @ good.astype(float) @ across
        known = weight > 1e-6
        out[known] = as_stored((down @ image @ across)[known] / weight[known], out.dtype)


def on_grid(pixels: Pixels, source: Source, grid: Grid | None, *, mean: bool) -> Pixels:
    """The pixels themselves, or seen on another grid; with `mean` as means where that is coarser."""
    if grid is None or grid == source.grid:
        return pixels
    mean &= abs(grid.transform.determinant) > abs(source.grid.transform.determinant)
    return OtherGrid(pixels, source, grid, mean)


def shrunk(
    pixels: Pixels, bands: Sequence[int], window: Window, shape: tuple[int, int]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """A window at a smaller shape (rows, cols): means (band, row, col) of what counts, and where anything does.

    Of a row of cells that is more than MOST numbers, the rows in its middle stand for it.
    """
    image, valid = np.zeros((len(bands), *shape), np.float32), np.zeros(shape, bool)
    rows = np.linspace(window.row, window.stop[0], shape[0] + 1).astype(int)
    cols = np.linspace(0, window.width, shape[1] + 1).astype(int)[:-1]
    most = max(1, MOST // (window.width * len(bands)))
    for i, (start, stop) in enumerate(itertools.pairwise(rows.tolist())):
        tall = max(1, min(most, stop - start))
        top = max(window.row, min(window.stop[0] - tall, (start + stop - tall) // 2))
        strip = Window(top, window.col, tall, window.width)
        read = pixels.read(bands, strip).astype(np.float64)
        good = np.isfinite(read).all(axis=0)
        for band in bands:
            good &= pixels.mask(band, strip)
        # sums over each cell's columns, rows having been added up
        count = np.add.reduceat(good.sum(axis=0), cols)
        sums = np.add.reduceat(np.where(good, read, 0).sum(axis=1), cols, axis=1)
        valid[i] = count > 0
        image[:, i] = sums / np.maximum(count, 1)
    return image, valid


def as_stored(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Values as a type holds them, as GDAL converts: the nearest integer, half away from 0, inside of its range."""
    if dtype.kind == "f" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":
        values = np.nan_to_num(np.trunc(values + np.copysign(0.5, values)), nan=0.0)
        # the largest 64-bit integers are no floats: what is rounded up to one beyond would turn round
        high = np.nextafter(float(limits.max), 0) if float(limits.max) > limits.max else limits.max
        return np.asarray(np.clip(values, float(limits.min), high).astype(dtype))
    own = np.iinfo(values.dtype)
    return np.asarray(np.clip(values, max(limits.min, own.min), min(limits.max, own.max)).astype(dtype))


def _divided(window: Window, reach: Callable[[Window], Window | None], bands: int) -> Iterator[Window]:
    """Parts of a window that are each made of no more than MOST numbers."""
    around = reach(window)
    if around is None or around.height * around.width * bands <= MOST or window.longest == 1:
        yield window
        return
    if window.height >= window.width:
        half = window.height // 2
        parts = (Window(window.row, window.col, half, window.width),
                 Window(window.row + half, window.col, window.height - half, window.width))  # fmt: skip
    else:
        half = window.width // 2
        parts = (Window(window.row, window.col, window.height, half),
                 Window(window.row, window.col + half, window.height, window.width - half))  # fmt: skip
    for part in parts:
        yield from _divided(part, reach, bands)


def _shares(edges: npt.NDArray[np.float64], start: int, count: int) -> npt.NDArray[np.float64]:
    """(cell, pixel): the length of each of `count` pixels from `start` on that lies between two edges."""
    low, high = np.minimum(edges[:-1], edges[1:])[:, None], np.maximum(edges[:-1], edges[1:])[:, None]
    at = start + np.arange(count)[None, :]
    return np.asarray(np.clip(np.minimum(high, at + 1) - np.maximum(low, at), 0, None))
