"""Measures what an analyst gets: the regions that a rule reports, against the objects that are there.

Pixel figures say how well a map ranks; these say how many reports are worth opening, how many objects are among
them, and how well an outline covers the object that it means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from satae.bench.metrics import Bools, large_regions
from satae.inference.calibrate import FAR, SPECK, Calibration
from satae.inference.regions import Labels, Map, labels_of, of_array, regions

TOP = 20  # regions a scene, where the highest are asked for


@dataclass(frozen=True)
class Hits:
    """What regions hold of objects.

    `holding` of the `regions` share a pixel with an object; `overlaps` has, of each object that a region touches,
    the intersection over union with all regions that do. There are `objects`, touched or not.
    """

    regions: int
    holding: int
    objects: int
    overlaps: tuple[float, ...]

    @property
    def precision(self) -> float:
        """The share of regions that hold a part of an object, 0 without regions."""
        return self.holding / self.regions if self.regions else 0.0

    @property
    def recall(self) -> float:
        """The share of objects that are touched, 0 without objects."""
        return len(self.overlaps) / self.objects if self.objects else 0.0

    @property
    def overlap(self) -> float:
        """The mean intersection over union of touched objects, 0 where none is."""
        return float(np.mean(self.overlaps)) if self.overlaps else 0.0


def hits(reported: Labels, truth: Bools) -> Hits:
    """Regions, numbered from 1 on in `reported` (row, col), against the 8-connected objects of `truth` (row, col)."""
    objects, count = large_regions(truth, 1)
    # (region, object) pixels that both own; the first row and column are those of neither
    shared = np.zeros((int(reported.max(initial=0)) + 1, count + 1), np.int64)
    np.add.at(shared, (reported.ravel(), objects.ravel()), 1)
    sizes, extents = shared.sum(axis=1), shared.sum(axis=0)
    touching = shared[1:, 1:] > 0
    overlaps = []
    for number in np.flatnonzero(touching.any(axis=0)):
        by = np.flatnonzero(touching[:, number]) + 1
        both = shared[by, number + 1].sum()
        overlaps.append(float(both / (sizes[by].sum() + extents[number + 1] - both)))
    return Hits(int((sizes[1:] > 0).sum()), int(touching.any(axis=1).sum()), count, tuple(overlaps))


def pool(found: Iterable[Hits]) -> Hits:
    """Several scenes as one: every region and every object counts once."""
    parts = list(found)
    return Hits(
        sum(p.regions for p in parts),
        sum(p.holding for p in parts),
        sum(p.objects for p in parts),
        tuple(overlap for p in parts for overlap in p.overlaps),
    )


def far_regions(
    scores: Map, calibration: Calibration, pixel_area_m2: float | None, rate: float = FAR
) -> Labels:
    """The regions that `satae score --far` reports on a map of raw scores (row, col), numbered by falling peak."""
    level = calibration.level(rate, pixel_area_m2, SPECK)
    return _reported(scores, level, calibration)


def top_regions(scores: Map, calibration: Calibration, count: int = TOP) -> Labels:
    """The regions that `satae score --top` reports on a map of raw scores (row, col), numbered by falling peak."""
    return _reported(scores, calibration.candidate, calibration, count)


def _reported(scores: Map, level: float, calibration: Calibration, count: int | None = None) -> Labels:
    read, whole = of_array(scores)
    found = regions(read, whole, level, calibration.candidate, min_pixels=SPECK, count=count)
    return labels_of(found, whole)


def lines(found: dict[str, Hits]) -> list[str]:
    """A line a name."""
    wide = max(map(len, found), default=0) + 2
    heads = ("regions", "holding", "precision", "objects", "touched", "recall", "mean IoU")
    out = [" " * wide + "".join(f"{head:>11}" for head in heads)]
    for name, h in found.items():
        counts = f"{h.regions:>11}{h.holding:>11}{h.precision:>11.3f}{h.objects:>11}{len(h.overlaps):>11}"
        out.append(f"{name:<{wide}}{counts}{h.recall:>11.3f}{h.overlap:>11.3f}")
    return out
