"""Outlines of regions as the page draws them: nested lists of positions, moved to the grid of a scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
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
