"""What a history leaves of itself, pixel by pixel: season or medians, residuals as of held-out dates, their scale.

Nothing of a pixel hangs on the others that are fitted with it, but by the rules that all share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from satae.series import common, median, seasonal
from satae.series.products import product
from satae.series.rules import Memory, Rules

PRIOR = 10.0  # observations that the scale of all pixels counts for in that of each
CLIPPED = 20.0  # squared distances in units of the median, beyond which they say nothing of the scale
HELD_OUT = 0.2  # least share of a residual's variance that a fit is believed to have left
ROUNDS = 2  # of weights

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def usual(rules: Rules, x: npt.NDArray[np.floating], valid: Bools) -> tuple[float, ...]:
    """The median square of a sample in each round of weights: what its fit, and that of others, goes by."""
    found: list[float] = []
    _seasons(rules, _centred(rules, x, valid), valid, found)
    return tuple(found)


def of_history(
    rules: Rules, x: npt.NDArray[np.floating], valid: Bools, found: list[float] | None = None
) -> tuple[Memory, Floats, Floats]:
    """What is kept, and mean squares (date, pixel) and residuals (date, B, pixel) as if each date were held out.

    The usual squares that weights went by are `found`.
    """
    centred = _centred(rules, x, valid)
    if not rules.seasonal:
        return _medians(rules, centred, valid)
    coefficients, inverse, left, weight = _seasons(rules, centred, valid, [] if found is None else found)
    square = _mean_square(rules.whitening, left)
    # a residual of the fit is smaller than one of a date that was not fitted to
    spread = seasonal.leverages(inverse, seasonal.basis(rules.days, rules.origin))
    apart = np.maximum(1 - weight * spread, HELD_OUT)
    kept = {
        "coefficients": coefficients.reshape(-1, x.shape[2]).astype(np.float32),
        "inverse": seasonal.pack(inverse).astype(np.float32),
    }
    return kept, square / apart, left / np.sqrt(apart)[:, None]


def scale_of(rules: Rules, left: Floats, square: Floats, valid: Bools) -> Floats:
    """By how much more than others each pixel varies along each component (B, pixel), shrunk towards all.

    Of residuals `left` (date, B, pixel), whose mean squares `square` (date, pixel) are clipped.
    """
    # a cloud in the history must not make its pixel deaf
    most = CLIPPED * rules.middle
    weight = valid * np.minimum(1.0, most / np.maximum(square, most))
    # row by row, as for the mean
    own = [(weight * np.einsum("b,tbp->tp", row, left) ** 2).sum(axis=0) for row in rules.whitening]
    return np.asarray((np.stack(own) + PRIOR * rules.middle) / (valid.sum(axis=0) + PRIOR))


def _centred(rules: Rules, x: npt.NDArray[np.floating], valid: Bools) -> Floats:
    return np.where(valid[:, None], x.astype(np.float64) - rules.centre[:, None], 0.0)


def _shared(rules: Rules, known: Floats) -> Floats:
    """What the dates of the history have in common with pixels of these signs: (date, B, pixel)."""
    assert rules.shared is not None  # who asks has looked
    dates, bands, terms = rules.shared.shape
    return product(rules.shared.reshape(-1, terms), known).reshape(dates, bands, -1)


def _seasons(
    rules: Rules, centred: Floats, valid: Bools, found: list[float]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Coefficients, their inverse, residuals and weights; the usual squares that weights went by are `found`."""
    terms = seasonal.basis(rules.days, rules.origin)
    penalty = seasonal.ridge(valid.sum(axis=0))
    first, second = rules.usual[:ROUNDS], rules.usual[ROUNDS:]
    if rules.shared is not None and rules.kinds is not None:
        # the kind of a pixel follows from its own fit, and then what each date has in common with it
        plain = _robust(rules, centred, valid, terms, penalty, first, found)[0]
        known = common.signs(common.season(plain), *rules.kinds)
        centred = np.where(valid[:, None], centred - _shared(rules, known), 0.0)
    return _robust(rules, centred, valid, terms, penalty, second, found)


def _robust(
    rules: Rules, centred: Floats, valid: Bools, terms: Floats, penalty: Floats, usual: Sequence[float],
    found: list[float],
) -> tuple[Floats, Floats, Floats, Floats]:  # fmt: skip
    """The same of a fit by which dates far from it count less, by what is usual, of these pixels if it is not known."""
    # each round fits, and lets dates far from the fit count less in the next
    weight = valid.astype(np.float64)
    for number in range(ROUNDS + 1):
        coefficients, inverse = seasonal.fit(centred, weight, terms, penalty)
        left = centred - seasonal.expectation(coefficients, terms)
        if number < ROUNDS:
            square = _mean_square(rules.whitening, left)
            own = float(np.median(square[valid])) if valid.any() else 1.0
            found.append(usual[number] if usual else own)
            weight = seasonal.robust_weights(square, valid, found[-1])
    return coefficients, inverse, left, weight


def _medians(rules: Rules, centred: Floats, valid: Bools) -> tuple[Memory, Floats, Floats]:
    """The same for medians: each date beside the others."""
    # one date beside itself would be no residual
    days, marked = np.array(rules.days), np.where(valid[:, None], centred, np.nan)
    if rules.shared is not None and rules.kinds is not None:
        marked = marked - _shared(rules, common.signs(median.middle(marked), *rules.kinds))
        centred = np.nan_to_num(marked)
    left = np.zeros_like(centred)
    for number, day in enumerate(days if len(days) > 1 else ()):
        others = np.arange(len(days)) != number
        there, variance = median.expectation(marked[others], days[others], day)
        left[number] = np.nan_to_num((centred[number] - there) / np.sqrt(1 + variance))
    kept = {"values": marked.reshape(-1, centred.shape[2]).astype(np.float32)}
    return kept, _mean_square(rules.whitening, left), left


def _mean_square(whitening: Floats, left: Floats) -> Floats:
    dates, bands, pixels = left.shape
    out = np.zeros((dates, pixels))
    # row by row: all whitened residuals at once would take as much memory as the cube
    for row in whitening:
        out += np.einsum("b,tbp->tp", row, left) ** 2
    return np.asarray(out / bands)
