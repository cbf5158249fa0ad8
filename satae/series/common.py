"""What a date does to all of its ground: haze, the light, an early spring. It is no change, and is taken off.

    what is left of a pixel on date t = C_t [1, what the pixel is like] + its own

What a pixel is like is its season, the coefficients without the trend, or where there are few dates its median, both in
deviations of the sample. `C_t` (B, 1 + K) is regressed
robustly over the sample of the place: relative radiometric normalisation with ground that has not changed, which is
found as IR-MAD does, by weights from what is left. Water, forest and fields each get what their kind shows on the day.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ROUNDS = 5
RIDGE = 10.0  # in observations: what few pixels show of a term is not believed
FAR = 2.0  # robust deviations from which on a pixel counts less
CHANGED = 3.0  # and from which on not at all
LEAST = 50  # valid pixels of the sample from which on the mean of a date is told
A_TERM = 10  # valid pixels a term, below which only the mean is
EDGE = 4.0  # deviations to which terms of unusual ground are clipped, for a regression does not reach further
TREND = 1  # the term that is no part of a season

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def season(coefficients: Floats) -> Floats:
    """What pixels are like (K, pixel) by the coefficients of their season (TERMS, B, pixel)."""
    of = np.delete(coefficients, TREND, axis=0)
    count, bands, pixels = of.shape
    return np.asarray(of.reshape(count * bands, pixels))


def scale(kinds: Floats) -> tuple[Floats, Floats]:
    """(middle (K), spread (K)) of what the pixels of a sample are like (K, pixel)."""
    middle = np.median(kinds, axis=1)
    spread = kinds.std(axis=1)
    # what no pixel differs by tells nothing in any unit
    return middle, np.where(spread > 1e-9, spread, 1.0)


def signs(kinds: Floats, middle: Floats, spread: Floats) -> Floats:
    """What is known of pixels (1 + K, pixel) by which a date's common part follows; the middle where nothing is."""
    apart = np.nan_to_num((kinds - middle[:, None]) / spread[:, None])
    return np.concatenate([np.ones((1, kinds.shape[1])), np.clip(apart, -EDGE, EDGE)])


def regress(known: Floats, residual: Floats, whitening: Floats) -> Floats:
    """C (B, 1 + K) of the residuals (B, n) of one date on what is known of its valid pixels (1 + K, n)."""
    size, pixels = known.shape
    out = np.zeros((len(residual), size))
    if pixels < LEAST:
        return out
    used = size if pixels >= A_TERM * size else 1
    known = known[:used]
    # the mean is not drawn to 0, the rest is
    penalty = np.diag([1e-6, *[RIDGE] * (used - 1)])
    # from the median on: squares would at first give in to a change of a third of the place
    left = residual - np.median(residual, axis=1, keepdims=True)
    for _ in range(ROUNDS):
        square = ((whitening @ left) ** 2).mean(axis=0)
        far = square / max(float(np.median(square)), 1e-12)
        weight = np.where(far > CHANGED**2, 0.0, np.minimum(1.0, FAR**2 / np.maximum(far, 1e-12)))
        weighted = known * weight
        found = np.linalg.solve(weighted @ known.T + penalty, weighted @ residual.T).T
        left = residual - found @ known
    out[:, :used] = found
    return out
