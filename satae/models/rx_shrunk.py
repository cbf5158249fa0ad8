"""RX with a shrunk covariance over the leading components is steadier than RX; it learns nothing either.

Ledoit and Wolf (2004) give the reason for the shrinkage; how strong it is stands in `input.ridge`. With `smooth`
it measures the mean around a pixel in place of the pixel: for areas that are out of place, not objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models import Output
from satae.nn.surroundings import gaussian_mean

# a thousandth of the mean eigenvalue is added to each, and components beyond the 32nd are left out
SUITS = {"input": {"space": "whitened", "ridge": 1e-3, "components": 32}, "score": ["whitened"]}


@dataclass(frozen=True)
class Params:
    """The settings of rx_shrunk.

    `smooth`: standard deviation in pixels of the Gaussian mean whose distance counts, 0 for the pixel's own.
    """

    # 4 where areas are sought: .705 to .857 of AUROC on burn masks (docs/log.md)
    smooth: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.smooth <= 16:
            raise ValueError(f"smooth {self.smooth} is not between 0 and 16")


class Mean(nn.Module):
    """x -> the mean of the sample, 0, on top of what x has over its own surroundings, which is forgiven."""

    stride = 1

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        # as in rx nothing is compressed
        self.code_size, self.smooth = channels, params.smooth

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        # (N, C, H, W) at 0, so that the residual is x itself
        if not self.smooth:
            return Output(torch.zeros_like(x), x)
        # x - (x - around) = around: what a head measures is how far the mean around a pixel lies from 0
        around = gaussian_mean(x, valid, self.smooth)
        return Output(x - around, around)


def build(channels: int, params: Params) -> Mean:
    """The architecture for any number of channels."""
    return Mean(channels, params)
