"""The definition of a region, by brute force: every pixel is asked whether its flood holds anything higher."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

EIGHT = np.ones((3, 3), int)


def share_of(peak: float) -> float:
    return min(0.6 * peak, peak)


def floods(
    scores: np.ndarray, threshold: float, floor: float, share: Callable[[float], float] = share_of
) -> list[tuple[int, int, np.ndarray]]:
    """(row, col, mask) by falling peak."""
    known = np.where(np.isnan(scores), np.float32(-np.inf), scores)
    found = []
    for row, col in np.argwhere(known >= np.float32(threshold)):
        level = max(share(float(known[row, col])), min(floor, threshold))
        label, _ = ndimage.label(known >= np.float32(level), EIGHT)
        flood = label == label[row, col]
        highest = np.argwhere(flood & (known == known[flood].max()))
        if tuple(highest[0]) == (row, col):
            found.append((int(row), int(col), flood))
    return sorted(found, key=lambda one: (-known[one[0], one[1]], one[0], one[1]))
