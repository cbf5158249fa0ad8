"""Regions that are one and the same in two results: known again by where they lie, for every run outlines them anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

LEAST = 0.3  # intersection over union at which a region is the same one, outlined anew


def same_regions(old: npt.NDArray[Any], new: npt.NDArray[Any], least: float = LEAST) -> list[tuple[int, int]]:
    """Pairs (old, new) of polygons that are one region, one to one, the largest intersection over union first."""
    # pairs that touch at all; most regions of a result touch one or none of another
    i, j = shapely.STRtree(new).query(old, predicate="intersects")
    both = shapely.area(shapely.intersection(old[i], new[j]))
    share = both / (shapely.area(old[i]) + shapely.area(new[j]) - both)
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    # greedily, the largest share first, of equal ones the first in order: one to one and the same every time
    for k in np.lexsort((j, i, -share)):
        if share[k] >= least and int(i[k]) not in pairs and int(j[k]) not in taken:
            pairs[int(i[k])] = int(j[k])
            taken.add(int(j[k]))
    return sorted(pairs.items())


Place = tuple[int, str, Any]  # (id, scene, outline or None)


def found_again(before: Sequence[Place], after: Sequence[Place]) -> dict[int, int]:
    """The ids of regions in a new result, by those that they had in the one before; scenes go by their names."""
    found: dict[int, int] = {}
    for name in {scene for _, scene, _ in before}:
        old, new = ([p for p in side if p[1] == name and p[2] is not None] for side in (before, after))
        one, other = (np.array([shape for *_, shape in side], object) for side in (old, new))
        pairs = same_regions(one, other)
        found |= {old[i][0]: new[j][0] for i, j in pairs}
    return found
