"""Measures how well a score finds known targets: over pixels by their ranks, and over regions of a map.

Arrays in, numbers out. Larger scores are more anomalous; what has no score is left out by the caller. Equal
scores are one threshold, so that no figure depends on the order in which pixels are stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from satae.inference.calibrate import SPECK
from satae.inference.regions import of_array, regions

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

WIDEST = 0.25  # share of the pixels; a region of more is a flooded map


@dataclass(frozen=True)
class Ranking:
    """Pixels by falling score: `hits` targets and `alarms` others at or above each distinct score.

    Both are cumulative and rise to the number of targets and of other pixels.
    """

    hits: Counts
    alarms: Counts

    @property
    def targets(self) -> int:
        """How many pixels are targets."""
        return int(self.hits[-1])

    @property
    def others(self) -> int:
        """How many pixels are no targets."""
        return int(self.alarms[-1])

    @cached_property
    def auroc(self) -> float:
        """The probability that a target outscores another pixel, a tie counted half (Hanley and McNeil 1982)."""
        above = np.diff(self.alarms, prepend=0)
        before = np.concatenate([[0], self.hits[:-1]])
        return float((above * (before + self.hits)).sum() / 2 / self.targets / self.others)

    @cached_property
    def average_precision(self) -> float:
        """Precision at each threshold, weighted by the recall gained there: a sum of steps, not trapezoids."""
        gained = np.diff(self.hits, prepend=0)
        return float((gained * self.hits / (self.hits + self.alarms)).sum() / self.targets)

    @cached_property
    def precision_at_n(self) -> float:
        """The share of targets among the n highest pixels, n the number of targets.

        Where a tie straddles rank n, what is expected of drawing the rest from it at random.
        """
        n, pixels = self.targets, self.hits + self.alarms
        last = int(np.searchsorted(pixels, n))
        hits, taken = (int(self.hits[last - 1]), int(pixels[last - 1])) if last else (0, 0)
        tied = int(self.hits[last]) - hits, int(pixels[last]) - taken
        return (hits + (n - taken) * tied[0] / tied[1]) / n

    def detection(self, rates: npt.ArrayLike) -> Floats:
        """The largest share of targets over a threshold with at most these shares of other pixels over it."""
        allowed = np.floor(np.asarray(rates, np.float64) * self.others * (1 + 1e-12))
        reached = np.searchsorted(self.alarms, allowed, side="right")
        return np.concatenate([[0], self.hits])[reached] / self.targets


def ranking_of(score: npt.ArrayLike, truth: npt.ArrayLike) -> Ranking:
    """The ranking of flat, finite scores; ValueError where there is no target, or nothing else."""
    s, t = np.asarray(score).ravel(), np.asarray(truth, np.bool_).ravel()
    if s.shape != t.shape:
        raise ValueError(f"{s.size} scores and {t.size} truth values do not belong together")
    if not np.isfinite(s).all():
        raise ValueError("a score is not finite; leave out what was not scored")
    if t.all() or not t.any():
        raise ValueError(f"{int(t.sum())} of {t.size} pixels are targets, so nothing can be told apart")
    order = np.argsort(s, kind="stable")[::-1]
    falling = s[order]
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), s.size - 1)
    hits = np.cumsum(t[order], dtype=np.int64)[ends]
    return Ranking(hits, ends + 1 - hits)


@dataclass(frozen=True)
class RegionCurve:
    """What the regions of a map find, by falling peak: `found` objects and `false` regions with a peak at or over
    each of `levels`.

    A region is false where it touches no object, whatever its size, and finds every object that it touches. `units`
    is the area in which they are counted, in the unit of the rates that are asked for (100 km2).
    """

    levels: Floats
    found: Counts
    false: Counts
    objects: int
    units: float

    def recall(self, rate: float) -> float:
        """The share of objects found by the regions down to the lowest peak at which the false ones stay within a
        rate."""
        over = np.flatnonzero(self.false > rate * self.units * (1 + 1e-12))
        usable = self.found[: over[0]] if len(over) else self.found
        return float(usable[-1] / self.objects) if len(usable) else 0.0

    def false_rate(self, recall: float) -> float:
        """False regions a unit of area at the highest threshold that finds this share of the objects, else inf."""
        enough = np.flatnonzero(self.found >= recall * self.objects * (1 - 1e-12))
        return float(self.false[enough[0]] / self.units) if len(enough) else math.inf


def region_curve(
    scores: npt.NDArray[np.floating],
    truth: Bools,
    valid: Bools,
    *,
    units: float,
    floor: float,
    min_pixels: int = SPECK,
) -> RegionCurve:
    """The regions of a map (row, col), as satae reports them, against the 8-connected objects of `truth`.

    Among `valid` pixels alone; none is under the floor, at which candidates begin. A region over more than WIDEST of
    the pixels says nothing: it finds no object. Raises ValueError where `truth` has no valid pixel.
    """
    objects, count = large_regions(truth & valid, 1)
    if not count:
        raise ValueError("there is no target among the valid pixels")
    read, whole = of_array(np.where(valid, scores, np.nan).astype(np.float32))
    levels, found, false, seen = [], [], [], set[int]()
    for region in regions(read, whole, floor, floor, min_pixels=min_pixels):
        held = objects[region.window.slices(whole)][region.mask]
        touched = set(held[held > 0].tolist()) if region.pixels <= WIDEST * valid.sum() else set[int]()
        seen |= touched
        levels.append(region.peak)
        found.append(len(seen))
        false.append(not touched)
    # of equal peaks the last one has all of them counted
    ends = np.flatnonzero(np.diff(levels, append=-np.inf))
    rising, alarms = np.array(found, np.int64), np.cumsum(false, dtype=np.int64)
    return RegionCurve(np.array(levels)[ends], rising[ends], alarms[ends], count, units)


def large_regions(mask: Bools, min_pixels: int) -> tuple[npt.NDArray[np.int32], int]:
    """Labels (row, col) of the 8-connected regions of at least `min_pixels`, 1 to n and 0 elsewhere; and n."""
    _, label, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    large = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    large[0] = False
    numbers = np.where(large, np.cumsum(large), 0).astype(np.int32)
    return numbers[label], int(large.sum())
