"""From an anomaly map to regions: objects, each flooded from a peak of the map down to a share of its height.

A peak is a pixel that none of its 8 neighbours exceeds. Its flood are the pixels that are connected to it, at
corners too, at SHARE of its score or more, and never under a floor, where background begins. Where no pixel of
the flood is higher the flood is a region; else the peak is a shoulder of something higher, and makes none. Of
equal scores the first in row-major order is the higher one.

So regions are disjoint, and each has an outline of its own, which follows from the map alone: not from how it was
read, nor from what else is reported. A rule chooses among them by their peaks. A lower peak floods at a lower level,
so that its flood holds every flood that it touches: after one flood all that was listed of peaks in it is settled.

The map is looked through in strips for its peaks; then each flood reads a window, as large as it takes. Memory
follows the number of peaks and the largest region, not the size of the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import shapely

from satae.errors import ConfigError
from satae.grid import Window
from satae.scene import raster

SHARE = 0.6  # of the score of a peak, down to which its region reaches
STRIP_PIXELS = 2**20
SIDE = 32  # pixels of the window in which a flood begins
SLAB_PIXELS = 2**18

Map = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]
Read = Callable[[Window], Map]
Measure = Callable[[npt.ArrayLike], npt.NDArray[Any]]


class TooMany(ConfigError):
    """A threshold gives more regions than anyone could use."""

    def __init__(self, threshold: float, most: int) -> None:
        super().__init__(f"a threshold of {threshold:.3g} gives over {most} regions; ask for fewer")


@dataclass(frozen=True)
class Unit:
    """What the values of a map mean: `score`, raw, of values, and the inverse, `value`; both increase."""

    score: Measure = np.asarray
    value: Measure = np.asarray

    def levels(self, values: npt.ArrayLike, floor: float) -> Map:
        """The lowest values in the regions of peaks of these values, which are at or over the floor."""
        peaks = np.asarray(values, np.float32)
        # a peak under zero has no share: it keeps its own height
        shares = self.value(SHARE * np.asarray(self.score(peaks), np.float64)).astype(np.float32)
        return np.maximum(np.minimum(shares, peaks), np.float32(floor))


RAW = Unit()


@dataclass(frozen=True, eq=False)
class Anomaly:
    """A region: the pixels of `window` where `mask` (row, col) is True; no row or column at its edge is empty.

    `peak` and `mean` are raw scores of its pixels; (row, col) is the pixel of the peak, the first in row-major
    order.
    """

    window: Window
    mask: Bools
    peak: float
    mean: float
    row: int
    col: int

    @cached_property
    def pixels(self) -> int:
        """How many there are."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def polygon(self) -> Any:
        """The outline in pixel coordinates (x = col, y = row): one valid MultiPolygon."""
        found = raster.outlines(self.mask.astype(np.int32))
        pieces = np.array([shapely.Polygon(outer, holes) for (outer, *holes), _ in found], dtype=object)
        moved = shapely.transform(pieces, lambda xy: xy + np.array([self.window.col, self.window.row]))
        # what touches itself at a corner is a piece for each side of it
        if not shapely.is_valid(moved).all():
            moved = shapely.get_parts(shapely.union_all(shapely.make_valid(moved)))
        return shapely.MultiPolygon([piece for piece in moved if piece.geom_type == "Polygon"])

    def inside(self, window: Window) -> Bools:
        """True (row, col) where a pixel of a window belongs to the region."""
        out = np.zeros((window.height, window.width), bool)
        part = self.window.within(window)
        if part is not None:
            out[part.slices(window)] = self.mask[part.slices(self.window)]
        return out


def of_array(scores: Map) -> tuple[Read, Window]:
    """A map (row, col) in memory as `regions` takes it."""
    whole = Window(0, 0, *scores.shape)
    return lambda window: scores[window.slices(whole)], whole


def regions(
    read: Read,
    whole: Window,
    threshold: float,
    floor: float,
    *,
    min_pixels: int = 1,
    count: int | None = None,
    most: int | None = None,
    unit: Unit = RAW,
) -> list[Anomaly]:
    """The regions of at least `min_pixels` whose peak is at or over a threshold: the first `count` by falling peak,
    or all.

    `read` gives the values (row, col) of a window inside `whole`, whose first pixel is (0, 0); NaN is never part of
    a region. `threshold` and `floor` are values of the map, and no region reaches under the lower one of both.
    Raises TooMany where there are more than `most` regions, or so many peaks that memory would follow them.
    """
    if count is not None and count < 1:
        return []
    found: list[Anomaly] = []
    for flood in _Floods(read, whole, threshold, min(floor, threshold), most, unit):
        if np.count_nonzero(flood.mask) >= min_pixels:
            found.append(flood)
        if len(found) == count:
            break
        if most is not None and len(found) > most:
            raise TooMany(threshold, most)
    return found


