"""Measures what a model in fewer bits loses on held-out blocks, and refuses it where that is too much."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from satae.console import Bar
from satae.errors import ModelError
from satae.inference.calibrate import FAR, SPECK, Calibration
from satae.inference.card import Fidelity
from satae.inference.regions import Anomaly, Map, labels_of, of_array, regions
from satae.inference.runtime import Model
from satae.tiles.split import Split
from satae.tiles.store import TileSet
from satae.training import calibration as heldout

PIXELS = 4_000_000  # held-out pixels that are compared, at the most
FEWEST = 20  # regions; where the default rule gives fewer, the level is lowered, for few regions say nothing
STEP = 0.25  # of the heatmap, by which it is lowered
# Noise of rounding blurs the order of ordinary pixels first: at 0.99 it is a seventh of what pixels differ by, and
# what the calibration says of them holds.
LEAST_RANK = 0.99
LEAST_OVERLAP = 0.9  # of regions: one in ten may be on the other side of the threshold, as with another seed


def fidelity(
    sets: Sequence[TileSet], chosen: Split, model: Model, other: Model, bar: Bar | None = None
) -> Fidelity:
    """How the map of `other` compares with that of `model`, whose calibration both go by; `bar` counts pixels."""
    calibration = model.card.calibration
    if calibration is None:
        raise ModelError(f"{model.name} is not calibrated; train it again")
    if bar is not None:
        bar.total = 2 * min(PIXELS, len(chosen.calibrating) * sets[0].record.size ** 2)
    before, after = (_maps(sets, chosen, m, bar) for m in (model, other))
    ours, theirs = (np.concatenate([m[np.isfinite(m)] for m in maps]) for maps in (before, after))
    level, count = _level(before, calibration, sets[0].grid.pixel_area_m2)
    return Fidelity(
        pixels=len(ours),
        rank_correlation=rank_correlation(ours, theirs),
        score=float(calibration.pixel.exponent(level)),
        regions=count,
        overlap=overlap(before, after, level, calibration.candidate),
    )


def _maps(sets: Sequence[TileSet], chosen: Split, model: Model, bar: Bar | None) -> list[Map]:
    maps: list[Map] = []
    for scores in heldout.maps(sets, chosen, model, PIXELS):
        maps.append(scores)
        if bar is not None:
            bar.add(float(np.isfinite(scores).sum()))
    return maps


def check(found: Fidelity, precision: str, name: str) -> None:
    """ModelError where more is lost than LEAST_RANK and LEAST_OVERLAP allow."""
    if found.rank_correlation < LEAST_RANK or found.overlap < LEAST_OVERLAP:
        raise ModelError(
            f"{name} loses too much as {precision}: rank correlation of the map {found.rank_correlation:.4f} (at least "
            f"{LEAST_RANK}), overlap of {found.regions} regions {found.overlap:.2f} (at least {LEAST_OVERLAP}); it was "
            "not written"
        )


def rank_correlation(ours: Map, theirs: Map) -> float:
    """Spearman's, 1 where all scores are the same on both sides, 0 where on one."""
    flat = [bool(np.ptp(scores) == 0) for scores in (ours, theirs)]
    return float(all(flat)) if any(flat) else float(stats.spearmanr(ours, theirs).statistic)


def overlap(before: Sequence[Map], after: Sequence[Map], level: float, floor: float) -> float:
    """The share of both sides' regions that share a pixel with one of the other's, 1 without any.

    Regions as satae reports them from a raw level on, with candidates from `floor` on.
    """
    shared = total = 0
    for pair in zip(before, after, strict=True):
        found = [_regions(scores, level, floor) for scores in pair]
        a, b = (labels_of(one, of_array(scores)[1]) for one, scores in zip(found, pair, strict=True))
        both = (a > 0) & (b > 0)
        shared += len(np.unique(a[both])) + len(np.unique(b[both]))
        total += sum(map(len, found))
    return shared / total if total else 1.0


def _regions(scores: Map, level: float, floor: float) -> list[Anomaly]:
    return regions(*of_array(scores), level, floor, min_pixels=SPECK)


def _level(maps: Sequence[Map], calibration: Calibration, pixel_area_m2: float | None) -> tuple[float, int]:
    """(raw threshold of the default rule, or a lower one where FEWEST regions are; regions there)."""
    level = calibration.level(FAR, pixel_area_m2, SPECK)
    while True:
        count = sum(len(_regions(m, level, calibration.candidate)) for m in maps)
        lower = float(calibration.pixel.score_at(calibration.pixel.exponent(level) - STEP))
        if count >= FEWEST or not math.isfinite(lower) or lower < calibration.candidate:
            return level, count
        level = lower
