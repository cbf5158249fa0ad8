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

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

LEVELS = 200  # thresholds at which regions are counted
WIDEST = 0.25  # share of the pixels over the lowest of them


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
    """What regions over falling thresholds find: `found` objects and `false` regions at each of `levels`.

    A region is at least `min_pixels` 8-connected pixels; it is false where it touches no object, whatever its
    size, and finds every object that it touches. `units` is the area in which they are counted, in the unit of
    the rates that are asked for (100 km2).
    """

    levels: Floats
    found: Counts
    false: Counts
    objects: int
    units: float

    def recall(self, rate: float) -> float:
        """The share of objects found at the lowest threshold down to which false regions stay within a rate.

        Counted from the highest threshold down: further on regions merge, so that fewer are false, and the map
        is of no use any more.
        """
        over = np.flatnonzero(self.false > rate * self.units * (1 + 1e-12))
        usable = self.found[: over[0]] if len(over) else self.found
        return float(usable.max() / self.objects) if len(usable) else 0.0

    def false_rate(self, recall: float) -> float:
        """False regions a unit of area at the highest threshold that finds this share of the objects, else inf."""
        enough = np.flatnonzero(self.found >= recall * self.objects * (1 - 1e-12))
        return float(self.false[enough[0]] / self.units) if len(enough) else math.inf


def region_curve(
    scores: npt.NDArray[np.floating], truth: Bools, valid: Bools, *, units: float, min_pixels: int = 4
) -> RegionCurve:
    """Regions of a map (row, col) against the 8-connected objects of `truth`, among `valid` pixels alone.

    Thresholds are LEVELS scores whose ranks are evenly spread in log, from `min_pixels` pixels to WIDEST of
    them: lower ones flood the map, and one region over all finds nothing. Raises ValueError where `truth` has
    no valid pixel.
    """
    masked = np.where(valid, scores, -np.inf)
    objects, count = large_regions(truth & valid, 1)
    if not count:
        raise ValueError("there is no target among the valid pixels")
    falling = np.sort(scores[valid])[::-1]
    last = max(min_pixels, int(WIDEST * falling.size))
    ranks = np.geomspace(min(min_pixels, falling.size), min(last, falling.size), LEVELS).round().astype(int)
    levels = np.unique(falling[ranks - 1])[::-1]
    over = falling.size - np.searchsorted(falling[::-1], levels)  # where many are equal, more than their rank
    levels = levels[over <= last]
    counts = [_counted(masked >= level, objects, min_pixels) for level in levels]
    found, false = np.array(counts, np.int64).reshape(-1, 2).T
    return RegionCurve(levels.astype(np.float64), found, false, count, units)


def large_regions(mask: Bools, min_pixels: int) -> tuple[npt.NDArray[np.int32], int]:
    """Labels (row, col) of the 8-connected regions of at least `min_pixels`, 1 to n and 0 elsewhere; and n."""
    _, label, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    large = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    large[0] = False
    numbers = np.where(large, np.cumsum(large), 0).astype(np.int32)
    return numbers[label], int(large.sum())


def _counted(mask: Bools, objects: npt.NDArray[np.int32], min_pixels: int) -> tuple[int, int]:
    """(objects touched, regions that touch none)."""
    label, count = large_regions(mask, min_pixels)
    both = (label > 0) & (objects > 0)
    return len(np.unique(objects[both])), count - len(np.unique(label[both]))
