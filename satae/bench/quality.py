"""Measures how close reconstructed images are to the originals: MSE, PSNR and SSIM in [0, 1], in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]

WINDOW, SIGMA = 11, 1.5  # pixels: the Gaussian of Wang et al. (2004)
K1, K2 = 0.01, 0.03


@dataclass(frozen=True)
class Quality:
    """Means over images: squared error, 10 log10 (1 / that of each image) in dB, structural similarity."""

    mse: float
    psnr: float
    ssim: float


def quality(x: Images, rebuilt: Images) -> Quality:
    """How close reconstructions are to images (n, C, H, W); nothing is clipped to [0, 1].

    An image without any error would have an infinite PSNR: 100 dB stands for it.
    """
    errors = mse(x, rebuilt)
    return Quality(
        float(errors.mean()),
        float((-10 * np.log10(np.maximum(errors, 1e-10))).mean()),
        float(ssim(x, rebuilt).mean()),
    )


def mse(x: Images, rebuilt: Images) -> Floats:
    """The mean squared error of each image (n,)."""
    return np.asarray(((x.astype(np.float64) - rebuilt) ** 2).mean(axis=(1, 2, 3)))


def ssim(x: Images, rebuilt: Images) -> Floats:
    """Structural similarity of each image (n,), Wang et al. (2004), the data range being 1.

    Gaussian windows of 11 x 11 pixels and deviation 1.5 that lie within the image, channel by channel, with
    plain (not sample) variances; the mean over windows and channels.
    """
    a, b = x.astype(np.float64), rebuilt.astype(np.float64)
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a, var_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
    both = _windowed(a * b) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + K1**2) * (2 * both + K2**2)
    found = alike / ((mean_a**2 + mean_b**2 + K1**2) * (var_a + var_b + K2**2))
    return np.asarray(found.mean(axis=(1, 2, 3)))


def _windowed(x: Floats) -> Floats:
    """Gaussian means (n, C, H - 10, W - 10), rows and columns in turn."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    for axis in (2, 3):
        size = x.shape[axis] - WINDOW + 1
        parts = (np.take(x, range(i, i + size), axis=axis) * w for i, w in enumerate(weights))
        x = np.asarray(sum(parts))
    return x
