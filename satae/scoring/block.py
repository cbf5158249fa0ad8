"""A scene scanned in blocks of rows, by whoever each falls to, and put together equal to what one scan gives.

Only reading and inference are shared out. A block holds what a scan keeps of its rows (see `cache`), and of that the
heatmap, regions and all else are made as they are of one scan: windows are the same, and so is every number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satae.errors import ResultError
from satae.grid import Window
from satae.inference.calibrate import Calibration
from satae.inference.runtime import Model
from satae.inference.scan import InferredWindow, lattice, look
from satae.report.overview import Overview
from satae.scene import raster
from satae.scene.scene import Scene, Survey
from satae.scene.stream import Source
from satae.scoring import heatmap
from satae.scoring.cache import PixelCache

ABOUT = "block.json"


@dataclass(frozen=True)
class Blocks:
    """The blocks that a scene was scanned in: folders by the first row of each, and what was masked as damaged."""

    folders: Mapping[int, Path]
    damage: tuple[Window, ...]

    @classmethod
    def read(cls, folders: Sequence[Path]) -> Blocks:
        """Those in some folders; ResultError where one is none."""
        places, damage = dict[int, Path](), set[Window]()
        for folder in folders:
            try:
                said = json.loads((folder / ABOUT).read_bytes())
            except (OSError, ValueError) as error:
                raise ResultError(f"{folder} is no block of a scene any more; run again") from error
            if said["row"] is not None:
                places[said["row"]] = folder
            damage |= {Window(*w) for w in said["damage"]}
        return cls(places, tuple(sorted(damage, key=lambda w: (w.row, w.col))))

    def windows(self, kept: PixelCache, model: Model, overview: Overview) -> Iterator[InferredWindow]:
        """The windows of one scan, as they are kept; `overview` sees their pixels, as it does those of a scan."""
        for window in lattice(kept, model):
            inside = window.clip(kept.grid.window)
            image, valid = kept.read(inside)
            overview.sample_of(inside, image, valid)
            # what is kept of reasons is known to `kept`, and asked of it later
            none = np.empty((len(image), 0, 0), np.float32)
            yield InferredWindow(inside, image, valid, kept.scores(inside), none, none)


def strips_of(source: Source, model: Model, number: int, count: int) -> list[Window]:
    """The strips of a scan that are in block `number` of `count`: whole rows of strips, none where they are few."""
    strips = list(lattice(source, model))
    rows = sorted({s.row for s in strips})
    own = {*rows[len(rows) * number // count : len(rows) * (number + 1) // count]}
    return [s for s in strips if s.row in own]


def scan(
    scene: Scene,
    model: Model,
    calibration: Calibration,
    folder: Path,
    part: tuple[int, int],
    *,
    floor: float,
    shown: Sequence[int],
    workers: int,
) -> None:
    """Scan block number of count, `part`, of a scene into a folder that is there and empty."""
    survey, strips = Survey(scene), strips_of(scene, model, *part)
    first = min((s.row for s in strips), default=None)
    kept = PixelCache(scene, {first or 0: folder}, floor, shown)
    with raster.once_through(heatmap.CACHE_BYTES), scene.steady():
        for seen in look(survey, model, workers, strips):
            kept.add(seen, heatmap.heat_of(calibration, seen.scores))
    damage = [[w.row, w.col, w.height, w.width] for w in survey.damage]
    (folder / ABOUT).write_text(json.dumps({"row": first, "damage": damage}), encoding="utf-8")
