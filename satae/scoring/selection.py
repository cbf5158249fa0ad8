"""Which regions of a heatmap are reported: what the analyst's rule asks for, turned into regions.

With --far and --threshold a region is what reaches the threshold. With --fdr and --top it is a candidate as
in the calibration sample, outlined where background reaches 1 % of the time, and the threshold is the lowest
peak that made it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from satae.grid import Grid
from satae.inference import calibrate
from satae.inference.calibrate import Calibration, Rule
from satae.inference.regions import Anomaly, TooMany, regions, strips_of
from satae.scoring import heatmap
from satae.scoring.heatmap import Heatmap

STEP = 0.25  # of the heatmap, by which the level of candidates is raised where they are too many


@dataclass(frozen=True)
class Selection:
    """Regions by falling peak (raw, as is their mean); `threshold` is in the unit of the heatmap.

    It is infinite where nothing was asked for or nothing was significant. `remark` is empty, or says what
    the request lacks support for.
    """

    found: list[Anomaly]
    threshold: float
    remark: str


def select(
    heat: Heatmap, grid: Grid, calibration: Calibration, rule: Rule, min_area_m2: float | None
) -> Selection:
    """The regions that `rule` asks for; ConfigError where a fixed threshold gives too many."""
    smallest = min_pixels(grid, min_area_m2)
    if rule.kind in ("far", "threshold"):
        level, remark = rule.value, ""
        if rule.kind == "far":
            raw, remark = calibrate.far_threshold(calibration, rule.value, grid.pixel_area_m2, smallest)
            level = heatmap.value(calibration, raw)
        return Selection(_regions(heat, grid, calibration, level, smallest), level, remark)
    found, raised = _candidates(heat, grid, calibration, smallest)
    remark = ""
    if rule.kind == "top":
        kept = found[: int(rule.value)]
    else:
        peaks = np.array([a.peak for a in found])
        if raised:  # those that were not looked at count as tests too
            expected = calibration.alarms_of(smallest).per_pixel * heat.valid
            unseen = max(0, round(expected) - len(found))
            peaks = np.concatenate([peaks, np.full(unseen, calibration.candidate)])
        lowest, remark = calibrate.fdr_threshold(calibration, rule.value, peaks)
        kept = [a for a in found if a.peak >= lowest]
    return Selection(kept, heatmap.value(calibration, kept[-1].peak) if kept else math.inf, remark)


def min_pixels(grid: Grid, min_area_m2: float | None) -> int:
    """The smallest region in pixels; the area counts pixels where the grid has no CRS."""
    if min_area_m2 is None:
        return calibrate.SPECK
    return max(1, math.ceil(min_area_m2 / (grid.pixel_area_m2 or 1.0) - 1e-9))


def _candidates(
    heat: Heatmap, grid: Grid, calibration: Calibration, smallest: int
) -> tuple[list[Anomaly], bool]:
    """(candidate regions, whether they were too many and the level was raised)."""
    level, raised = heatmap.value(calibration, calibration.candidate), False
    while True:
        try:
            return _regions(heat, grid, calibration, level, smallest), raised
        except TooMany:
            level, raised = level + STEP, True


def _regions(
    heat: Heatmap, grid: Grid, calibration: Calibration, level: float, smallest: int
) -> list[Anomaly]:
    strips = heatmap.windows(heat.path, strips_of(grid))
    return regions(strips, level, min_pixels=smallest, measure=calibration.pixel.score_at)
