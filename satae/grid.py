"""The pixel grid of a scene: where tiles lie, where pixels lie on the ground, how large they are.

Pure arithmetic on four values (height, width, affine, CRS); no files. Pixel (row, col) covers the square
from (row, col) to (row + 1, col + 1); the affine maps (col, row) of a corner to map coordinates (x, y).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from affine import Affine

if TYPE_CHECKING:
    from satae.geodesy import Geodesy

DISTORTION = 0.01  # share by which planar and ellipsoidal area may differ before the ellipsoid is used


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels; it may reach beyond the grid, where pixels are invalid."""

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a window needs at least one pixel, not {self.height} x {self.width}")

    @property
    def stop(self) -> tuple[int, int]:
        """(row, col) just behind the last pixel."""
        return self.row + self.height, self.col + self.width

    @classmethod
    def around(cls, row: int, col: int, side: int) -> Window:
        """A square of `side` pixels around a pixel, which is its middle or the first one behind it."""
        return cls(row - side // 2, col - side // 2, side, side)

    @property
    def longest(self) -> int:
        """The longer of both sides."""
        return max(self.height, self.width)

    @property
    def middle(self) -> tuple[int, int]:
        """(row, col) of the pixel in the middle, or the first one behind it."""
        return self.row + self.height // 2, self.col + self.width // 2

    def with_margin(self, margin: int) -> Window:
        """The window with `margin` more pixels on every side."""
        return Window(self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin)

    def from_multiple(self, step: int) -> Window:
        """The window and the pixels before it, back to the last multiple of `step` in rows and columns."""
        row, col = self.row // step * step, self.col // step * step
        return Window(row, col, self.stop[0] - row, self.stop[1] - col)

    def within(self, outer: Window) -> Window | None:
        """The part of this window that lies in `outer`, or None."""
        row, col = max(self.row, outer.row), max(self.col, outer.col)
        height = min(self.stop[0], outer.stop[0]) - row
        width = min(self.stop[1], outer.stop[1]) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def clip(self, outer: Window) -> Window:
        """The part of this window that lies in `outer`; ValueError where there is none."""
        inside = self.within(outer)
        if inside is None:
            raise ValueError(f"{self} and {outer} do not touch")
        return inside

    def slices(self, outer: Window) -> tuple[slice, slice]:
        """(rows, cols) of this window in an array that holds `outer`."""
        row, col = self.row - outer.row, self.col - outer.col
        return slice(row, row + self.height), slice(col, col + self.width)

    def cell(self, block: tuple[int, int]) -> Window:
        """The block of (rows, cols), counted from pixel 0, that holds the first pixel."""
        return Window(self.row // block[0] * block[0], self.col // block[1] * block[1], *block)

    def cells(self, block: tuple[int, int]) -> Iterator[Window]:
        """The parts of this window, row by row, when cut along blocks of (rows, cols) that start at pixel 0."""
        first = self.cell(block)
        for row in range(first.row, self.stop[0], block[0]):
            for col in range(first.col, self.stop[1], block[1]):
                yield Window(row, col, *block).clip(self)


@dataclass(frozen=True)
class Grid:
    """Shape, affine and CRS of a raster.

    `crs` is WKT, or None where the file states none: then coordinates are whatever the affine gives, and
    areas are unknown.
    """

    height: int
    width: int
    transform: Affine
    crs: str | None

    def __getstate__(self) -> dict[str, Any]:
        """The four values alone: what PROJ made of them belongs to this process."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def window(self) -> Window:
        """The window of all pixels."""
        return Window(0, 0, self.height, self.width)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def tiles(self, size: int, overlap: int = 0) -> Iterator[Window]:
        """Square tiles in row-major order that cover the grid; those at the far edges reach beyond it.

        With no overlap every pixel of the grid lies in exactly one tile.
        """
        step = size - overlap
        for row in range(0, max(1, self.height - overlap), step):
            for col in range(0, max(1, self.width - overlap), step):
                yield Window(row, col, size, size)

    def apart(self, other: Grid) -> float:
        """How many pixels of this grid lie between its corners and those of another, at the most."""
        rows, cols = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
        there = self.place(other.xy(rows * other.height, cols * other.width))
        return float(np.abs(there - np.stack([rows * self.height, cols * self.width], axis=-1)).max())

    def place(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Pixel positions (row, col) (..., 2) of map coordinates (..., 2): what `xy` maps, back."""
        t, (x, y) = self.transform, np.moveaxis(xy, -1, 0)
        dx, dy = x - t.c, y - t.f
        return np.stack([t.a * dy - t.d * dx, t.e * dx - t.b * dy], axis=-1) / t.determinant

    def part(self, window: Window) -> Grid:
        """The grid of a window alone."""
        # only the origin moves: steps of a row and a column stay
        (x, y), t = self.xy(window.row, window.col), self.transform
        return Grid(window.height, window.width, Affine(t.a, t.b, float(x), t.d, t.e, float(y)), self.crs)

    def xy(self, rows: npt.ArrayLike, cols: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map coordinates (..., 2) of pixel corners; add 0.5 to both for pixel centres."""
        r, c = np.asarray(rows, float), np.asarray(cols, float)
        t = self.transform
        return np.stack([t.a * c + t.b * r + t.c, t.d * c + t.e * r + t.f], axis=-1)

    def footprint(self, window: Window | None = None) -> npt.NDArray[np.float64]:
        """Closed ring (5, 2) of map coordinates around the part of `window` in the grid, counter-clockwise."""
        inside = (window or self.window).clip(self.window)
        (top, left), (bottom, right) = (inside.row, inside.col), inside.stop
        ring = self.xy([top, bottom, bottom, top, top], [left, left, right, right, left])
        # rows run downwards in most files, which makes the determinant negative and this order counter-clockwise
        return ring if self.transform.determinant < 0 else ring[::-1]

    def polygons(self, shapes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Geometries in pixel coordinates (x = col, y = row), moved to map coordinates."""
        import shapely  # not at the top: cutting a scene into tiles needs no geometries

        return np.asarray(shapely.transform(shapes, lambda xy: self.xy(xy[:, 1], xy[:, 0])))

    @cached_property
    def _geodesy(self) -> Geodesy | None:
        """What the CRS says of the ground; None without one."""
        from satae.geodesy import Geodesy  # with it comes pyproj: cutting a scene into tiles needs none

        return None if self.crs is None else Geodesy(self.crs)

    @property
    def is_georeferenced(self) -> bool:
        """Whether the CRS ties map coordinates to longitude and latitude; not so without one, or a local one."""
        return self._geodesy is not None and self._geodesy.to_geodetic is not None

    def lonlat(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Map coordinates (..., 2) as WGS 84 longitude and latitude, or on the CRS's own body.

        Where the grid is not georeferenced they are returned as they are; not finite where the projection has no
        inverse.
        """
        if self._geodesy is None or self._geodesy.to_lonlat is None:
            return xy
        return np.stack(self._geodesy.to_lonlat.transform(xy[..., 0], xy[..., 1]), axis=-1)

    @property
    def _metres(self) -> float | None:
        """Metres in one unit of a projected or local CRS."""
        return None if self._geodesy is None else self._geodesy.metres

    @cached_property
    def pixel_area_m2(self) -> float | None:
        """Ground area of the pixel at the centre of the grid, or None where the CRS does not tell.

        Planar where the projection keeps areas to 1 %, on the ellipsoid where it does not: geographic
        coordinates, Web Mercator (whose "10 m" pixels are 7 m wide at 45 degrees).
        """
        # (units of the CRS)^2 of a pixel, in metres
        planar = None if self._metres is None else abs(self.transform.determinant) * self._metres**2
        # one pixel in the middle stands for the scene; over a large one in Web Mercator areas differ from it
        row, col = self.height // 2, self.width // 2
        ring = self.xy([row, row + 1, row + 1, row, row], [col, col, col + 1, col + 1, col])
        area = math.nan if self._geodesy is None else self._geodesy.areas([ring])[0]
        if not math.isfinite(area) or area <= 0:
            return planar
        return planar if planar is not None and abs(planar / area - 1) <= DISTORTION else area

    @property
    def gsd_m(self) -> float | None:
        """Ground sampling distance in metres: the side of a square with the area of the central pixel."""
        return None if self.pixel_area_m2 is None else math.sqrt(self.pixel_area_m2)

    def area_m2(self, polygons: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Ground areas of geometries in map coordinates; NaN where the CRS does not tell."""
        import shapely

        planar = np.asarray(shapely.area(polygons), float)
        scale, pixel = abs(self.transform.determinant), self.pixel_area_m2
        if pixel is None or self._geodesy is None:
            return np.full(len(planar), np.nan)
        # planar where the central pixel is, so that areas of regions and of pixels agree
        if self._metres is not None and math.isclose(pixel, scale * self._metres**2):
            return planar * self._metres**2
        areas = np.zeros(len(planar))
        parts, owner = shapely.get_parts(polygons, return_index=True)
        for part, index in zip(parts, owner, strict=True):
            rings = [np.asarray(shapely.get_coordinates(r)) for r in (part.exterior, *part.interiors)]
            # holes have areas of their own, and are taken away
            outer, *holes = self._geodesy.areas(rings)
            areas[index] += outer - sum(holes)
        return areas
