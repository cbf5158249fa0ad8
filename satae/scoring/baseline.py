"""A second model's opinion on the regions that a first one reported, under its own calibration.

It reports no regions of its own. How a baseline is fitted, where it is not a file, is in `fitting`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from satae.errors import ModelError
from satae.grid import Window
from satae.inference import runtime
from satae.inference.regions import Anomaly
from satae.inference.runtime import Model
from satae.inference.scan import core_of, scan_windows
from satae.scene.stream import Source

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """A calibrated model and what it is called in the results."""

    name: str
    model: Model

    def __post_init__(self) -> None:
        if self.model.card.calibration is None:
            raise ModelError(f"{self.model.name} is not calibrated; train it again")


def open_baseline(path: Path, device: str, threads: int) -> Baseline:
    """A model file as a baseline, called by its name; raises what `runtime.load` does."""
    return Baseline(path.stem, runtime.load(path, device, threads))


def exponents(scene: Source, baseline: Baseline, found: Sequence[Anomaly], workers: int) -> Floats:
    """-log10 p of each region: its largest raw score under the baseline, as the peak of a region of its own.

    Only the cells of the scene's lattice that hold a region are scored, each once, so that the scores are
    those of scoring the whole scene.
    """
    peaks = np.full(len(found), -np.inf)
    cells = _cells(found, core_of(baseline.model))
    for window, scores in scan_windows(scene, baseline.model, cells, workers):
        for i in cells[_whole(window, cells)]:
            held = scores[found[i].inside(window)]
            peaks[i] = np.fmax(peaks[i], np.fmax.reduce(held, initial=-np.inf))
    calibration = baseline.model.card.calibration
    assert calibration is not None
    return np.asarray(calibration.region.exponent(peaks))


def _whole(part: Window, cells: dict[Window, list[int]]) -> Window:
    """The cell that a part, cut at the edge of the grid, comes from."""
    side = next(iter(cells)).height
    return part.cell((side, side))


def _cells(found: Sequence[Anomaly], side: int) -> dict[Window, list[int]]:
    """The whole cells of the lattice that regions reach into, in row-major order, and which regions do."""
    cells = defaultdict(list)
    for i, anomaly in enumerate(found):
        for part in anomaly.window.cells((side, side)):
            cells[part.cell((side, side))].append(i)
    return dict(sorted(cells.items(), key=lambda item: (item[0].row, item[0].col)))


def agreement(own: Sequence[float], other: Floats) -> int:
    """How many regions the baseline finds at least as rare as the weakest of them is to the model itself."""
    return int((other >= min(own)).sum()) if len(own) else 0
