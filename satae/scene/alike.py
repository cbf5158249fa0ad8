"""Whether grids of several files are one, and whether they touch: compared in pixels, not in digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from satae.grid import Grid
from satae.scene import raster

TOLERANCE = (
    0.01  # pixels that corners of one grid may lie apart: origins are rounded, and sizes are quotients
)
SAMPLES = 33  # points a side that tell where a grid lies in another CRS


def same(one: Grid, other: Grid) -> bool:
    """Whether two grids are one."""
    shapes = (one.height, one.width) == (other.height, other.width)
    return shapes and raster.same_crs(one.crs, other.crs) and one.apart(other) <= TOLERANCE


def placeless(one: Grid, other: Grid) -> bool:
    """Whether one of two grids has no position, or both have the same without a CRS in one."""
    return one.transform.is_identity or other.transform.is_identity or one.apart(other) <= TOLERANCE


def difference(path: Path, grid: Grid, other_path: Path, other: Grid) -> str:
    """How two grids differ, and what to do about it; empty where they are one to a small part of a pixel."""
    both = f"{path} and {other_path}"
    if (grid.height, grid.width) != (other.height, other.width):
        return (
            f"{both} have {grid.height} x {grid.width} and {other.height} x {other.width} pixels; resample one with "
            "`gdalwarp`"
        )
    if (grid.crs is None) != (other.crs is None):
        without, located = (path, other_path) if grid.crs is None else (other_path, path)
        return f"{without} states no CRS or no position and {located} does; write it into the file with `gdal_edit`"
    if not raster.same_crs(grid.crs, other.crs):
        return f"{both} state different CRSs; resample one with `gdalwarp`"
    if (distance := grid.apart(other)) > TOLERANCE:
        return (
            f"{both} differ in origin, pixel size or rotation, by up to {distance:.3g} pixels; resample "
            "one with `gdalwarp`"
        )
    return ""


def may_touch(one: Grid, other: Grid) -> bool:
    """Whether two grids, whose CRSs may differ, may share ground; False is sure."""
    if one.crs is None or other.crs is None:
        return True
    steps = np.linspace(0, 1, SAMPLES)
    rows, cols = np.meshgrid(steps * one.height, steps * one.width, indexing="ij")
    xy = raster.transform(one.xy(rows, cols), one.crs, other.crs)
    # where a projection tears or ends the extent would tell nothing
    if xy is None or not np.isfinite(xy).all():
        return True
    places = other.place(xy).reshape(-1, 2)
    return bool((places.max(axis=0) > 0).all() and (places.min(axis=0) < [other.height, other.width]).all())
