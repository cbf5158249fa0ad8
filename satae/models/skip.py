"""A U-Net keeps edges sharp, by skip connections too narrow and unreliable to carry an anomaly past the code.

Ronneberger et al. (2015) for anomalies as in Collin and De Vleeschouwer (2021), who keep the skips from copying by
noise. Here those from H/2 and H/4 pass a bottleneck of a few channels and are dropped at random while it trains.
Add corruption of the input where it copies all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.models import Output, conv
from satae.nn.units import BOUNDS, layer


@dataclass(frozen=True)
class Params(conv.Params):
    """The settings of conv, and `skip`: channels of each skip connection, `drop`: share of them dropped in training."""

    skip: int = 1
    drop: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.skip <= 1024:
            raise ValueError(f"skip {self.skip} is not between 1 and 1024")
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop {self.drop} is not at least 0 and below 1")


class SkipAutoencoder(nn.Module):
    """x (N, C, H, W) -> code (N, K, H/8, W/8) and skips (N, S, H/4, W/4), (N, S, H/2, W/2) -> reconstruction."""

    stride = 8

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        w, s, style = params.width, params.skip, params.style
        # of a patch of 8 x 8 pixels, so that the same compression leaves four times the numbers of conv's in each cell
        self.code_size = params.numbers(channels, self.stride)
        # (N, C, H, W) -> (N, 2 w, H/2, W/2) -> (N, 2 w, H/4, W/4) -> (N, K, H/8, W/8)
        self.to_half = nn.Sequential(layer(channels, w, style), layer(w, 2 * w, style, stride=2))
        self.to_quarter = layer(2 * w, 2 * w, style, stride=2)
        self.encoder = nn.Sequential(
            layer(2 * w, 4 * w, style, stride=2), nn.Conv2d(4 * w, self.code_size, 1)
        )
        # S channels only, whole ones of which are dropped in training: the decoder cannot count on them
        # none from the input itself, which would carry anomalies across at full resolution
        self.skips = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * w, s, 1), nn.Dropout2d(params.drop)) for _ in range(2)
        )
        # back; each stage sees the one below at its own size, and S channels of a skip
        self.expand = layer(self.code_size, 4 * w, style, kernel=1)
        self.at_quarter = layer(4 * w + s, 2 * w, style)
        self.at_half = layer(2 * w + s, 2 * w, style)
        self.at_full = layer(2 * w, w, style)
        self.output = nn.Conv2d(w, channels, 3, padding=1)
        self.bound = BOUNDS[params.output]()
        # as in conv
        self.idle = (self.encoder[-1].bias,) if params.norm == "batch" else ()

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        # (N, 2 w, H/2, W/2) and (N, 2 w, H/4, W/4); the code is at H/8
        half = self.to_half(x)
        quarter = self.to_quarter(half)
        code = self.encoder(quarter)
        # (N, 4 w + S, H/4, W/4) -> (N, 2 w, H/4, W/4)
        z = self.at_quarter(self._joined(self.expand(code), quarter, 0))
        # (N, 2 w + S, H/2, W/2) -> (N, 2 w, H/2, W/2)
        z = self.at_half(self._joined(z, half, 1))
        # nothing is passed at full size: (N, w, H, W)
        z = self.at_full(F.interpolate(z, size=x.shape[-2:], mode="nearest"))
        return Output(self.bound(self.output(z)), code)

    def _joined(self, z: Tensor, passed: Tensor, number: int) -> Tensor:
        """z at the size of what was passed, and what its skip lets through of that."""
        # to the size of what was passed, not to twice its own: halves of odd sizes are rounded up
        z = F.interpolate(z, size=passed.shape[-2:], mode="nearest")
        return torch.cat([z, self.skips[number](passed)], dim=1)


def build(channels: int, params: Params) -> SkipAutoencoder:
    """The architecture for `channels` input channels."""
    return SkipAutoencoder(channels, params)
