"""Outlines of regions as the page draws them: nested lists of positions, moved to the grid of a scene."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

Placer = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def outlines(shapes: dict[int, Any], place: Placer) -> dict[int, list[list[list[list[float]]]]]:
    """Polygons, rings and positions of each shape as GeoJSON nests them.

    `place` moves positions (n, 2); polygons that it moves to where nothing is are left out.
    """
    found: dict[int, list[list[list[list[float]]]]] = {fid: [] for fid in shapes}
    parts, of_shape = shapely.get_parts(list(shapes.values()), return_index=True)
    polygons = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    parts, of_shape = parts[polygons], of_shape[polygons]
    rings, of_part = shapely.get_rings(parts, return_index=True)
    xy, of_ring = shapely.get_coordinates(rings, return_index=True)
    moved = place(xy).round(6)
    lost = set(of_part[of_ring[~np.isfinite(moved).all(axis=1)]].tolist())
    ends = np.searchsorted(of_ring, np.arange(len(rings) + 1)).tolist()
    fids, positions = list(shapes), moved.tolist()
    made: dict[int, list[list[list[float]]]] = {}
    for ring, part in enumerate(of_part.tolist()):
        made.setdefault(part, []).append(positions[ends[ring] : ends[ring + 1]])
    for part, lines in made.items():
        if part not in lost:
            found[fids[of_shape[part]]].append(lines)
    return found


def coordinates(shapes: dict[int, Any], crs: pyproj.CRS | None) -> dict[int, tuple[float, float]]:
    """Longitude and latitude (WGS 84) of a point inside each shape; none where the CRS leads to none."""
    if crs is None or not shapes:
        return {}
    # a centroid may lie outside of a bent region
    inside = shapely.get_coordinates(shapely.point_on_surface(list(shapes.values())))
    try:
        move = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    except pyproj.exceptions.ProjError:
        return {}
    lon, lat = move.transform(inside[:, 0], inside[:, 1])
    found = zip(shapes, lon.round(7).tolist(), lat.round(7).tolist(), strict=True)
    return {fid: (x, y) for fid, x, y in found if math.isfinite(x) and math.isfinite(y)}
