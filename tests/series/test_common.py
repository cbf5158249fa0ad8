"""What a date does to all of its ground is no change; what some of the ground alone does is."""

import numpy as np
import places

from satae.series import common, detector, heldout
from satae.series.rules import SEASONAL

WHEN = places.days(50)
DAYS = np.array([float(d.toordinal()) for d in WHEN])
PAST = 40


def pixels(strength):
    """DN (date, 3, pixel) of two kinds of ground; each date of haze moves each kind in a way of its own."""
    rng = np.random.default_rng(3)
    dn = places.cube(WHEN, side=32, noise=10.0).reshape(len(WHEN), 3, -1)
    forest = np.arange(dn.shape[2]) % 2 == 0
    dn[:, 2, forest] += 900
    for kind in (forest, ~forest):
        dn[:, :, kind] += strength * rng.normal(size=(len(WHEN), 3, 1))
    return dn


def squares(dn, known=None):
    """Squares of the dates after the history, as `satae series` scores them, in units of the held-out history's."""
    valid = np.ones(dn.shape[::2], bool) if known is None else known
    rules = detector.rules_of(SEASONAL, DAYS[:PAST], dn[:PAST], valid[:PAST], (2, 3))
    beside = heldout.of_sample(rules, dn[:PAST], valid[:PAST])
    wide = [w for turn in beside.turns for w in turn.wide]
    held = np.concatenate([j.square * wide[n] for n, j in beside.outcomes.items()])
    memory = detector.learn(rules, dn[:PAST], valid[:PAST])
    found = [
        detector.apart(rules, memory, now, day, good)[0].square
        for now, day, good in zip(dn[PAST:], DAYS[PAST:], valid[PAST:], strict=True)
    ]
    return np.stack(found) / np.nanmedian(held)


def test_what_all_ground_of_a_kind_shows_is_no_change():
    changed = []
    for strength in (0.0, 50.0):
        dn = pixels(strength)
        dn[PAST + 2, :, 100:110] += np.array([60, 60, -60])[:, None]
        found = squares(dn)
        changed.append(np.median(found[2, 100:110]))
        # without it five deviations of haze would make it 25
        assert 0.8 < np.median(found) < 4
    assert min(changed) > 10


def test_a_change_of_a_third_of_the_place_is_not_taken_for_what_all_show():
    dn = pixels(20.0)
    dn[PAST + 2, :, : dn.shape[2] // 3] += np.array([120, 120, -200])[:, None]
    found = squares(dn)[2]
    third = len(found) // 3
    assert np.median(found[:third]) > 20 * np.median(found[third:])


def test_the_regression_is_ridge_least_squares_where_nothing_stands_out():
    rng = np.random.default_rng(0)
    known = np.concatenate([np.ones((1, 4000)), rng.normal(size=(4, 4000))])
    truth = rng.normal(size=(2, 5)) * 30
    residual = truth @ known + rng.normal(size=(2, 4000))
    np.testing.assert_allclose(common.regress(known, residual, np.eye(2)), truth, atol=0.2)
    # a few pixels tell a mean and no more, and hardly any nothing
    few = common.regress(known[:, :49], residual[:, :49], np.eye(2))
    assert not few.any()
    some = common.regress(known[:3, :29], residual[:, :29], np.eye(2))
    assert not some.any()
    mean = common.regress(np.tile(known, 3)[:, :60], residual[:, :60], np.eye(2))
    assert mean[:, 0].all()


def test_pixels_with_hardly_a_date_are_not_scored():
    dn = pixels(0.0)
    known = np.ones(dn.shape[::2], bool)
    known[: PAST - 3, :5] = False  # three dates of forty
    found = squares(dn, known)
    assert np.isnan(found[:, :5]).all() and np.isfinite(found[:, 5:]).all()
