"""One minus the structural similarity of input and reconstruction is lowered, a channel at a time (Wang et al. 2004).

Means, variances and covariance are those of the valid pixels in a square window, all of one weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from satae.models import Output
from satae.nn.surroundings import means
from satae.objectives import Batch, Term

WHOLE = True
WIDEST = 33  # pixels


@dataclass(frozen=True)
class Params:
    """The settings of ssim.

    `window`: its side in pixels, odd. `range`: L of the paper, between the ends of the data: about 4 where x
    is in standard deviations, 1 where it is in [0, 1].
    """

    window: int = 7
    range: float = 4.0

    def __post_init__(self) -> None:
        if not (3 <= self.window <= WIDEST and self.window % 2):
            raise ValueError(f"window {self.window} is not an odd number between 3 and {WIDEST}")
        if not self.range > 0:
            raise ValueError(f"range {self.range} is not positive")


def build(params: Params, code_size: int) -> Term:
    """The term 1 - SSIM, its mean over channels: from 0 to 2."""
    c1, c2 = (0.01 * params.range) ** 2, (0.03 * params.range) ** 2

    def error(out: Output, batch: Batch) -> Tensor:
        good = batch.valid > 0.5
        a, b = (torch.where(good, z, 0.0) for z in (batch.x, out.reconstruction.float()))

        def mean(z: Tensor) -> Tensor:
            return means(z, batch.valid, params.window, 0, torch.zeros_like(z))

        # (N, C, H, W) each, over the valid pixels of the window
        mean_a, mean_b = mean(a), mean(b)
        var_a = (mean(a * a) - mean_a**2).clamp(min=0)
        var_b = (mean(b * b) - mean_b**2).clamp(min=0)
        # half the variance of the sum less that of the difference: a perfect copy has exactly 0
        apart = (mean((a - b) ** 2) - (mean_a - mean_b) ** 2).clamp(min=0)
        shape = (var_a + var_b - apart + c2) / (var_a + var_b + c2)
        light = 1 - (mean_a - mean_b) ** 2 / (mean_a**2 + mean_b**2 + c1)
        return (1 - light * shape).mean(dim=1, keepdim=True)

    return error
