"""Where polygons let the pixels of a grid count: pixel centres are brought to the polygons' CRS, never the reverse.

A projection is made for the place of a scene. Far from it it folds, tears or ends: polygons that are moved there come
to lie where they are not, and the more of the world they cover the worse. Pixels have their place in any CRS. No files.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from shapely import affinity

from satae.grid import Grid, Window

CELL = 32  # pixels a side of the squares that are asked pixel by pixel where an edge is near
DIVIDED = 16  # squares a side that a larger window is divided into
ROUGH = (
    0.1  # share of a square's extent by which its inner points may lie beside their place, else it is divided
)
ASKING = (
    threading.Lock()
)  # held while a prepared geometry is asked: what it keeps for the next time is not for two

# projections whose x is longitude times a factor, so that the world repeats in it
CYLINDRICAL = (
    "Popular Visualisation Pseudo Mercator", "Mercator (variant A)", "Mercator (variant B)", "Mercator (Spherical)",
    "Equidistant Cylindrical", "Equidistant Cylindrical (Spherical)", "Lambert Cylindrical Equal Area",
    "Lambert Cylindrical Equal Area (Spherical)", "Miller Cylindrical",
)  # fmt: skip


@dataclass(frozen=True)
class Area:
    """A valid geometry in the CRS `wkt`, and the grid whose pixels count where their centre lies in it or on its edge.

    `wkt` is None where both have the same CRS, or none. `turn` is the (start, length) of the axis of x where the world
    repeats in it, as longitudes do every 360 degrees; the geometry may reach beyond.
    """

    grid: Grid
    geometry: Any
    wkt: str | None = None
    turn: tuple[float, float] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The values alone: what GEOS and PROJ made of them belongs to this process."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def inside(self, window: Window) -> npt.NDArray[np.bool_]:
        """True where a pixel (row, col) of the window counts."""
        good = np.zeros((window.height, window.width), bool)
        for part, whole in self._parts(window):
            good[part.slices(window)] = True if whole else self._asked(part)
        return good

    @property
    def touches(self) -> bool:
        """Whether any pixel of the grid counts."""
        return any(whole or self._asked(part).any() for part, whole in self._parts(self.grid.window))

    def near(self, shapes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Whether geometries (n) in the CRS of the area may touch the grid, by what they and it extend over."""
        side = max(CELL, math.ceil(self.grid.window.longest / DIVIDED))
        low, high, smooth = self._extents(list(self.grid.window.cells((side, side))))
        if not smooth.all():
            return np.ones(len(shapes), bool)
        (left, bottom), (right, top) = low.min(axis=0), high.max(axis=0)
        found = np.zeros(len(shapes), bool)
        bounds = shapely.bounds(shapes)
        length = 0.0 if self.turn is None else self.turn[1]
        for shift in (-length, 0, length):
            west, east = bounds[:, 0] + shift, bounds[:, 2] + shift
            found |= (west <= right) & (east >= left) & (bounds[:, 1] <= top) & (bounds[:, 3] >= bottom)
        return found

    def _parts(self, window: Window) -> Iterator[tuple[Window, bool]]:
        """Squares of a window that lie whole inside (True), then small ones near an edge (False); none outside."""
        side = max(CELL, math.ceil(window.longest / DIVIDED))
        cells = list(window.cells((side, side)))
        low, high, smooth = self._extents(cells)
        boxes = shapely.box(*low.T, *high.T)
        with ASKING:
            whole = smooth & shapely.contains_properly(self._prepared, boxes)
            near = ~smooth | (~whole & shapely.intersects(self._prepared, boxes))
        yield from ((cells[i], True) for i in np.flatnonzero(whole))
        for i in np.flatnonzero(near):
            if side > CELL:
                yield from self._parts(cells[i])
            else:
                yield cells[i], False

    def _extents(
        self, cells: list[Window]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Lowest and highest (x, y) of each cell, and where these are sure: no tear or pole is near."""
        # `_moved` adds half a pixel, and corners are meant
        first = np.array([(c.row, c.col) for c in cells]) - 0.5
        last = np.array([c.stop for c in cells]) - 0.5
        # 3 x 3 points a cell, by how far on they lie from the first corner to the last: (cell, row, col)
        on = np.array([0, 0.5, 1])
        rows, cols = (first[:, i, None] + (last - first)[:, i, None] * on for i in (0, 1))
        shape = (len(cells), 3, 3)
        xy = self._moved(np.broadcast_to(rows[:, :, None], shape), np.broadcast_to(cols[:, None, :], shape))
        with np.errstate(invalid="ignore"):  # infinite where the projection has no inverse
            # where the inner points would lie between the corners, had nothing bent: twice what is missing is room
            flat = np.einsum("nijd,ir,jc->nrcd", xy[:, ::2, ::2], *[np.array([1 - on, on])] * 2)
            bend = np.abs(xy - flat).max(axis=(1, 2))
            low, high = xy.min(axis=(1, 2)), xy.max(axis=(1, 2))
            smooth = (np.isfinite(xy).all(axis=(1, 2)) & (high > low) & (bend <= ROUGH * (high - low))).all(
                axis=1
            )
            low, high = low - 2 * bend, high + 2 * bend
        low[~smooth], high[~smooth] = 0, 1
        return low, high, smooth

    def _asked(self, window: Window) -> npt.NDArray[np.bool_]:
        """The same as `inside`, pixel by pixel."""
        rows, cols = (np.arange(a, b) for a, b in zip((window.row, window.col), window.stop, strict=True))
        xy = self._moved(*np.meshgrid(rows, cols, indexing="ij"))
        with ASKING:
            found = shapely.intersects_xy(self._prepared, xy[..., 0], xy[..., 1])
        return np.asarray(found & np.isfinite(xy).all(axis=-1))

    def _moved(self, rows: npt.NDArray[Any], cols: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Where the centres of pixels lie in the polygons' CRS (..., 2); infinite where they have no place there."""
        xy = self.grid.xy(rows + 0.5, cols + 0.5)
        if self._move is not None:
            xy = np.stack(self._move.transform(xy[..., 0], xy[..., 1]), axis=-1)
        if self.turn is not None:
            start, length = self.turn
            with np.errstate(invalid="ignore"):
                xy[..., 0] = start + (xy[..., 0] - start) % length
        return xy

    @cached_property
    def _prepared(self) -> Any:
        shapely.prepare(self.geometry)
        return self.geometry

    @cached_property
    def _move(self) -> pyproj.Transformer | None:
        return (
            None if self.wkt is None else pyproj.Transformer.from_crs(self.grid.crs, self.wkt, always_xy=True)
        )


def area(grid: Grid, polygons: npt.NDArray[Any], crs: pyproj.CRS | None) -> Area:
    """The area of geometries with polygons in them, which may be invalid, overlap and reach around the world.

    Raises ProjError where no way leads from one CRS to the other.
    """
    own = None if grid.crs is None else pyproj.CRS.from_wkt(grid.crs)
    turn = None if crs is None else _turn(crs)
    wkt = None if crs is None or crs.equals(own, ignore_axis_order=True) else crs.to_wkt()
    nothing = Area(grid, shapely.MultiPolygon(), wkt, turn)
    union = shapely.union_all(valid_polygons(polygons[nothing.near(polygons)]))
    if turn is not None and not union.is_empty:
        # what reaches beyond the end of the axis is at its start too: 170 to 190 degrees, 0 to 360
        start, length = turn
        left, _, right, _ = union.bounds
        shifts = [0.0, *([-length] if right >= start + length else []), *([length] if left <= start else [])]
        union = shapely.union_all([affinity.translate(union, shift) for shift in shifts])
    return replace(nothing, geometry=union)


def valid_polygons(shapes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Valid polygons of geometries of any kind; lines and points have no area to count pixels in."""
    shapes = shapely.make_valid(shapes)
    # what was mended may be a collection, which may hold others
    while (shapely.get_type_id(shapes) > shapely.GeometryType.POLYGON).any():
        shapes = shapely.get_parts(shapes)
    return np.asarray(shapes[shapely.area(shapes) > 0])


def _turn(crs: pyproj.CRS) -> tuple[float, float] | None:
    """The (start, length) of the axis of x where the world repeats in it."""
    if crs.is_geographic:
        # 360 degrees, or 400 grads
        length = 2 * math.pi / crs.axis_info[0].unit_conversion_factor
        return -length / 2, length
    operation = crs.coordinate_operation
    if not crs.is_projected or operation is None or operation.method_name not in CYLINDRICAL:
        return None
    middle = next((float(p.value) for p in operation.params if p.name == "Longitude of natural origin"), 0.0)
    to_map = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    (x, one), _ = to_map.transform([middle, middle + 1], [0.0, 0.0])
    return x - 180 * (one - x), 360 * (one - x)
