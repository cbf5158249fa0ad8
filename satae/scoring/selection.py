"""The regions of a heatmap with a peak at a level or over it, from which a rule selects (see `rule`).

Nothing is decided here: a level comes from a rule, candidates begin where they do in the calibration sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from satae.grid import Grid
from satae.inference.calibrate import SPECK, Calibration
from satae.inference.regions import Anomaly, TooMany, regions
from satae.scoring import heatmap
from satae.scoring.heatmap import Heatmap
from satae.scoring.support import Doubt

MOST = 100_000  # regions; more than this and a threshold is of no use to anyone
STEP = 0.25  # of the heatmap, by which the level of candidates is raised where they are too many


@dataclass(frozen=True)
class Selection:
    """Regions by falling peak (raw, as is their mean); `threshold` is heat.

    It is infinite where nothing was asked for or nothing was significant. `remark` is empty, or says what is odd
    about the request, `doubt` what the calibration sample is too small for.
    """

    found: list[Anomaly]
    threshold: float
    remark: str = ""
    doubt: Doubt | None = None


@dataclass(frozen=True)
class Field:
    """A heatmap and what makes a region on it, which is at least `smallest` pixels large."""

    heat: Heatmap
    grid: Grid
    calibration: Calibration
    smallest: int

    def regions(self, level: float, count: int | None = None) -> list[Anomaly]:
        """The first regions whose peak has this heat or more, or all; TooMany where they are of no use to anyone."""
        floor, unit = (
            heatmap.value(self.calibration, self.calibration.candidate),
            heatmap.unit_of(self.calibration),
        )
        with heatmap.open_heat(self.heat.path) as read:
            return regions(
                read,
                self.grid.window,
                level,
                floor,
                min_pixels=self.smallest,
                count=count,
                most=MOST,
                unit=unit,
            )

    def candidates(self, count: int | None = None) -> tuple[list[Anomaly], bool]:
        """The first candidate regions, or all, and whether they were too many and the level of their peaks was
        raised."""
        level, raised = heatmap.value(self.calibration, self.calibration.candidate), False
        while True:
            try:
                return self.regions(level, count), raised
            except TooMany:
                # in steps of heat: each keeps about 56 % of the background that was left
                level, raised = level + STEP, True


def min_pixels(grid: Grid, min_area_m2: float | None) -> int:
    """The smallest region in pixels; the area counts pixels where the grid has no CRS."""
    if min_area_m2 is None:
        return SPECK
    # the quotient of two round numbers may come out just above a whole one
    return max(1, math.ceil(min_area_m2 / (grid.pixel_area_m2 or 1.0) - 1e-9))
