"""From an anomaly map to regions: connected pixels at or over a threshold, with what they measure.

The map streams by in strips of full width; regions that cross strips are joined, so memory follows the
number of regions and not the size of the scene. Pixels that touch at a corner belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import shapely

from satae.errors import ConfigError
from satae.grid import Grid, Window
from satae.scene import raster

MOST = 100_000  # regions; more than this and the threshold is of no use to anyone
STRIP_PIXELS = 4 * 2**20

Map = npt.NDArray[np.float32]
Measure = Callable[[Map], npt.NDArray[Any]]


class TooMany(ConfigError):
    """A threshold gives more than MOST regions."""

    def __init__(self, threshold: float) -> None:
        super().__init__(f"a threshold of {threshold:.3g} gives over {MOST} regions; ask for fewer")


@dataclass(frozen=True)
class Anomaly:
    """A region. `polygon`: its outline in pixel coordinates (x = col, y = row), a MultiPolygon.

    `peak` and `mean` measure its pixels; (row, col) is the pixel of the peak, the first
    in row-major order.
    """

    polygon: Any
    pixels: int
    peak: float
    mean: float
    row: int
    col: int

    @property
    def window(self) -> Window:
        """The smallest window that holds an outlined region."""
        left, top, right, bottom = (round(v) for v in self.polygon.bounds)
        return Window(top, left, bottom - top, right - left)


@dataclass(slots=True)
class _Part:
    """What is known of the pixels of a region in the strips so far."""

    pixels: int
    total: float
    peak: float
    row: int
    col: int
    polygons: list[Any] = field(default_factory=list)
    strips: int = 1

    def join(self, other: _Part) -> None:
        self.pixels += other.pixels
        self.total += other.total
        self.strips += other.strips
        self.polygons += other.polygons
        # the highest peak, of equal ones the first in row-major order: the same whatever the strips
        mine, theirs = (-self.peak, self.row, self.col), (-other.peak, other.row, other.col)
        if theirs < mine:
            self.peak, self.row, self.col = other.peak, other.row, other.col


def strips_of(grid: Grid) -> Iterator[Window]:
    """Windows over the full width that cover the grid."""
    # full width, so that a strip only touches the one above and the one below
    rows = max(1, STRIP_PIXELS // grid.width)
    for row in range(0, grid.height, rows):
        yield Window(row, 0, min(rows, grid.height - row), grid.width)


def regions(
    strips: Iterable[tuple[Window, Map]],
    threshold: float,
    *,
    min_pixels: int = 1,
    outlined: bool = True,
    measure: Measure = np.asarray,
) -> list[Anomaly]:
    """All regions of at least `min_pixels`, by falling peak.

    `strips` are (window, map) over the full width in order; NaN is never part of a region. `peak` and `mean`
    are taken of `measure`, an increasing function of the map. Where not `outlined`, polygons are left
    empty. Raises TooMany where there are more than MOST regions.
    """
    joined = _Joined()
    above = None
    for window, scores in strips:
        # NaN compares as False and is never part of a region
        with np.errstate(invalid="ignore"):
            mask = (scores >= np.float32(threshold)).astype(np.uint8)
        # (row, col) labels from 1 on, of this strip alone
        count, found = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
        label = np.asarray(found, np.int32)
        # numbered over all strips: label i of this one is part first + i - 1
        first = joined.add(_parts(window, scores, label, count, measure), threshold)
        if outlined and count > 1:
            _outline(joined, window, label, first, min_pixels)
        # only the last row of the strip before is kept of it
        if above is not None:
            _bridge(joined, above, _numbered(label[0], first))
        above = _numbered(label[-1], first)
    large = [p for p in joined.parts() if p.pixels >= min_pixels]
    if len(large) > MOST:
        raise TooMany(threshold)
    return sorted(map(_anomaly, large), key=lambda a: (-a.peak, a.row, a.col))


def _numbered(row: npt.NDArray[np.int32], first: int) -> npt.NDArray[np.int64]:
    """Labels of a row counted over all strips; -1 is background."""
    # int64: numbers count over all strips and may outgrow the labels' int32
    return np.where(row > 0, row.astype(np.int64) - 1 + first, -1)


def _parts(
    window: Window, scores: Map, label: npt.NDArray[np.int32], count: int, measure: Measure
) -> list[_Part]:
    """Statistics of the labels 1 to count - 1 of a strip."""
    if count == 1:
        return []
    # only pixels of regions: few, of a large strip
    rows, cols = np.nonzero(label)
    ids, values = label[rows, cols], measure(scores[rows, cols]).astype(np.float64)
    pixels = np.bincount(ids, minlength=count)
    totals = np.bincount(ids, weights=values, minlength=count)
    # by label, then by falling value, then row and col: the first of each label is its peak
    order = np.lexsort((cols, rows, -values, ids))
    starts = order[np.concatenate([[0], np.cumsum(pixels[1:-1])])]
    return [
        _Part(
            int(pixels[i + 1]),
            float(totals[i + 1]),
            float(values[s]),
            int(rows[s]) + window.row,
            int(cols[s]),
        )
        for i, s in enumerate(starts)
    ]


class _Joined:
    """Parts under union-find."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._parent: list[int] = []

    def add(self, parts: list[_Part], threshold: float) -> int:
        """Number the parts; gives the number of the first."""
        first = len(self._parts)
        self._parts += parts
        self._parent += range(first, len(self._parts))
        if len(self._parts) > 4 * MOST:  # specks that will be dropped, and regions cut by strips, among them
            raise TooMany(threshold)
        return first

    def __getitem__(self, number: int) -> _Part:
        return self._parts[number]

    def root(self, number: int) -> int:
        """The first part of the region that a part belongs to."""
        # halving the path on the way, so that a region over thousands of strips is found in few steps
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def unite(self, a: int, b: int) -> None:
        """Two parts touch."""
        # the earlier part is the root, so that numbers do not depend on the order in which parts are united
        a, b = sorted((self.root(a), self.root(b)))
        if a != b:
            self._parent[b] = a
            self._parts[a].join(self._parts[b])

    def parts(self) -> list[_Part]:
        """One joined part a region."""
        return [part for i, part in enumerate(self._parts) if self._parent[i] == i]