def labels_of(found: list[Anomaly], whole: Window) -> Labels:
    """Whose pixel each is (row, col): counted from 1 on, in this order; 0 is nobody's."""
    label = np.zeros((whole.height, whole.width), np.int32)
    for number, region in enumerate(found, 1):
        label[region.window.slices(whole)][region.mask] = number
    return label


class _Floods:
    """The regions of a map by falling peak, made as they are asked for."""

    def __init__(
        self, read: Read, whole: Window, threshold: float, floor: float, most: int | None, unit: Unit
    ) -> None:
        self.read, self.whole, self.unit = read, whole, unit
        self.rows, self.cols, self.values = _peaks(read, whole, threshold, most)
        self.levels = unit.levels(self.values, floor)
        # True of a peak that is a region's, or a shoulder
        self.settled = np.zeros(len(self.rows), bool)

    def __iter__(self) -> Iterator[Anomaly]:
        # stable, and peaks are listed in row-major order: of equal ones the first comes first
        for number in np.argsort(-self.values, kind="stable"):
            if not self.settled[number] and (flood := self._flood(int(number))) is not None:
                yield flood

    def _flood(self, number: int) -> Anomaly | None:
        """The region of a peak, None where that is a shoulder; settles all peaks in its flood."""
        row, col, side = int(self.rows[number]), int(self.cols[number]), SIDE
        while True:
            window = Window.around(row, col, side).clip(self.whole)
            values = self.read(window)
            # 1 where high enough, NaN is not; 2 where the flood is
            high = np.ascontiguousarray(values >= self.levels[number]).view(np.uint8)
            *_, (x, y, width, height) = cv2.floodFill(
                high, None, (col - window.col, row - window.row), 2, flags=8
            )
            extent = Window(window.row + y, window.col + x, height, width)
            mask = high[extent.slices(window)] == 2
            inside = self._listed(extent, mask)
            # every higher peak is settled, and so is what lies in floods of those: the whole flood holds one of them
            # if and only if it holds something higher, and what its window shows of it may tell already
            shoulder = bool(self.settled[inside].any())
            around = extent.with_margin(1).clip(self.whole)
            if shoulder or around.within(window) == around:
                self.settled[inside] = True
                inner = values[extent.slices(window)]
                return None if shoulder else self._anomaly(row, col, extent, mask, inner)
            side *= 2  # the flood goes on beyond the window

    def _listed(self, extent: Window, mask: Bools) -> npt.NDArray[np.intp]:
        """The numbers of the peaks in a mask."""
        first, last = np.searchsorted(self.rows, (extent.row, extent.stop[0]))
        near = np.arange(first, last)
        near = near[(self.cols[near] >= extent.col) & (self.cols[near] < extent.stop[1])]
        return near[mask[self.rows[near] - extent.row, self.cols[near] - extent.col]]

    def _anomaly(self, row: int, col: int, extent: Window, mask: Bools, values: Map) -> Anomaly:
        inner = values[mask]
        # in slabs, for a measure takes many times the memory
        parts = [inner[i : i + SLAB_PIXELS] for i in range(0, len(inner), SLAB_PIXELS)]
        total = sum(float(self.unit.score(part).sum(dtype=np.float64)) for part in parts)
        peak = float(self.unit.score(values[row - extent.row, col - extent.col]))
        return Anomaly(extent, mask, peak, total / len(inner), row, col)


def _peaks(
    read: Read, whole: Window, threshold: float, most: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Map]:
    """Rows, columns and values of the peaks at or over a threshold, in row-major order.

    Of a plateau at least the first pixel is listed, which is all that matters. A pixel at the edge of a strip is listed
    where something beyond the edge exceeds it, too: a shoulder.
    """
    found, count = [], 0
    for strip in _strips(whole):
        values = read(strip)
        rows, cols = np.nonzero(_is_peak(values, threshold))
        found.append((rows + strip.row, cols, values[rows, cols]))
        count += len(rows)
        if most is not None and count > 4 * most:  # specks that will be dropped, and shoulders, among them
            raise TooMany(threshold, most)
    rows, cols, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, cols, values


def _is_peak(values: Map, threshold: float) -> Bools:
    """True (row, col) of values that reach a threshold, exceed the 4 neighbours before them and are not under the
    4 behind."""
    with np.errstate(invalid="ignore"):
        high = values >= np.float32(threshold)
    # NaN is lower than anything
    low = np.where(np.isnan(values), np.float32(-np.inf), values)
    before, behind = (cv2.dilate(low, kernel) for kernel in (_BEFORE, _BEFORE[::-1, ::-1].copy()))
    return np.asarray(high & (low > before) & (low >= behind))


# the neighbours of a pixel that come before it in row-major order
_BEFORE = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], np.uint8)


def _strips(whole: Window) -> Iterator[Window]:
    """Windows over the full width, in order."""
    rows = max(1, STRIP_PIXELS // whole.width)
    for row in range(0, whole.height, rows):
        yield Window(row, 0, min(rows, whole.height - row), whole.width)
