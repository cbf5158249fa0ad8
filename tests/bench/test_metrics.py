"""Metrics against naive definitions, known values, and laws."""

import math

import cv2
import numpy as np
import pytest
from floods import floods
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from satae.bench import metrics
from satae.bench.metrics import ranking_of, region_curve


@st.composite
def scored(draw):
    """Few distinct scores, so that ties are common; at least one target and one other pixel."""
    score = draw(st.lists(st.integers(0, 6), min_size=2, max_size=40))
    truth = draw(st.lists(st.booleans(), min_size=len(score), max_size=len(score)))
    truth[0], truth[-1] = True, False
    return np.array(score, float), np.array(truth)


def pairs_won(score, truth):
    wins = [(a > b) + (a == b) / 2 for a in score[truth] for b in score[~truth]]
    return sum(wins) / len(wins)


def steps(score, truth):
    total = recall = 0.0
    for threshold in sorted(set(score), reverse=True):
        over = score >= threshold
        reached = (over & truth).sum() / truth.sum()
        total += (reached - recall) * (over & truth).sum() / over.sum()
        recall = reached
    return total


def best_share(score, truth, rate):
    shares = [0.0]
    for threshold in set(score):
        over = score >= threshold
        if (over & ~truth).sum() <= rate * (~truth).sum():
            shares.append((over & truth).sum() / truth.sum())
    return max(shares)


def drawn_precision(score, truth, rounds=4000):
    rng, n = np.random.default_rng(0), truth.sum()
    shuffled = [rng.permutation(len(score)) for _ in range(rounds)]
    return np.mean([truth[p][np.argsort(-score[p], kind="stable")[:n]].mean() for p in shuffled])


@given(scored())
@settings(max_examples=150)
def test_figures_equal_their_naive_definitions(case):
    found = ranking_of(*case)
    assert found.auroc == pytest.approx(pairs_won(*case))
    assert found.average_precision == pytest.approx(steps(*case))
    for rate in (0.0, 0.01, 0.1, 1 / 3, 0.5, 1.0):
        assert found.detection(rate) == pytest.approx(best_share(*case, rate))


@pytest.mark.parametrize("seed", range(4))
def test_precision_at_n_is_what_random_order_within_ties_gives(seed):
    rng = np.random.default_rng(seed)
    score, truth = rng.integers(0, 4, 30).astype(float), rng.random(30) < 0.3
    assert ranking_of(score, truth).precision_at_n == pytest.approx(drawn_precision(score, truth), abs=0.02)


