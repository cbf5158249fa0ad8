"""An analyst's decisions laid over tile sets: what is learned from, and what the calibration sample holds.

Regions found to be anomalies leave both: their pixels count no more, as if the scene held no data there. Tiles
with regions found to be normal weigh more in learning and join the calibration. Nothing is changed on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from satae.console import quantity
from satae.decisions.decisions import ACCEPTED, REJECTED, Decisions, read
from satae.grid import Window
from satae.tiles.store import Heed, TileSet

MARGIN = 3  # pixels around an anomaly that go with it
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FeedbackCounts:
    """What was made of decisions: how many of each, how many of both lie in none of the scenes, how many tiles hold
    regions found to be normal, and how many decisions are on regions of the kind that the model does not look for.
    All 0 where no decisions were asked for, or there are none."""

    accepted: int = 0
    rejected: int = 0
    elsewhere: int = 0
    normal_tiles: int = 0
    other_kind: int = 0

    @property
    def lines(self) -> list[str]:
        """The counts as sentences for people."""
        if self == FeedbackCounts():
            return [
                "feedback: no region in that file is accepted or rejected, so nothing was learned from it"
            ]
        elsewhere = f"; {self.elsewhere} decisions lie in other scenes" if self.elsewhere else ""
        if self.other_kind:
            elsewhere += f"; {quantity(self.other_kind, 'decision')} on regions of the other kind left out"
        return [
            f"feedback: {quantity(self.accepted, 'accepted region')} left out, "
            f"{quantity(self.rejected, 'rejected region')} in {quantity(self.normal_tiles, 'tile')} that weigh more"
            f"{elsewhere}"
        ]


def apply_feedback(
    sets: Sequence[TileSet], path: Path | None, kind: str = ""
) -> tuple[list[TileSet], FeedbackCounts]:
    """The tile sets with the decisions in a result of `satae score` laid over their scenes, known by file or name.

    `kind` is what the model looks for: decisions on regions of another are left out. With no path the sets are as
    they were. Raises ConfigError as `decisions.read` does, and where a scene and the file
    do not both state a CRS, or both none.
    """
    if path is None:
        return list(sets), FeedbackCounts()
    decisions = read(path)
    out = [_heeding(tiles, decisions, kind) for tiles in sets]
    accepted, rejected = (sum(getattr(t.heed, status) for t in out) for status in (ACCEPTED, REJECTED))
    every = decisions.are(ACCEPTED) | decisions.are(REJECTED)
    fitting = int((every & decisions.are_of(kind)).sum())
    normal = sum(len(t.heed.normal) for t in out)
    counts = accepted, rejected, fitting - accepted - rejected, normal, int(every.sum()) - fitting
    return out, FeedbackCounts(*counts)


def _heeding(tiles: TileSet, decisions: Decisions, kind: str) -> TileSet:
    files = ";".join(file.path for file in tiles.record.files)
    numbers, polygons = decisions.on(tiles.record.scene, tiles.grid, files, kind)
    flat = _in_pixels(tiles, polygons)
    accepted, rejected = (flat[decisions.are(status)[numbers]] for status in (ACCEPTED, REJECTED))
    return _marked(tiles, accepted, rejected) if len(accepted) + len(rejected) else tiles


def _in_pixels(tiles: TileSet, polygons: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Map coordinates as (x = col, y = row)."""
    back = ~tiles.grid.transform
    return np.asarray(shapely.transform(polygons, lambda xy: np.column_stack(back @ xy.T)), object)


def _marked(tiles: TileSet, accepted: npt.NDArray[Any], rejected: npt.NDArray[Any]) -> TileSet:
    memory_map = isinstance(tiles.valid, np.memmap)  # copied page by page, where it is written to
    valid = np.load(tiles.path / "valid.npy", mmap_mode="c") if memory_map else tiles.valid.copy()
    changed: set[int] = set()
    # a margin, for the blur of the sensor carries an anomaly into the pixels around its outline
    for polygon in shapely.buffer(accepted, MARGIN, join_style="mitre"):
        for tile, held in _held(tiles, polygon):
            valid[tile] &= ~held
            changed.add(tile)
    normal = {t for polygon in rejected for t, held in _held(tiles, polygon) if (held & valid[t]).any()}
    empty = tuple(sorted(t for t in changed if not valid[t].any()))
    counts = len(accepted), len(rejected)
    digest = hashlib.sha256(b"".join(shapely.to_wkb(np.concatenate([accepted, rejected])))).hexdigest()
    return replace(tiles, valid=valid, heed=Heed(*counts, tuple(sorted(normal)), empty, f"{counts} {digest}"))


def _held(tiles: TileSet, polygon: Any) -> list[tuple[int, Bools]]:
    """The tiles that hold pixel centres of a polygon in pixel coordinates, and which of their pixels."""
    left, top, right, bottom = polygon.bounds
    first, size = tiles.index, tiles.record.size
    # tiles whose square meets the box of the polygon; the exact test is made for those alone
    near = (first < (bottom, right)).all(axis=1) & (first + size > (top, left)).all(axis=1)
    masks = [(int(t), _centres(polygon, tiles.window(int(t)))) for t in np.flatnonzero(near)]
    return [(tile, mask) for tile, mask in masks if mask.any()]


def _centres(polygon: Any, window: Window) -> Bools:
    # centres of pixels, half a pixel in
    rows, cols = np.mgrid[window.row : window.stop[0], window.col : window.stop[1]] + 0.5
    return np.asarray(shapely.contains_xy(polygon, cols, rows), bool)
