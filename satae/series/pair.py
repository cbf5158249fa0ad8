"""Two dates: what the first makes one expect of the second, by a regression over what has not changed (IR-MAD).

Nielsen (2007) finds by canonical correlation the combinations of bands in which two dates differ least, and weighs each
pixel by how probable it is that it has not changed, until nothing moves. The distance from the regression of one date
on the other, in units of what is left of it, is the same under any linear change of either date's bands: haze, another
sensor's gains and offsets are gone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

ROUNDS = 20
SETTLED = 1e-4  # change of the weights' mean from round to round
RIDGE = 1e-6  # share of the mean variance of a date's bands
LEAST = 1e-9

Floats = npt.NDArray[np.float64]


def regression(first: Floats, second: Floats) -> tuple[Floats, Floats, Floats]:
    """(gain (B, B), offset (B), covariance (B, B) of what is left) of the second date (B, n) on the first (B, n)."""
    bands, pixels = first.shape
    weight, before = np.ones(pixels), 0.0
    for _ in range(ROUNDS):
        total = weight.sum()
        means = (first @ weight / total, second @ weight / total)
        x, y = first - means[0][:, None], second - means[1][:, None]
        # weighted normal equations of B bands on B bands
        within = (x * weight) @ x.T / total
        within += RIDGE * max(np.trace(within) / bands, LEAST) * np.eye(bands)
        gain = np.linalg.solve(within, (x * weight) @ y.T / total).T
        left = y - gain @ x
        covariance = (left * weight) @ left.T / total
        covariance += RIDGE * max(np.trace(covariance) / bands, LEAST) * np.eye(bands)
        square = np.einsum("bn,bn->n", left, np.linalg.solve(covariance, left))
        # pixels that changed inflate the covariance, and that of the rest is smaller by what the weights leave out
        scale = max(float(np.median(square)) / float(stats.chi2.median(bands)), LEAST)
        weight = np.asarray(stats.chi2.sf(square / scale, bands), np.float64) + LEAST
        if abs(float(weight.mean()) - before) < SETTLED:
            break
        before = float(weight.mean())
    return gain, means[1] - gain @ means[0], covariance * scale
