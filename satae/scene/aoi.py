"""An area of interest: the polygons of a vector file in a scene's CRS. No frames, and no attribute is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import raster

EDGE_PARTS = 1000  # straight edges are divided into pieces of this share of the area's size

Shapes = npt.NDArray[Any]


def polygons(path: Path, grid: Grid) -> tuple[Any, ...]:
    """The polygons that touch a grid, in its CRS.

    Raises SceneError where there is none, where the file cannot be read, or only one of both states a CRS.
    """
    if not path.exists():
        raise SceneError(f"{path} does not exist")
    try:
        shapes, crs = _read(path)
    except Exception as error:  # pyogrio raises several unrelated types
        raise SceneError(f"{path} cannot be read as a vector file: {raster.cause(error)}") from error
    if (crs is None) != (grid.crs is None):
        side = path if crs is None else "the scene"
        raise SceneError(f"{side} states no CRS, so {path} cannot be laid over the scene; assign one first")
    shapes = shapely.make_valid(shapes)  # first: made longer, a crossed ring loses a half
    if crs is not None and len(shapes):
        shapes = _moved(shapes, crs, grid)
    if len(shapes) and not np.isfinite(shapely.total_bounds(shapes)).all():
        raise SceneError(
            f"{path} reaches beyond what the scene's CRS can express; clip it to the scene first"
        )
    shapes = shapely.make_valid(shapes)
    # lines and points have no area to count pixels in
    shapes = shapes[
        (shapely.area(shapes) > 0) & shapely.intersects(shapes, shapely.Polygon(grid.footprint()))
    ]
    if not len(shapes):
        raise SceneError(f"{path} has no polygon that touches the scene")
    return tuple(shapes)


def _read(path: Path) -> tuple[Shapes, pyproj.CRS | None]:
    """The geometries of the first layer, without empty ones and heights, and their CRS."""
    import pyogrio.raw  # after raster has set GDAL up; loads pandas, geopandas and pyarrow where there are any

    meta, _, wkb, _ = pyogrio.raw.read(path, columns=[], force_2d=True)
    shapes = np.array([] if wkb is None else shapely.from_wkb(wkb), dtype=object)
    crs = None if meta["crs"] is None else pyproj.CRS.from_user_input(meta["crs"])
    return shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))], crs


def _moved(shapes: Shapes, crs: pyproj.CRS, grid: Grid) -> Shapes:
    """Shapes in the CRS of a grid; first with more points, since straight edges bend on the way."""
    left, bottom, right, top = shapely.total_bounds(shapes)
    dense = shapely.segmentize(shapes, max(right - left, top - bottom) / EDGE_PARTS or 1)
    move = pyproj.Transformer.from_crs(crs, grid.crs, always_xy=True).transform
    return np.asarray(shapely.transform(dense, lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1]))))
