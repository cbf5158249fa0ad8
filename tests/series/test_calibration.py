"""What untouched ground reaches: regions of blocks beside floods at every threshold, and scales beside loops."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

from satae.grid import Window
from satae.series import calibration, detector, fits
from satae.series.rules import SEASONAL, Rules
from satae.series.tracks import touching

CORNERS = np.ones((3, 3), int)


def regions_at(field, threshold, least):
    """How many sets of at least so many pixels that touch are not under the threshold."""
    labels, _ = ndimage.label(field >= threshold, CORNERS)
    return int((np.bincount(labels.ravel())[1:] >= least).sum())


def reached(field, where, least):
    """What blocks reach on one day."""
    return calibration.reached_by(field.reshape(1, -1), np.zeros(1), where, least)


@pytest.mark.parametrize("least", [2, 4, 9])
def test_a_place_in_one_block_reaches_the_highest_threshold_by_which_it_has_a_region(least):
    rng = np.random.default_rng(least)
    for blur in (0.0, 1.5):
        field = ndimage.gaussian_filter(rng.normal(size=(20, 30)), blur)
        field[:3, :3] = -np.inf  # never scored
        # a second block far off, for a tail is of two numbers
        where = calibration.layout([Window(5, 7, 20, 30), Window(90, 90, 3, 3)], 32, 100.0)
        highest = np.concatenate([field.ravel(), np.full(9, -5.0)])
        (level, other) = reached(highest, where, least)
        assert regions_at(field, level, least) == 1 and regions_at(field, level + 1e-9, least) == 0
        assert other == -5.0 and where.km2 == pytest.approx(32 * 32 * 1e-4)


def test_blocks_over_a_threshold_are_as_many_as_regions_where_these_lie_apart():
    field = np.zeros((32, 32)) + np.random.default_rng(0).random((32, 32))
    for row, col, height in ((4, 4, 9.0), (4, 20, 7.0), (20, 12, 5.0)):
        field[row : row + 2, col : col + 2] += height
    # a row of three pixels is no region of four
    field[28, 1:4] += 20
    found = reached(field, calibration.layout([Window(0, 0, 32, 32)], 8, 100.0), 4)
    assert len(found) == 16
    for threshold in (2.0, 6.0, 8.0, 11.0):
        assert (found >= threshold).sum() == regions_at(field, threshold, 4)


def test_pixels_join_as_high_as_both_were_within_two_months():
    where = calibration.layout([Window(0, 0, 1, 3), Window(90, 90, 1, 3)], 3, 100.0)
    # three pixels in a row of which the first is high long before the others, and lower beside them; and a quiet row
    days, quiet = np.array([0.0, 30.0, 100.0, 155.0]), [np.nan, 0.1, 0.2, 0.3]
    row = np.array([[9.0, np.nan, 0.0], [4.0, 1.0, 0.0], [5.0, 8.0, 0.0], [0.0, 0.0, 7.0]])
    found = np.hstack([row, np.repeat(np.array(quiet)[:, None], 3, axis=1)])
    assert calibration.reached_by(found, days, where, 2).tolist() == [7.0, 0.3]
    assert calibration.reached_by(found, days, where, 3).tolist() == [5.0, 0.3]
    # a week later the last one is too late for the second
    assert calibration.reached_by(found, days + np.array([0, 0, 0, 7]), where, 2).tolist() == [5.0, 0.3]


def test_regions_of_random_dates_are_those_of_a_loop_over_thresholds():
    """Beside a flood at every threshold over pixels that join where both reach it within the days."""
    rng = np.random.default_rng(5)
    days = np.cumsum(rng.integers(5, 50, 12)).astype(float)
    where = calibration.layout([Window(0, 0, 6, 7), Window(50, 50, 2, 2)], 7, 100.0)
    found = np.where(rng.random((12, 46)) < 0.2, np.nan, rng.random((12, 46)))
    for least in (2, 3, 5):
        level = calibration.reached_by(found, days, where, least)[0]
        wanted = max(t for t in found[np.isfinite(found)] if largest(found[:, :42], days, t, 7) >= least)
        assert level == wanted


def largest(found, days, threshold, width):
    """The pixels of the largest set of neighbours, of which each two were over a threshold within two months."""
    pixels = found.shape[1]
    graph = np.zeros((pixels, pixels), bool)
    for one in range(pixels):
        for two in range(one):
            if max(abs(one // width - two // width), abs(one % width - two % width)) == 1:
                high = [days[found[:, p] >= threshold] for p in (one, two)]
                graph[one, two] = any(abs(a - b) <= 60 for a in high[0] for b in high[1])
    return np.bincount(connected_components(graph, directed=False)[1]).max()


def test_single_pixels_reach_their_own_number_and_ground_without_any_none():
    field = np.random.default_rng(1).random((8, 8))
    where = calibration.layout([Window(0, 0, 8, 8)], 4, None)
    wanted = field.reshape(2, 4, 2, 4).max(axis=(1, 3)).ravel()
    np.testing.assert_array_equal(reached(field, where, 1), wanted)
    nothing = np.full(64, -np.inf)
    np.testing.assert_array_equal(reached(nothing, where, 4), [0.0, 1.0])


def test_pixels_touch_over_the_edges_of_windows_and_not_over_those_of_the_grid():
    where = calibration.layout([Window(0, 0, 2, 2), Window(0, 2, 2, 2)], 2, 100.0)
    pairs = {tuple(sorted(p)) for p in zip(where.one.tolist(), where.two.tolist(), strict=True)}
    # two columns of the left window, then of the right one: 0 1 | 4 5 over 2 3 | 6 7
    assert {(1, 4), (1, 6), (3, 4), (3, 6)} <= pairs and len(pairs) == 16
    one, two = touching(np.array([0, 1]), np.array([2, 0]), 3)
    assert not len(one) and not len(two)


def test_each_pixel_has_a_scale_along_each_component_that_follows_its_own_residuals():
    rng = np.random.default_rng(2)
    left = rng.normal(size=(400, 2, 3))
    left[:, 0, 1] *= 3  # one pixel varies more in the first band alone
    valid = np.ones((400, 3), bool)
    valid[100:, 2] = False
    rules = Rules(SEASONAL, (0.0,), np.zeros(2), np.eye(2), 1.0)
    scale = fits.scale_of(rules, left, (left**2).mean(axis=1), valid)
    np.testing.assert_allclose(scale, [[1, 9, 1], [1, 1, 1]], rtol=0.25)
    # nothing seen is what all are
    none = fits.scale_of(rules, left, (left**2).mean(axis=1), np.zeros_like(valid))
    np.testing.assert_array_equal(none, np.ones((2, 3)))


def test_components_are_level_and_a_band_that_is_constant_stays_finite():
    rng = np.random.default_rng(3)
    dn = np.full((30, 3, 500), 1000.0)
    dn[:, 0] += rng.normal(0, 5, (30, 500))
    dn[:, 1] += rng.standard_t(3, (30, 500)) * 40
    days = np.arange(30) * 30.0
    rules = detector.rules_of(SEASONAL, days, dn, np.ones((30, 500), bool), (2, 3))
    assert np.isfinite(rules.whitening).all()
    _, _, left = fits.of_history(rules, dn, np.ones((30, 500), bool))
    middles = [np.median(np.einsum("b,tbp->tp", row, left) ** 2) for row in rules.whitening]
    # the constant band shows next to nothing in any unit, the other two as much as one another
    assert sorted(middles)[2] == pytest.approx(sorted(middles)[1], rel=0.2)
    assert sorted(middles)[0] < 0.05 * sorted(middles)[1]


def test_blocks_are_as_large_as_alarms_are_rare():
    assert calibration.block_side(100.0, 10**6, 1.0, 36, 20.0) == int((0.1 / (1e-4 * 36 / 20)) ** 0.5)
    assert calibration.block_side(100.0, 10**6, 1e6, 36, 20.0) == calibration.SIDES[0]
