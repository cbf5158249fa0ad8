"""An area of interest: the polygons of a vector file, laid over a scene. No frames, and no attribute is read."""

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
from satae.scene.area import Area, area

AROUND = 3.0  # half turns of the globe: numbers beyond are metres, not degrees

Shapes = npt.NDArray[Any]


def read(path: Path, grid: Grid) -> Area:
    """The area that the polygons of a file cover on a grid.

    Raises SceneError where there is none, where the file cannot be read, or only one of both states a CRS.
    """
    if not path.exists():
        raise SceneError(f"{path} does not exist")
    try:
        shapes, crs = _read(path)
    except Exception as error:  # pyogrio raises several unrelated types
        raise SceneError(f"{path} cannot be read as a vector file: {raster.cause(error)}") from error
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise SceneError(f"{path} has coordinates that are no numbers; mend its geometries first")
    shapes = _polygons(shapes)
    if not len(shapes):
        raise SceneError(f"{path} has no polygon that touches the scene: it has none at all")
    if (crs is None) != (grid.crs is None):
        side = path if crs is None else "the scene"
        raise SceneError(f"{side} states no CRS, so {path} cannot be laid over the scene; assign one first")
    _check_degrees(path, shapes, crs)
    try:
        found = area(grid, shapes, crs)
        touches = found.touches
    except pyproj.exceptions.ProjError as error:
        raise SceneError(f"{path} cannot be laid over the scene: {raster.cause(error)}") from error
    if not touches:
        raise SceneError(f"{path} has no polygon that touches the scene")
    return found


def _read(path: Path) -> tuple[Shapes, pyproj.CRS | None]:
    """The geometries of the first layer, without empty ones and heights, and their CRS."""
    import pyogrio.raw  # after raster has set GDAL up; loads pandas, geopandas and pyarrow where there are any

    meta, _, wkb, _ = pyogrio.raw.read(path, columns=[], force_2d=True)
    shapes = np.array([] if wkb is None else shapely.from_wkb(wkb), dtype=object)
    crs = None if meta["crs"] is None else pyproj.CRS.from_user_input(meta["crs"])
    return shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))], crs


def _polygons(shapes: Shapes) -> Shapes:
    """Valid polygons of geometries of any kind; lines and points have no area to count pixels in."""
    shapes = shapely.make_valid(shapes)
    # what was mended may be a collection, which may hold others
    while (shapely.get_type_id(shapes) > shapely.GeometryType.POLYGON).any():
        shapes = shapely.get_parts(shapes)
    return np.asarray(shapes[shapely.area(shapes) > 0])


def _check_degrees(path: Path, shapes: Shapes, crs: pyproj.CRS | None) -> None:
    """SceneError where what should be longitudes and latitudes are metres."""
    if crs is None or not crs.is_geographic:
        return
    bounds = shapely.total_bounds(shapes).reshape(2, 2)
    if np.abs(bounds).max() * crs.axis_info[0].unit_conversion_factor > AROUND * np.pi:
        x, y = bounds[np.abs(bounds).max(axis=1).argmax()]
        raise SceneError(
            f"{path} has coordinates such as ({x:.6g}, {y:.6g}), which are no longitudes and latitudes as its CRS "
            f"({crs.name}) says; give it the CRS that it was drawn in"
        )
