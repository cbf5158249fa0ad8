"""Which pixels of a window a region holds: its outline, which runs along pixel edges, turned back into a mask.

Exact and without GDAL, whose rasteriser does not bear two threads at once (rasterio changes the filter of
warnings around it).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from satae.grid import Window


def inside(polygon: Any, window: Window) -> npt.NDArray[np.bool_]:
    """True (row, col) where a pixel lies in a polygon of whole pixel coordinates with axis-parallel edges.

    A pixel is inside where an odd number of upright edges lies left of it.
    """
    crossings = np.zeros((window.height, window.width + 1), np.int32)
    for ring in _rings(polygon):
        xy = shapely.get_coordinates(ring).round().astype(np.int64) - (window.col, window.row)
        x, (above, below) = xy[1:, 0], np.sort([xy[:-1, 1], xy[1:, 1]], axis=0)
        for col, top, bottom in zip(np.clip(x, 0, window.width), above, below, strict=True):
            crossings[max(0, top) : max(0, bottom), col] += 1  # level edges are empty slices
    return np.asarray(np.cumsum(crossings[:, :-1], axis=1) % 2 == 1)


def _rings(polygon: Any) -> list[Any]:
    parts = shapely.get_parts(polygon)
    return [ring for part in parts for ring in (part.exterior, *part.interiors)]
