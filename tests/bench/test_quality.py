"""MSE, PSNR and SSIM beside their definitions, written out pixel by pixel in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from satae.bench.quality import mse, quality, ssim


def pair(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.random((3, 2, 14, 13)).astype(np.float32)
    return x, (x + rng.normal(0, 0.1, x.shape)).astype(np.float32)


def ssim_of(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. (2004) at every window that fits into two planes (row, col)."""
    weights = np.array(
        [[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / 4.5) for j in range(11)] for i in range(11)]
    )
    weights /= weights.sum()
    found = []
    for row in range(a.shape[0] - 10):
        for col in range(a.shape[1] - 10):
            p, q = (z[row : row + 11, col : col + 11].astype(np.float64) for z in (a, b))
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            both = (weights * (p - mp) * (q - mq)).sum()
            over = (2 * mp * mq + 1e-4) * (2 * both + 9e-4)
            found.append(over / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    return float(np.mean(found))


def test_ssim_is_its_definition() -> None:
    x, y = pair()
    expected = [np.mean([ssim_of(x[i, c], y[i, c]) for c in range(2)]) for i in range(3)]
    assert np.allclose(ssim(x, y), expected, rtol=1e-9)


def test_mse_and_psnr_are_means_over_images() -> None:
    x, y = pair(1)
    errors = [
        np.mean([(float(a) - float(b)) ** 2 for a, b in zip(x[i].ravel(), y[i].ravel(), strict=True)])
        for i in range(3)
    ]
    found = quality(x, y)
    assert np.allclose(mse(x, y), errors)
    assert found.mse == pytest.approx(np.mean(errors))
    assert found.psnr == pytest.approx(np.mean([10 * math.log10(1 / e) for e in errors]))
    assert found.ssim == pytest.approx(ssim(x, y).mean())


def test_equal_images_are_perfect() -> None:
    x, _ = pair()
    assert quality(x, x).mse == 0 and quality(x, x).psnr == 100 and quality(x, x).ssim == pytest.approx(1)
