"""What `satae series` is measured against: common scores of one date beside a history, pixel by pixel.

A rival is fitted to a history once and then gives each new date a distance (date, pixel); NaN where it knows nothing.
All read the same pixels with the same masks and margins around clouds, and one rule, k of n dates, makes them alarms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from satae.series import median, pair, seasonal

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Distance = Callable[[Floats, Bools, Floats], Floats]  # x (date, B, pixel), valid (date, pixel), days
Rival = Callable[[Floats, Bools, Floats], Distance]  # the same of the history

LEAST_SPREAD = (
    0.3  # of a pixel's deviation in that of all: one that was calm by chance is not deaf to nothing
)
HARMONICS_NEEDED = (8, 14)  # valid dates of a pixel from which on it has one harmonic, and two
A_YEAR_BACK = 30.0  # days that the date before must lie back


def harmonic_z(x: Floats, valid: Bools, days: Floats) -> Distance:
    """The largest band's residual against a least squares fit of harmonics, in each pixel's own deviations."""
    origin = float(days.mean())
    terms = seasonal.basis(days, origin)
    count = valid.sum(axis=0)
    # without a trend, as is usual where it is carried on; a term that few dates support is held at 0
    penalty = np.full((seasonal.TERMS, len(count)), 1e-6)
    penalty[1] = seasonal.ABSENT
    for k, needed in enumerate(HARMONICS_NEEDED):
        penalty[2 + 2 * k : 4 + 2 * k, count < needed] = seasonal.ABSENT
    clean = np.where(valid[:, None], x, 0.0)
    fitted, _ = seasonal.fit(clean, valid.astype(np.float64), terms, penalty)
    left = (clean - seasonal.expectation(fitted, terms)) * valid[:, None]
    used = (penalty < seasonal.ABSENT).sum(axis=0)
    deviation = np.sqrt((left**2).sum(axis=0) / np.maximum(count - used, 3))
    deviation = _floor(deviation)

    def distance(new: Floats, good: Bools, when: Floats) -> Floats:
        there = seasonal.expectation(fitted, seasonal.basis(when, origin))
        return _known((np.abs(new - there) / deviation).max(axis=1), good & (count > 0))

    return distance


def season_z(x: Floats, valid: Bools, days: Floats) -> Distance:
    """The largest band's distance from the same season's median, in robust deviations of that season."""
    marked = np.where(valid[:, None], x, np.nan)

    def distance(new: Floats, good: Bools, when: Floats) -> Floats:
        out = np.empty(good.shape)
        for i, day in enumerate(when):
            near = marked[median.season(days, float(day))]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # pixels without a date
                middle = np.nanmedian(near, axis=0)
                deviation = 1.4826 * np.nanmedian(np.abs(near - middle), axis=0)
            out[i] = (np.abs(new[i] - middle) / _floor(np.nan_to_num(deviation))).max(axis=0)
        return _known(out, good)

    return distance


def change_vector(x: Floats, valid: Bools, days: Floats) -> Distance:
    """The length of the change vector from the valid date of the history that is nearest in the year, bands scaled."""
    marked = np.where(valid[:, None], x, np.nan)
    scale = np.nanstd(marked, axis=(0, 2))[:, None]

    def distance(new: Floats, good: Bools, when: Floats) -> Floats:
        out = np.full(good.shape, np.nan)
        for i, day in enumerate(when):
            before = _before(marked, days, float(day))
            out[i] = np.sqrt((((new[i] - before) / scale) ** 2).sum(axis=0))
        return _known(out, good)

    return distance


def ir_mad(x: Floats, valid: Bools, days: Floats) -> Distance:
    """The distance of each date from its regression on the date of the history that is nearest in the year (IR-MAD)."""
    marked = np.where(valid[:, None], x, np.nan)

    def distance(new: Floats, good: Bools, when: Floats) -> Floats:
        out = np.full(good.shape, np.nan)
        for i, day in enumerate(when):
            before = _before(marked, days, float(day))
            both = good[i] & np.isfinite(before[0])
            if both.sum() < 10 * len(before):
                continue
            gain, offset, covariance = pair.regression(before[:, both], new[i][:, both])
            left = new[i] - gain @ before - offset[:, None]
            out[i] = np.einsum("bp,bp->p", left, np.linalg.solve(covariance, left))
        return _known(out, good)

    return distance


RIVALS: dict[str, Rival] = {
    "harmonic z": harmonic_z,
    "same-season z": season_z,
    "CVA": change_vector,
    "IR-MAD": ir_mad,
}


def _before(marked: Floats, days: Floats, day: float) -> Floats:
    """Each pixel's valid date that is nearest in the year (B, pixel), NaN where there is none."""
    apart = np.abs((days - day + median.YEAR / 2) % median.YEAR - median.YEAR / 2)
    apart = np.where(day - days < A_YEAR_BACK, median.YEAR, apart)
    out = np.full(marked.shape[1:], np.nan)
    # the latest first where two are as near
    for i in sorted(range(len(days)), key=lambda i: (apart[i], -days[i])):
        empty = np.isnan(out[0])
        if not empty.any():
            break
        out[:, empty] = marked[i][:, empty]
    return out


def _floor(deviation: Floats) -> Floats:
    """Deviations (B, pixel), none under a share of what is usual in its band."""
    usual = np.median(deviation, axis=1, keepdims=True)
    return np.asarray(np.maximum(deviation, np.maximum(LEAST_SPREAD * usual, 1e-6)))


def _known(distance: Floats, good: Bools) -> Floats:
    return np.where(good, distance, np.nan)
