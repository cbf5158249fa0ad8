"""Whether DN of Sentinel-2 still hold the offset of 1000 that baseline 04.00 brought, by the darkest of a sample.

Catalogues state it both ways for the same pixels (earth-search issues 66 and 71). Reflectance of water and shadows is
near 0: a dark end far below DN 1000 cannot hold the offset, one near 1000 does, a bright scene does not tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from satae.grid import Grid, Window
from satae.scene import readers
from satae.scene.source import Band, Source

OFFSET = 1000  # DN
BELOW, ABOVE = 800, 1300  # DN between which the dark end of pixels with the offset lies
DARKEST = 1.0  # percent of the pixels that are the dark end
ENOUGH = 500  # pixels
SPOTS, SIDE = 4, 64  # windows along each side of the scene, and their pixels


def holds_offset(used: Sequence[tuple[Source, Band]]) -> bool | None:
    """Whether the DN of some bands hold the offset; None where their pixels do not tell. DamageError as `readers`."""
    ends = [end for source, band in used if (end := dark_end(source, band)) is not None]
    # snow, sand and cloud have no dark end at all
    if not ends or min(ends) > ABOVE:
        return None
    return min(ends) >= BELOW


def dark_end(source: Source, band: Band) -> float | None:
    """The DN that the darkest pixels of a band do not exceed, over windows spread evenly; None where few count."""
    found = []
    # whole pixels here and there, for an overview would average the darkest away
    with readers.open_pixels(source) as pixels:
        for window in _spots(source.grid):
            image = pixels.read([band.index], window)[0]
            found.append(image[(image != (band.nodata or 0)) & np.isfinite(image)])
    counted = np.concatenate(found)
    return float(np.percentile(counted, DARKEST)) if counted.size >= ENOUGH else None


def _spots(grid: Grid) -> list[Window]:
    height, width = min(SIDE, grid.height), min(SIDE, grid.width)
    rows = np.unique(np.linspace(0, grid.height - height, SPOTS).astype(int))
    cols = np.unique(np.linspace(0, grid.width - width, SPOTS).astype(int))
    return [Window(int(row), int(col), height, width) for row in rows for col in cols]
