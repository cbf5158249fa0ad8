"""The RX detector measures each pixel's Mahalanobis distance from the mean of the sample; it learns nothing.

Reed and Yu (1990). The reconstruction of every pixel is the mean, so the score head `whitened` on all
components without shrinkage is the squared Mahalanobis distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models import Output

# all components and a ridge that only keeps rounding from being divided by: the plain covariance
SUITS = {"input": {"space": "whitened", "ridge": 1e-9, "components": 1024}, "score": ["whitened"]}


@dataclass(frozen=True)
class Params:
    """This architecture has no settings."""


class Mean(nn.Module):
    """x -> 0, the mean of the sample; the pixel is its own code."""

    stride = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        # nothing is compressed, so the code is the pixel itself
        self.code_size = channels

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        # x is whitened: the residual x - 0 has the squared length (v - mean)' C^-1 (v - mean), C the covariance
        return Output(torch.zeros_like(x), x)


def build(channels: int, params: Params) -> Mean:
    """The architecture for `channels` input channels."""
    return Mean(channels)
