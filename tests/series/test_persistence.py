"""What lasts and what passes, beside a loop over one pixel's dates."""

from itertools import combinations

import numpy as np
import pytest

from satae.series import persistence


def alike(a, b):
    one, two = np.linalg.norm([a, b], axis=1)
    return min(one, two) ** 2 / len(a) if a @ b > 0 and max(one, two) <= 5 * min(one, two) else 0.0


def oracle(white, valid, k, n):
    """Agreement on each date of one pixel: white (date, B)."""
    out, kept = [], []
    for now, good in zip(white, valid, strict=True):
        if not good:
            out.append(np.nan)
            continue
        sets = [[*c, now] for c in combinations(kept[-(n - 1) :] if n > 1 else [], k - 1)]
        least = [min((alike(a, b) for a, b in combinations(s, 2)), default=(now**2).mean()) for s in sets]
        out.append(max(least, default=-np.inf))
        kept.append(now)
    return out


@pytest.mark.parametrize(("k", "n"), [(1, 1), (2, 2), (2, 3), (3, 4), (1, 3)])
def test_agreement_is_that_of_the_best_dates(k, n):
    rng = np.random.default_rng(0)
    white, valid = rng.normal(1, 1, (12, 4, 6)), rng.random((12, 6)) > 0.3
    white *= rng.choice([1.0, 8.0], (12, 1, 6))
    memory, found = persistence.empty(4, n, 6), []
    for i in range(12):
        memory, now = persistence.step(memory, white[i], white[i], valid[i], float(i), (k, n), np.inf)
        found.append(now)
    for p in range(6):
        np.testing.assert_allclose(
            np.array(found)[:, p], oracle(white[:, :, p], valid[:, p], k, n), rtol=1e-5
        )


def walk(lengths, threshold=4.0, keep=(2, 3)):
    """The memory of one pixel whose whitened residuals have these values in both bands."""
    memory = persistence.empty(2, keep[1], 1)
    for day, length in enumerate(lengths, 1):
        white = np.full((2, 1), float(length))
        memory, _ = persistence.step(memory, white, white, np.array([True]), float(day), keep, threshold)
    return {name: values[0, 0] for name, values in memory.items()}


def test_a_step_is_confirmed_on_its_second_date_and_dated_to_its_first():
    said = walk([0, 0, 5, 5, 5, 5])
    assert (said["first"], said["confirmed"], said["last"]) == (3, 4, 6)
    assert (said["seen"], said["held"], said["spikes"]) == (3, 3, 0)


def test_a_spike_is_no_alarm_and_is_counted():
    said = walk([0, 0, 9, 0, 0, 0, 9, 0, 0, 0])
    assert (said["confirmed"], said["spikes"]) == (0, 2)


def test_a_cloud_and_its_shadow_do_not_agree():
    assert walk([0, 9, -9, 0, 0])["confirmed"] == 0


def test_a_spike_lends_nothing_to_an_ordinary_date():
    said = walk([0, 1, 90, 1, 0])
    assert (said["confirmed"], said["spikes"]) == (0, 1)
    assert walk([1, 1, 90, 90, 90])["first"] == 3


def test_what_is_five_times_as_long_is_of_something_else():
    assert walk([0, 2.5, 12, 0, 0])["confirmed"] == 3
    said = walk([0, 2.5, 13, 0, 0])
    assert (said["confirmed"], said["spikes"]) == (0, 2)
    # and a change that grows agrees with its next dates
    assert walk([0, 2.5, 13, 13, 13])["first"] == 3


def test_two_of_three_bridge_a_date():
    assert walk([0, 5, 0, 5, 0])["confirmed"] == 4
    assert walk([0, 5, 0, 5, 0], keep=(2, 2))["confirmed"] == 0


def test_what_recovers_has_a_share_under_one():
    said = walk([5, 5, 5, 0, 0, 0, 0, 0, 0])
    assert said["last"] == 3
    assert said["held"] / said["seen"] == pytest.approx(2 / 8)
