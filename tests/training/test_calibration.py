"""The calibration sample is what a scan of the scene gives, and thresholds from it hold on new background."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from maps import Identity
from scenes import make_tiles
from scipy import ndimage

from satae.grid import Window
from satae.inference import calibrate, runtime
from satae.inference.calibrate import Calibration
from satae.inference.regions import of_array, regions
from satae.inference.scan import scan
from satae.scoring.rule import Far
from satae.tiles import split
from satae.training.calibration import calibration_of, pooled_calibration


def whole(source: Any, model: runtime.Model) -> np.ndarray:
    out = np.full((source.grid.height, source.grid.width), np.nan, np.float32)
    for window, scores in scan(source, model):
        out[window.slices(source.grid.window)] = scores
    return out


def test_a_tile_set_is_scanned_as_its_scene(complete, scene, model):
    ours, scenes = whole(complete, model), whole(scene, model)
    assert np.array_equal(np.isnan(ours), np.isnan(scenes))
    assert np.allclose(ours, scenes, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_the_sample_is_the_scan_of_the_scene_at_the_held_out_pixels(complete, scene, model):
    chosen = split.split([complete], share=0.3, block=3, seed=0)
    kept = np.zeros((256 + 32, 320 + 32), bool)
    for _, tile in chosen.held_out:
        kept[complete.window(int(tile)).slices(Window(0, 0, *kept.shape))] = True
    scores = whole(scene, model)[kept[:256, :320]]
    expected = calibrate.fit(scores[np.isfinite(scores)])
    found = calibration_of([complete], chosen, model).pixel
    assert found.n == expected.n
    assert np.allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-4)


def test_tile_maxima_are_those_of_the_held_out_tiles(complete, model):
    chosen = split.split([complete], share=0.3, block=3, seed=0)
    scores = whole(complete, model)
    where = [complete.window(int(t)).within(complete.grid.window) for _, t in chosen.held_out]
    parts = [scores[w.slices(complete.grid.window)] for w in where]
    expected = calibrate.fit([np.nanmax(p) for p in parts if np.isfinite(p).any()])
    found = calibration_of([complete], chosen, model).tile
    assert found.n == expected.n and np.allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-4)


def background(side: int, seed: int, width: float) -> np.ndarray:
    """Positive scores whose neighbours are alike over about `width` pixels."""
    drawn = np.random.default_rng(seed).normal(size=(side, side))
    smooth = ndimage.gaussian_filter(drawn, width, mode="wrap") if width else drawn
    return (smooth / smooth.std()).astype(np.float32) ** 2


def calibration(scores: np.ndarray) -> Calibration:
    tiles = make_tiles(scores[None], size=64)
    chosen = split.split([tiles], share=0.5, block=4, seed=0)
    return calibration_of([tiles], chosen, Identity())  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "size"), [(0, 1), (1.5, 1), (1.5, 4), (3, 1), (3, 4)])
def test_new_background_gives_about_the_asked_rate_of_false_alarms(width: float, size: int):
    """Speckle and clusters of two sizes, at a rate that the sample supports."""
    found = calibration(background(1024, 0, width))
    rate = 20 * found.alarms_of(size).tail.smallest_p * found.alarms_of(size).per_pixel * 1e7
    threshold, remark = found.level(rate, None, size), Far(rate).remark(found, None, size)
    count = 0
    for seed in (1, 2, 3):
        scores = background(1024, seed, width)
        count += len(regions(*of_array(scores), threshold, found.candidate, min_pixels=size))
    expected = rate * 3 * 1024**2 / 1e7
    assert remark == ""
    assert 0.7 < count / expected < 1.4


def test_smooth_background_is_worth_less_than_its_pixels_and_speckle_all_of_them():
    speckle, smooth = (calibration(background(1024, 0, width)).pixel for width in (0, 6))
    assert speckle.independent > 0.5 * speckle.n
    assert 20 < smooth.n / smooth.independent < 20_000
    assert smooth.smallest_p > 20 * speckle.smallest_p


def test_a_block_that_differs_makes_regions_worth_fewer():
    even = background(1024, 0, 1.5)
    odd = even.copy()
    odd[:512, :512] *= 6
    tails = [calibration(m).alarms_of(4).tail for m in (even, odd)]
    assert tails[0].independent > 0.5 * tails[0].n
    assert tails[1].independent < 0.2 * tails[1].n


def test_clustered_background_has_fewer_regions_than_pixels_above_the_candidate_level():
    found = calibration(background(1024, 0, 3))
    assert found.alarms[0].per_pixel < 0.3 * calibrate.CANDIDATE_SHARE
    assert [a.pixels for a in found.alarms] == sorted(a.pixels for a in found.alarms)


def test_folds_together_are_one_sample_of_all_their_blocks():
    """Each scored by its own model; two halves by one model are the whole."""
    tiles = make_tiles(background(512, 0, 1.5)[None], size=64)
    one = split.split([tiles], share=0.5, block=1, seed=0)
    other = dataclasses.replace(one, train=one.held_out, held_out=one.train)
    model = Identity()
    both = pooled_calibration([tiles], [(one, model), (other, model)])  # type: ignore[list-item]
    assert both.blocks == 64 and both.pixels == 512**2
    expected = calibrate.fit(background(512, 0, 1.5))
    assert both.pixel.scores == expected.scores and both.pixel.exponents == expected.exponents


def test_invalid_pixels_are_not_in_the_sample():
    scores, valid = background(512, 0, 1.5), np.random.default_rng(0).random((512, 512)) < 0.5
    tiles = make_tiles(np.where(valid, scores, 1e9).astype(np.float32)[None], valid, size=64)
    chosen = split.split([tiles], share=0.5, block=2, seed=0)
    found = calibration_of([tiles], chosen, Identity())  # type: ignore[arg-type]
    assert max(found.pixel.scores) < 100
    assert found.pixels == found.pixel.n == sum(int(tiles.valid[t].sum()) for _, t in chosen.held_out)


def test_a_sample_over_the_limit_takes_blocks_of_every_scene(monkeypatch):
    sets = [make_tiles(background(512, s, 1.5)[None] + 100 * s, size=64) for s in range(2)]
    chosen = split.split(sets, share=0.5, block=1, seed=0)
    monkeypatch.setattr("satae.training.calibration.SAMPLE_PIXELS", 20 * 64 * 64)
    found = calibration_of(sets, chosen, Identity())  # type: ignore[arg-type]
    assert found.blocks == 21
    assert 0.2 < found.pixel.p(50.0) < 0.8


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_map_is_calibrated_all_the_same(value: float):
    found = calibration(np.full((256, 256), value, np.float32))
    threshold = found.level(10, 100.0, 4)
    assert math.isfinite(threshold) and threshold >= value
    assert np.isfinite(found.pixel.exponent([value, value + 1, 1e6])).all()
