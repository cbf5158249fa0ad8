"""Whether DN of Sentinel-2 still hold the offset of 1000 that baseline 04.00 brought, by the darkest of a sample.

Catalogues state it both ways for the same pixels (earth-search issues 66 and 71). Reflectance of water and shadows is
near 0: a dark end far below DN 1000 cannot hold the offset, one near 1000 does, a bright scene does not tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from satae.grid import Grid, Window
from satae.scene import msi, readers
from satae.scene.source import Band, Source

OFFSET = 1000  # DN
BELOW, ABOVE = 800, 1300  # DN between which the dark end of pixels with the offset lies
DARKEST = 1.0  # percent of the pixels that are the dark end
ENOUGH = 500  # pixels
DARK, SEEN = ("B04", "B03", "B08", "B02"), 2  # bands that reach down, darkest first; how many are looked at
SPOTS, SIDE = 4, 64  # windows along each side of the scene, and their pixels


def holds_offset(used: Sequence[tuple[Source, Band]]) -> bool | None:
    """Whether the DN of some bands hold the offset; None where their pixels do not tell. DamageError as `readers`."""
    ends = [end for source, band in used if (end := dark_end(source, band)) is not None]
    # snow, sand and cloud have no dark end at all
    if not ends or min(ends) > ABOVE:
        return None
    return min(ends) >= BELOW


def doubt(used: Sequence[tuple[Source, Band]]) -> str:
    """What to say of single files of Sentinel-2, which do not state whether they hold the offset; empty for nothing."""
    told = [(source, band) for source, band in used if msi.band_of(source.path.name)]
    if not told:
        return ""
    path = told[0][0].path
    way = "pass --offset -1000 to make them one with products that are opened whole"
    # in its folder, or a copy of that, the product's name states the baseline
    if baseline := _baseline(path):
        holds = baseline >= "04.00"
        by = f"its folder names processing baseline {baseline}, so"
    else:
        order = {name: i for i, name in enumerate(DARK)}
        told.sort(key=lambda of: order.get(of[1].name, len(order)))
        seen = holds_offset(told[:SEEN])
        if seen is None:
            return (
                f"{path} does not state its processing baseline, and its dark end does not tell whether its DN hold "
                f"the offset of {OFFSET} that came with baseline 04.00; if they do, {way}"
            )
        holds, by = seen, "by their dark end"
    return (
        f"{path}: {by} its DN hold the offset of {OFFSET} that came with baseline 04.00; {way}"
        if holds
        else ""
    )


def _baseline(path: Path) -> str:
    """The processing baseline in the name of a folder above, such as N0509 of a .SAFE; empty where there is none."""
    found = re.findall(r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(\d\d)(\d\d)_", str(path.absolute().parent))
    return ".".join(found[-1]) if found else ""


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
