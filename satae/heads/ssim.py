"""One minus the structural similarity of input and reconstruction counts, a band at a time (Wang et al. 2004).

Intensities are in units of the range between the 0.1 % and 99.9 % quantiles of each band over the sample, so that
the range L of the paper is 1 and its constants are (0.01 L)^2 and (0.03 L)^2. The window is a square of
valid pixels, all of one weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from satae.heads import Linear, View
from satae.nn.normalize import Normalizer
from satae.nn.surroundings import means

C1, C2 = 0.01**2, 0.03**2
WIDEST = 33  # pixels


@dataclass(frozen=True)
class Params:
    """The settings of ssim.

    `window`: its side in pixels, odd.
    """

    window: int = 7

    def __post_init__(self) -> None:
        if not (3 <= self.window <= WIDEST and self.window % 2):
            raise ValueError(f"window {self.window} is not an odd number between 3 and {WIDEST}")


class StructuralDissimilarity(nn.Module):
    """Band b contributes (1 - SSIM_b) / 2B, which lies between 0 and 1/B."""

    offset: Tensor

    def __init__(self, normalizer: Normalizer, params: Params) -> None:
        super().__init__()
        self.window, self.bands = params.window, len(normalizer.spread)
        # the quantiles in DN as u in [0, 1], then as v (B each): the ends of the range that is L in the paper
        gain, shift = normalizer.stretch
        ends = (normalizer.low - normalizer.floor, normalizer.high - normalizer.floor)
        u = np.stack(ends) / (normalizer.ceiling - normalizer.floor)
        low, high = np.log(gain * u + shift) if normalizer.logarithmic else gain * u + shift
        # (v - low) / (high - low), as a matrix of x and an offset a band
        back = np.asarray(np.linalg.pinv(normalizer.affine), np.float64)
        self.to_range = Linear(back / (high - low)[:, None])
        offset = torch.tensor((normalizer.centre - low) / (high - low), dtype=torch.float32)
        self.register_buffer("offset", offset[None, :, None, None])

    def forward(self, view: View) -> Tensor:
        # (N, B, H, W), in units of the range of each band
        a, b = (self._intensity(z, view.valid) for z in (view.x, view.reconstruction))
        # means, variances and covariance over the window, band by band: (N, B, H, W) each
        mean_a, mean_b = self._mean(a, view.valid), self._mean(b, view.valid)
        # E[a^2] - E[a]^2, below 0 by rounding alone
        var_a = (self._mean(a * a, view.valid) - mean_a * mean_a).clamp(min=0)
        var_b = (self._mean(b * b, view.valid) - mean_b * mean_b).clamp(min=0)
        # half the variance of the sum less that of the difference; both lie between 0 and 2 (var_a + var_b)
        apart = (self._mean((a - b) ** 2, view.valid) - (mean_a - mean_b) ** 2).clamp(min=0)
        twice = var_a + var_b - apart  # 2 cov(a, b)
        # the paper's two factors, of means and of (co)variances; its third is joined to the second, with C3 = C2 / 2
        luminance = (2 * mean_a * mean_b + C1) / (mean_a * mean_a + mean_b * mean_b + C1)
        similarity = luminance * (twice + C2) / (var_a + var_b + C2)
        # similarity lies between -1 and 1, so the sum over bands lies between 0 and 1
        return (1 - similarity).clamp(min=0) / (2 * self.bands)

    def _intensity(self, z: Tensor, valid: Tensor) -> Tensor:
        # 0 where invalid, as `means` wants it
        out = self.to_range(z) + self.offset
        return torch.where(valid > 0.5, out, torch.zeros_like(out))

    def _mean(self, known: Tensor, valid: Tensor) -> Tensor:
        # the same count of valid pixels for all five means: only then is a variance never negative but by rounding
        return means(known, valid, self.window, 0, torch.zeros_like(known))


def build(normalizer: Normalizer, params: Params) -> StructuralDissimilarity:
    """The head for a normaliser's bands."""
    return StructuralDissimilarity(normalizer, params)