def _bridge(joined: _Joined, above: npt.NDArray[np.int64], below: npt.NDArray[np.int64]) -> None:
    """Unite regions that touch across two neighbouring rows, corners included."""
    width = len(above)
    # straight below, and over both corners
    for shift in (-1, 0, 1):
        a = above[max(0, -shift) : width - max(0, shift)]
        b = below[max(0, shift) : width - max(0, -shift)]
        touching = (a >= 0) & (b >= 0)
        for one, other in np.unique(np.stack([a[touching], b[touching]], axis=1), axis=0):
            joined.unite(int(one), int(other))


def _outline(
    joined: _Joined, window: Window, label: npt.NDArray[np.int32], first: int, min_pixels: int
) -> None:
    """Add the polygons of a strip; specks that touch no neighbouring strip are spared the work."""
    keep = np.zeros(label.max() + 1, bool)
    # at the edges of a strip, for a speck there may be the end of something large
    keep[label[0]] = keep[label[-1]] = True
    for i in range(1, len(keep)):
        keep[i] |= joined[first + i - 1].pixels >= min_pixels
    keep[0] = False
    found = raster.outlines(np.where(keep[label], label, 0))
    polygons = np.array([shapely.Polygon(outer, holes) for (outer, *holes), _ in found], dtype=object)
    # from rows of the strip to rows of the scene
    moved = shapely.transform(polygons, lambda xy: xy + np.array([0, window.row]))
    for polygon, (_, number) in zip(moved, found, strict=True):
        joined[first + number - 1].polygons.append(polygon)


def _anomaly(part: _Part) -> Anomaly:
    return Anomaly(_merged(part), part.pixels, part.peak, part.total / part.pixels, part.row, part.col)


def _merged(part: _Part) -> Any:
    """One valid MultiPolygon with corners only where the outline turns."""
    # pieces of several strips share an edge, which has to go; of one strip nothing has
    if part.strips == 1 and all(p.is_valid for p in part.polygons):
        return shapely.MultiPolygon(part.polygons)
    whole = shapely.simplify(shapely.union_all(shapely.make_valid(part.polygons)), 0)
    return shapely.MultiPolygon([p for p in shapely.get_parts(whole) if p.geom_type == "Polygon"])


def inside(polygon: Any, window: Window) -> npt.NDArray[np.bool_]:
    """True (row, col) where a pixel lies in a polygon of whole pixel coordinates with axis-parallel edges.

    A pixel is inside where an odd number of upright edges lies left of it. Exact and without GDAL, whose rasteriser
    does not bear two threads at once (rasterio changes the filter of warnings around it).
    """
    # how many upright edges lie on the left side of each pixel, as steps: summed up along a row at the end
    crossings = np.zeros((window.height, window.width + 1), np.int32)
    for ring in _rings(polygon):
        xy = shapely.get_coordinates(ring).round().astype(np.int64) - (window.col, window.row)
        # an edge that is upright has one x; of a level one both ends are in the same row
        x, (above, below) = xy[1:, 0], np.sort([xy[:-1, 1], xy[1:, 1]], axis=0)
        for col, top, bottom in zip(np.clip(x, 0, window.width), above, below, strict=True):
            crossings[max(0, top) : max(0, bottom), col] += 1  # level edges are empty slices
    return np.asarray(np.cumsum(crossings[:, :-1], axis=1) % 2 == 1)


def _rings(polygon: Any) -> list[Any]:
    parts = shapely.get_parts(polygon)
    return [ring for part in parts for ring in (part.exterior, *part.interiors)]
