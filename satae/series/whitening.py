"""What is left of dates in deviations that do not depend on each other: a whitening over bands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SHRINKAGE = 0.05  # share of the mean eigenvalue that is added to each
TRIMMED = 0.95  # share of residuals that the covariance is of: the rest may be what clouds left
FLAT = 0.01  # share of the usual median square that a component of nearly constant bands is taken to have

Floats = npt.NDArray[np.float64]


def of_residuals(left: Floats) -> Floats:
    """The whitening (B, B) of residuals (B, n): principal components over their shrunk standard deviations.

    As `nn.normalize` whitens: a share of the mean eigenvalue is added to each (Ledoit and Wolf 2004).
    """
    spread = np.maximum(1.4826 * np.median(np.abs(left), axis=1), 1e-9)
    # covariance without what clouds left: a share of residuals, by bands in units of their own spread
    far = ((left / spread[:, None]) ** 2).sum(axis=0)
    inner = left[:, far <= np.quantile(far, TRIMMED)]
    covariance = inner @ inner.T / max(1, inner.shape[1])
    return of_covariance(covariance)


def of_covariance(covariance: Floats) -> Floats:
    """The whitening (B, B) of a covariance: principal components over their shrunk standard deviations."""
    values, vectors = np.linalg.eigh(covariance)
    scale = np.sqrt(np.maximum(values, 0) + SHRINKAGE * max(np.trace(covariance) / len(covariance), 1e-12))
    return np.asarray(vectors.T / scale[:, None])


def level(whitening: Floats, left: Floats) -> Floats:
    """The whitening with all components' median squares alike, so that one scale is what each pixel's are drawn to."""
    middle = np.array([np.median((row @ left) ** 2) for row in whitening])
    usual = max(float(middle.mean()), 1e-12)
    return np.asarray(whitening * np.sqrt(usual / np.maximum(middle, FLAT * usual))[:, None])
