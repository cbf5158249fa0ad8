"""One grid for bands of several sampling distances: same CRS, same extent, pixels that nest."""

from __future__ import annotations

import numpy as np
from affine import Affine

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import raster

APART = 0.5  # pixels of the coarser grid by which extents may differ


def common_grid(named: list[tuple[str, Grid]], gsd: float | None) -> Grid:
    """The finest of some grids, or the one of pixels of `gsd` units of the CRS with its upper left corner.

    Raises SceneError with the names of two whose CRS differ or that do not cover the same ground, and where a
    sampling distance is asked for that a grid cannot have.
    """
    name, finest = min(named, key=lambda of: abs(of[1].transform.determinant))
    for other, grid in named:
        if not raster.same_crs(finest.crs, grid.crs):
            raise SceneError(f"{other} and {name} state different CRSs, so they are no bands of one scene")
        apart = np.abs(grid.footprint() - finest.footprint()).max()
        if not apart <= APART * np.abs(grid.transform[:6:4]).max():
            raise SceneError(
                f"{other} and {name} do not cover the same ground: their corners are {apart:.6g} map units apart; cut "
                "one to the extent of the other with `gdalwarp -te`"
            )
    # a band of pixels that nest needs no resampling but repetition
    if gsd is None:
        return finest
    # the corner stays, so that grids of one product and several distances nest
    t = finest.transform
    if t.b or t.d:
        raise SceneError(
            f"{name} is rotated, and --gsd wants rows that run east; warp it with `gdalwarp` first"
        )
    if not gsd > 0:
        raise SceneError(f"--gsd {gsd:g} is no sampling distance; give map units a pixel, such as 10")
    height, width = (round(n * abs(side) / gsd) for n, side in ((finest.height, t.e), (finest.width, t.a)))
    if min(height, width) < 1:
        raise SceneError(
            f"--gsd {gsd:g} leaves no pixel of {name}; give map units a pixel, such as {abs(t.a):g}"
        )
    sized = Affine(gsd if t.a > 0 else -gsd, 0, t.c, 0, gsd if t.e > 0 else -gsd, t.f)
    return Grid(height, width, sized, finest.crs)