def test_known_values():
    # the example of scikit-learn's average_precision_score and roc_auc_score: .8333 and .75
    found = ranking_of([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    assert (found.auroc, found.average_precision) == (0.75, pytest.approx(5 / 6))
    assert found.precision_at_n == 0.5
    assert found.detection([0, 0.49, 0.5, 1]).tolist() == [0.5, 0.5, 1, 1]


def test_constant_score_knows_nothing():
    found = ranking_of(np.ones(10), np.arange(10) < 3)
    assert (found.auroc, found.average_precision) == (0.5, pytest.approx(0.3))
    assert found.precision_at_n == pytest.approx(0.3)
    assert found.detection([0.01, 1]).tolist() == [0, 1]


@given(scored())
@settings(max_examples=60)
def test_only_the_order_of_scores_counts(case):
    score, truth = case
    one, other = ranking_of(score, truth), ranking_of(np.exp(score) - 9, truth)
    assert (one.hits == other.hits).all() and (one.alarms == other.alarms).all()
    assert ranking_of(-score, truth).auroc == pytest.approx(1 - one.auroc)
    shuffled = np.random.default_rng(0).permutation(len(score))
    assert (ranking_of(score[shuffled], truth[shuffled]).hits == one.hits).all()


def test_a_perfect_score_has_perfect_figures():
    truth = np.random.default_rng(0).random(500) < 0.05
    found = ranking_of(truth + np.random.default_rng(1).random(500) / 2, truth)
    assert (found.auroc, found.average_precision, found.precision_at_n) == (1, 1, 1)
    assert found.detection(0) == 1


@pytest.mark.parametrize(
    ("score", "truth", "message"),
    [
        ([1, 2], [False, False], "0 of 2 pixels are targets"),
        ([1, 2], [True, True], "2 of 2 pixels are targets"),
        ([1, math.nan], [True, False], "not finite"),
        ([1, 2, 3], [True, False], "do not belong together"),
    ],
)
def test_what_cannot_be_measured_is_refused(score, truth, message):
    with pytest.raises(ValueError, match=message):
        ranking_of(score, truth)


def canvas(*blobs):
    """A map of 0 with (rows, cols, value) rectangles."""
    out = np.zeros((40, 50), np.float32)
    for rows, cols, value in blobs:
        out[rows, cols] = value
    return out


TRUTH = canvas((slice(5, 8), slice(5, 8), 1), (slice(20, 23), slice(30, 33), 1)) > 0
EVERY = np.ones(TRUTH.shape, bool)


def test_objects_and_false_regions_are_counted_as_drawn():
    scores = canvas(
        (slice(5, 7), slice(5, 7), 9), (slice(30, 32), slice(10, 12), 8), (slice(20, 22), slice(30, 32), 7)
    )
    curve = region_curve(scores, TRUTH, EVERY, units=2.0, floor=1)
    assert curve.objects == 2
    assert [curve.recall(rate) for rate in (0, 0.4, 0.5)] == [0.5, 0.5, 1.0]
    assert (curve.false_rate(0.5), curve.false_rate(1.0)) == (0.0, 0.5)


def test_specks_are_no_regions():
    scores = canvas((slice(5, 6), slice(5, 8), 9), (30, 30, 8), (35, 35, 8))
    curve = region_curve(scores, TRUTH, EVERY, units=1.0, floor=1)
    assert curve.recall(0) == 0 and curve.false_rate(0.5) == math.inf
    assert region_curve(scores, TRUTH, EVERY, units=1.0, floor=1, min_pixels=3).recall(0) == 0.5


def test_pixels_that_touch_at_a_corner_belong_together():
    scores = canvas((slice(30, 32), slice(10, 11), 8), (slice(32, 34), slice(11, 12), 8))
    assert region_curve(scores, TRUTH, EVERY, units=1.0, floor=1).false.tolist() == [1]


def test_what_is_not_valid_is_neither_found_nor_false():
    scores = canvas(
        (slice(5, 8), slice(5, 8), 9), (slice(30, 33), slice(10, 13), 9), (slice(20, 23), slice(30, 33), 9)
    )
    valid = EVERY.copy()
    valid[:15] = valid[28:] = False
    scores[0, 0] = np.nan
    curve = region_curve(scores, TRUTH, valid, units=1.0, floor=1)
    assert (curve.objects, curve.found.tolist(), curve.false.tolist()) == (1, [1], [0])


def test_a_map_that_is_flooded_finds_nothing_for_free():
    rng = np.random.default_rng(0)
    scores = cv2.GaussianBlur(rng.random(TRUTH.shape), (0, 0), 1)
    curve = region_curve(scores, TRUTH, EVERY, units=1.0, floor=0.0)
    assert curve.recall(9) == 0 and curve.false.tolist() == [1]  # one region over all of it


def test_equal_peaks_are_one_threshold():
    scores = canvas((slice(5, 8), slice(5, 8), 9), (slice(30, 33), slice(10, 13), 9))
    curve = region_curve(scores, TRUTH, EVERY, units=1.0, floor=1)
    assert (curve.levels.tolist(), curve.found.tolist(), curve.false.tolist()) == ([9], [1], [1])
    assert curve.recall(0.5) == 0 and curve.recall(1) == 0.5


def test_an_object_is_found_once_and_its_second_region_is_not_false():
    truth = canvas((slice(5, 8), slice(5, 25), 1)) > 0
    scores = canvas((slice(5, 8), slice(5, 8), 9), (slice(5, 8), slice(20, 24), 7))
    curve = region_curve(scores, truth, EVERY, units=1.0, floor=1)
    assert (curve.found.tolist(), curve.false.tolist()) == ([1, 1], [0, 0])


def test_no_region_at_all_finds_nothing():
    curve = region_curve(canvas(), TRUTH, EVERY, units=1.0, floor=1)
    assert (len(curve.levels), curve.recall(9), curve.false_rate(0.5)) == (0, 0, math.inf)


@given(st.integers(0, 50))
@settings(max_examples=30)
def test_region_counts_are_those_of_the_floods_with_a_peak_as_high(seed):
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, 9, (12, 14)).astype(np.float32), rng.random((12, 14)) < 0.1
    truth[0, 0] = True
    curve = region_curve(scores, truth, np.ones_like(truth), units=1.0, floor=4, min_pixels=3)
    label, objects = ndimage.label(truth, np.ones((3, 3)))
    assert len(curve.levels) and curve.objects == objects
    for level, found, false in zip(curve.levels, curve.found, curve.false, strict=True):
        regions = [m for row, col, m in floods(scores, 4, 4) if m.sum() >= 3 and scores[row, col] >= level]
        useful = [m for m in regions if m.sum() <= metrics.WIDEST * scores.size and (m & truth).any()]
        assert false == len(regions) - len(useful)
        assert found == len({int(n) for m in useful for n in label[m & truth]})


def test_truth_without_a_valid_pixel_is_refused():
    with pytest.raises(ValueError, match="no target"):
        region_curve(canvas(), TRUTH, ~TRUTH, units=1.0, floor=1)


def test_large_regions_are_numbered_without_gaps():
    mask = canvas((slice(0, 1), slice(0, 9), 1), (5, 5, 1), (slice(9, 12), slice(0, 3), 1)) > 0
    label, count = metrics.large_regions(mask, 4)
    assert count == 2 and set(np.unique(label)) == {0, 1, 2} and label[5, 5] == 0
