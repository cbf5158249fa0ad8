"""Seasonal fits beside numpy's least squares in float64, one pixel at a time."""

import numpy as np
import pytest

from satae.series import seasonal


def ridge_oracle(x, weight, terms, penalty):
    """Coefficients of one pixel: least squares of rows that hold observations, and of rows that hold the ridge."""
    rows = np.concatenate([terms * np.sqrt(weight)[:, None], np.diag(np.sqrt(penalty))])
    right = np.concatenate([x * np.sqrt(weight)[:, None], np.zeros((len(penalty), x.shape[1]))])
    return np.linalg.lstsq(rows, right, rcond=None)[0]


def sample(dates=40, bands=3, pixels=5, seed=0):
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(1500, dates, replace=False)).astype(float)
    x = rng.normal(100, 30, (dates, bands, pixels))
    weight = rng.random((dates, pixels)) * (rng.random((dates, pixels)) > 0.3)
    return days, x, weight


def test_the_fit_is_ridge_least_squares():
    days, x, weight = sample()
    terms = seasonal.basis(days, days.mean())
    penalty = seasonal.ridge(np.array([3, 9, 10, 17, 40]))
    found, inverse = seasonal.fit(x, weight, terms, penalty)
    for p in range(5):
        wanted = ridge_oracle(x[:, :, p], weight[:, p], terms, penalty[:, p])
        np.testing.assert_allclose(found[:, :, p], wanted, rtol=1e-6, atol=1e-6)
        normal = (terms * weight[:, [p]]).T @ terms + np.diag(penalty[:, p])
        np.testing.assert_allclose(inverse[:, :, p] @ normal, np.eye(len(normal)), atol=1e-6)


def test_recursion_gives_what_a_fit_to_all_dates_gives():
    days, x, weight = sample(seed=1)
    terms = seasonal.basis(days, 700.0)
    penalty = seasonal.ridge(np.full(5, 40))
    found, inverse = seasonal.fit(x[:25], weight[:25], terms[:25], penalty)
    for i in range(25, 40):
        gain, _ = seasonal.leverage(inverse, terms[i])
        residual = x[i] - seasonal.expectation(found, terms[[i]])[0]
        found, inverse = seasonal.update(found, inverse, gain, terms[i], residual, weight[i])
    whole, of_whole = seasonal.fit(x, weight, terms, penalty)
    np.testing.assert_allclose(found, whole, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(inverse, of_whole, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("count", "terms"), [(5, 1), (9, 1), (10, 4), (17, 4), (18, 6)])
def test_pixels_have_as_many_terms_as_their_dates_support(count, terms):
    assert (seasonal.ridge(np.array([count])) < seasonal.ABSENT).sum() == terms


def test_a_season_is_rebuilt_and_a_jump_is_not_learned():
    days = np.arange(0, 1100, 12.0)
    t = days / seasonal.YEAR
    x = (500 + 100 * np.cos(2 * np.pi * t) + 30 * np.sin(4 * np.pi * t))[:, None, None]
    terms = seasonal.basis(days, days.mean())
    penalty = seasonal.ridge(np.array([len(days)])) * 1e-6
    found, inverse = seasonal.fit(x, np.ones((len(days), 1)), terms, penalty)
    np.testing.assert_allclose(seasonal.expectation(found, terms), x, atol=1e-3)
    assert seasonal.date_weights(np.array([1.0, 8.0, 25.0]), np.array([True] * 3)).tolist() == [1.0, 0.5, 0.0]
    gain, _ = seasonal.leverage(inverse, terms[3])
    same, _ = seasonal.update(found, inverse, gain, terms[3], np.array([[900.0]]), np.array([0.0]))
    np.testing.assert_array_equal(same, found)


def test_days_that_no_year_has_shown_are_not_far_off_because_a_year_is_no_two_harmonics():
    """Ground with a leap in spring, which no date of the history shows: beside what is usual it is as far as others."""
    rng = np.random.default_rng(4)
    days = np.arange(0, 1461, 30.0)
    part = days / seasonal.YEAR % 1
    known = (part < 0.1) | (part > 0.6)
    x = (
        np.cos(2 * np.pi * part)[:, None]
        + (0.5 + rng.random(200)) * 2 * ((part > 0.3) & (part < 0.6))[:, None]
    )
    x += rng.normal(0, 0.5, x.shape)
    terms, penalty = seasonal.basis(days, days.mean()), seasonal.ridge(np.full(200, int(known.sum())))
    found, inverse = seasonal.fit(x[:, None], np.repeat(known[:, None], 200, axis=1) * 1.0, terms, penalty)
    square = (x - seasonal.expectation(found, terms)[:, 0]) ** 2
    plain = np.array([seasonal.leverage(inverse, term)[1] for term in terms])
    sides = [
        np.median((square / (1 + v))[~known]) / np.median((square / (1 + v))[known])
        for v in (plain, seasonal.doubt(plain))
    ]
    assert sides[0] > 2 * sides[1] and sides[1] < 2
    np.testing.assert_allclose(seasonal.doubt(np.array([0.0, 0.1, 2.0])), [0.0, 0.13, 14.0])


def test_packing_loses_nothing():
    _, _, weight = sample()
    terms = seasonal.basis(np.arange(40) * 30.0, 600.0)
    _, inverse = seasonal.fit(np.zeros((40, 1, 5)), weight, terms, seasonal.ridge(np.full(5, 40)))
    back = seasonal.unpack(seasonal.pack(inverse))
    np.testing.assert_allclose(back, inverse, atol=1e-12)
