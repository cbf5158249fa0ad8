"""What a pixel shows through the year, in closed form: harmonics and a trend by ridge least squares on its history.

    x(t) = a + b t + sum over k of c_k cos(2 pi k t) + d_k sin(2 pi k t),  t in years from the middle of the history

Every pixel has as many harmonics as its valid dates support (`orders`). The fit is repeated with weights by which dates
far from it count less. It goes on one date at a time by recursive least squares, so that a date costs one date.
Arrays are (..., pixel); arithmetic in float64, and what is kept between dates in float32.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from satae.series.products import product

YEAR = 365.25  # days
HARMONICS = 2
TERMS = 2 + 2 * HARMONICS
NEEDED = (10, 18)  # valid dates from which on a pixel has one harmonic, and two
TREND_NEEDED = 10
# what is added to the normal equations, in units of observations: a slope of a year is not carried far
RIDGE = (1e-3, 50.0, 0.5, 0.5, 2.0, 2.0)
ABSENT = 1e6  # the same for a term that a pixel does not have
# what the square of an expectation's variance adds to it: a year has more shapes than two harmonics
CURVED = 3.0
HUBER = 2.0  # deviations beyond which a date counts less
GONE = 3.0  # deviations beyond which a new date does not count at all: what has changed is no season

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
UPPER = np.triu_indices(TERMS)


def basis(days: npt.ArrayLike, origin: float) -> Floats:
    """The terms (date, TERMS) on days."""
    t = (np.atleast_1d(np.asarray(days, np.float64)) - origin) / YEAR
    turns = [f(2 * np.pi * k * t) for k in range(1, HARMONICS + 1) for f in (np.cos, np.sin)]
    return np.stack([np.ones_like(t), t, *turns], axis=1)


def ridge(count: npt.NDArray[np.int64]) -> Floats:
    """What is added to the diagonal of the normal equations (TERMS, pixel), by the number of valid dates."""
    out = np.repeat(np.array(RIDGE)[:, None], len(count), axis=1)
    # a term that is absent is held at 0 by the penalty: all pixels keep one shape
    out[1, count < TREND_NEEDED] = ABSENT
    for k, needed in enumerate(NEEDED):
        out[2 + 2 * k : 4 + 2 * k, count < needed] = ABSENT
    return out


def fit(x: Floats, weight: Floats, terms: Floats, penalty: Floats) -> tuple[Floats, Floats]:
    """Coefficients (TERMS, band, pixel) and the inverse of the normal equations (TERMS, TERMS, pixel).

    x (date, band, pixel), `weight` (date, pixel), 0 where invalid; `terms` (date, TERMS), `penalty` (TERMS, pixel).
    """
    pixels, size = x.shape[2], terms.shape[1]
    # products of terms once, each pair of them, then one product over dates for all pixels
    one, two = np.triu_indices(size)
    upper = product((terms[:, one] * terms[:, two]).T, weight).T
    normal = np.empty((pixels, size, size))
    normal[:, one, two] = normal[:, two, one] = upper
    normal[:, np.arange(size), np.arange(size)] += penalty.T
    right = product(terms.T, x * weight[:, None])
    # the inverse is needed in any case: it says how sure the fit is, and new dates go on from it
    inverse: Floats = np.asarray(np.linalg.inv(normal), np.float64)
    found = inverse @ right.transpose(2, 0, 1)
    return found.transpose(1, 2, 0).copy(), inverse.transpose(1, 2, 0).copy()


def expectation(coefficients: Floats, terms: Floats) -> Floats:
    """What is expected on dates of these terms: (date, band, pixel)."""
    return product(terms, coefficients)


def leverage(inverse: Floats, term: Floats) -> tuple[Floats, Floats]:
    """(gain (TERMS, pixel), variance (pixel)): of what is expected on one date, in units of an observation's."""
    gain = np.einsum("klp,l->kp", inverse, term)
    return gain, np.asarray(np.einsum("k,kp->p", term, gain))


def leverages(inverse: Floats, terms: Floats) -> Floats:
    """The variance (date, pixel) of what is expected on dates of these terms, in units of an observation's."""
    one, two = UPPER
    # what is off the diagonal counts twice
    pairs = terms[:, one] * terms[:, two] * np.where(one == two, 1.0, 2.0)
    return product(pairs, pack(inverse))


def doubt(variance: Floats) -> Floats:
    """The variance of an expectation that allows for what harmonics miss, the more the further dates lie from it.

    `variance` is what follows from the normal equations alone, in units of an observation's.
    """
    return variance + CURVED * variance**2


def robust_weights(square: Floats, valid: Bools, usual: float) -> Floats:
    """Weights (date, pixel) of squared distances, each pixel's own in units of its median and of what is `usual`."""
    own = _median(np.where(valid, square, np.nan))
    # a floor, for a pixel that fits by chance would reject the rest of its dates
    scale = np.maximum(np.where(np.isfinite(own), own, usual), 0.3 * usual) / 0.8
    return np.asarray(
        valid * np.minimum(1.0, HUBER**2 / np.maximum(square / np.maximum(scale, 1e-12), 1e-12))
    )


def update(
    coefficients: Floats, inverse: Floats, gain: Floats, term: Floats, residual: Floats, weight: Floats
) -> tuple[Floats, Floats]:
    """Coefficients and inverse with one date more, of these terms (TERMS) and this gain: recursive least squares.

    Weight (pixel) 0 changes nothing.
    """
    # Sherman and Morrison: the inverse of a sum with a product of two vectors, without inverting anything
    step = gain * (weight / (1 + weight * np.einsum("k,kp->p", term, gain)))
    moved = coefficients + step[:, None] * residual[None]
    return moved, inverse - step[:, None] * gain[None]


def date_weights(square: Floats, valid: Bools) -> Floats:
    """The weight (pixel) of a new date, by its squared distance in deviations."""
    weight = np.minimum(1.0, HUBER**2 / np.maximum(square, 1e-12))
    return np.asarray(valid * np.where(square > GONE**2, 0.0, weight))


def pack(inverse: Floats) -> Floats:
    """The upper triangle (TERMS (TERMS + 1) / 2, pixel) of a symmetric inverse."""
    return inverse[UPPER]


def unpack(triangle: Floats) -> Floats:
    """The inverse of its upper triangle."""
    out = np.empty((TERMS, TERMS, triangle.shape[1]))
    out[UPPER] = triangle
    out[UPPER[1], UPPER[0]] = triangle
    return out


def _median(marked: Floats) -> Floats:
    """The median over dates of what is not NaN, NaN where nothing is."""
    ordered = np.sort(marked, axis=0)  # NaN last
    count = np.isfinite(marked).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, len(marked) - 1)
    columns = np.arange(marked.shape[1])
    return np.asarray((ordered[low, columns] + ordered[high, columns]) / 2)
