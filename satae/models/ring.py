"""A blind-spot autoencoder predicts each pixel from the means of rings around it.

The pixel and its guard are never seen, so an anomaly that fits into the guard cannot be copied; blind spots are
those of Krull et al. (2019), the rings those of local RX. A linear path and a bottleneck, all 1x1 convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from satae.models import Output
from satae.nn.surroundings import Ring, odd, rings

SUITS = {
    "input": {"space": "whitened", "ridge": 1e-3, "components": 32},
    # the worst 3 % of a batch are left out once a fifth of the training is over: what they are is not to be learned
    "objective": {"terms": {"mse": 1.0}, "trim": 0.97, "warm": 0.2},
    "score": ["whitened"],
    "train": {"epochs": 8, "warmup": 0.3, "learning_rate": 3e-3},
    # a ring looks the same from all sides: a mirrored tile would be the same sample again
    "augment": {"flip": False, "turn": False},
}
LARGEST = 31  # pixels; its widest ring is eight times as wide


@dataclass(frozen=True)
class Params:
    """The settings of ring.

    `target_px`: side of the guard, and of the largest target that is hidden from its own prediction.
    `hidden`, `code`: channels of the layers and of the bottleneck.
    """

    target_px: float = 5.0
    hidden: int = 64
    code: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.target_px <= LARGEST:
            raise ValueError(f"target_px {self.target_px} is not between 1 and {LARGEST}")
        if not (1 <= self.hidden <= 4096 and 1 <= self.code <= 4096):
            raise ValueError(f"hidden {self.hidden} and code {self.code} are not between 1 and 4096")

    def sides(self) -> list[Ring]:
        """Three rings, each twice as wide as the one inside: 5-9, 9-17 and 17-33 around a target of 5."""
        # 2 e - 1 is odd again, and leaves a ring that is on each side as wide as half of the square inside
        edges = [odd(self.target_px)]
        for _ in range(3):
            edges.append(2 * edges[-1] - 1)
        # 2 * 1 - 1 is 1 again: with a target of one pixel the doubling starts at 3
        if edges[0] == 1:
            edges = [1, 3, 5, 9]
        return list(pairwise(edges))


def bottleneck(inputs: int, hidden: int, code: int, outputs: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder and decoder of two 1x1 convolutions each."""
    # (N, inputs, H, W) -> (N, hidden, H, W) -> (N, code, H, W) -> (N, hidden, H, W) -> (N, outputs, H, W)
    # leaky, for with few channels of a code one that is negative everywhere would never learn again
    act = nn.LeakyReLU(0.1)
    return (
        nn.Sequential(nn.Conv2d(inputs, hidden, 1), act, nn.Conv2d(hidden, code, 1), act),
        nn.Sequential(nn.Conv2d(code, hidden, 1), act, nn.Conv2d(hidden, outputs, 1)),
    )


class RingAutoencoder(nn.Module):
    """Means of rings (N, 3C, H, W) -> code -> pixel (N, C, H, W), beside a linear path."""

    stride = 1

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        self.sides, self.code_size = params.sides(), params.code
        # a tile is learned with what surrounds it, as far as its widest ring reaches
        self.context = self.sides[-1][1] // 2
        # 1 x 1 convolutions alone: a stack of wider ones would reach pixels whose rings hold this very pixel
        self.linear = nn.Conv2d(channels * len(self.sides), channels, 1)
        self.encoder, self.decoder = bottleneck(
            channels * len(self.sides), params.hidden, params.code, channels
        )

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        return self.predict(x, self.surroundings(x, valid))

    def surroundings(self, x: Tensor, valid: Tensor) -> Tensor:
        """The means of the rings around each pixel (N, 3 C, H, W)."""
        # (N, 3 C, H, W), the narrowest ring first; no weights in it, so a run computes it once a pixel
        return torch.cat(rings(x, valid, self.sides), dim=1)

    def predict(self, x: Tensor, seen: Tensor) -> Output:
        """The pixel, from its rings alone."""
        # the linear path has what rings say by themselves; the code (N, code, H, W) only adds what is not linear
        code = self.encoder(seen)
        return Output(self.linear(seen) + self.decoder(code), code)


def build(channels: int, params: Params) -> RingAutoencoder:
    """The architecture for `channels` input channels."""
    return RingAutoencoder(channels, params)
