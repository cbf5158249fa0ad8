"""A blind-spot autoencoder predicts each pixel from boxes in eight directions around a guard, and from rings.

What lies left and right of a pixel says where edges, roads and roofs go on; rings alone cannot. The boxes go
through a bottleneck, the rings through a linear path; all are 1x1 convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models import Output, ring
from satae.models.ring import bottleneck
from satae.nn.surroundings import odd, rings, sectors

SUITS = {
    # one scale for all bands and weak whitening, so that strong bands keep their weight
    "input": {"space": "whitened", "scale": "common", "ridge": 10.0, "components": 16},
    # without the worst 10 % of a batch, not 3 %: .723 to .764 of average precision
    # on hyperspectral scenes (docs/log.md)
    "objective": {"terms": {"mse": 1.0}, "trim": 0.9, "warm": 0.2},
    "score": ["whitened"],
    "train": {"epochs": 8, "warmup": 0.3, "learning_rate": 3e-3, "optimizer": "adamw", "weight_decay": 1e-2},
    "augment": {"flip": False, "turn": False},
}


@dataclass(frozen=True)
class Params(ring.Params):
    """The settings of ring, and `leading`: channels that are seen by direction, the first ones."""

    # whitened channels come by falling variance, so the first ones hold most of what can be seen of a structure
    leading: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.leading < 1:
            raise ValueError(f"leading {self.leading} is not positive")


class DirectionalAutoencoder(nn.Module):
    """Boxes in eight directions at two distances -> code -> pixel (N, C, H, W), beside a linear path of rings."""

    stride = 1

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        self.sides, self.code_size = params.sides(), params.code
        self.leading = min(params.leading, channels)
        # boxes as wide as the guard that touch it, and about twice as wide ones twice as far away
        near = odd(params.target_px)
        self.boxes = [(near, near), (2 * near - 1, 2 * near - 1)]  # side, distance of the centre
        # two boxes of one and the same pixel, with a target of one
        if near == 1:
            self.boxes = [(1, 1), (3, 3)]
        # pixels that are read to each side, at the most
        self.context = max(self.sides[-1][1] // 2, *(far + side // 2 for side, far in self.boxes))
        self.linear = nn.Conv2d(channels * len(self.sides), channels, 1)
        # eight directions of each box
        seen = self.leading * 8 * len(self.boxes)
        self.encoder, self.decoder = bottleneck(seen, params.hidden, params.code, channels)

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        return self.predict(x, self.surroundings(x, valid))

    def surroundings(self, x: Tensor, valid: Tensor) -> Tensor:
        """The means of rings, then of boxes, around each pixel: (N, 3 C + 16 leading, H, W)."""
        # three rings of all channels, (N, C, H, W) each
        around = rings(x, valid, self.sides)
        # boxes of the leading channels alone: eight directions at two distances of all would be 16 C numbers
        first = x[:, : self.leading]
        otherwise = around[1][:, : self.leading]
        seen = [sectors(first, valid, side, far, otherwise) for side, far in self.boxes]
        return torch.cat([*around, *seen], dim=1)

    def predict(self, x: Tensor, seen: Tensor) -> Output:
        """The pixel, from its surroundings alone."""
        # (N, 3 C, H, W) for the linear path, (N, 16 leading, H, W) for the bottleneck
        # what it predicts from is fixed, so both paths are 1 x 1 convolutions: nothing looks past the guard
        around, boxes = seen.tensor_split([self.linear.in_channels], dim=1)
        # (N, code, H, W); what directions add is on top of what rings say by themselves
        code = self.encoder(boxes)
        return Output(self.linear(around) + self.decoder(code), code)


def build(channels: int, params: Params) -> DirectionalAutoencoder:
    """The architecture for `channels` input channels."""
    return DirectionalAutoencoder(channels, params)
