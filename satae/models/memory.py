"""A k-nearest-neighbour detector compares each pixel with a bank of pixels that were seen; it learns nothing.

The k-th nearest of the bank is its reconstruction (Ramaswamy et al. 2000). Weak whitening suits it: strong bands keep
their weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models import Output, Sample
from satae.nn.bank import Bank, check, random_share, vectors_at
from satae.nn.surroundings import ring_sides, rings

SUITS = {
    # one scale for all bands: .621 to .649 of average precision on hyperspectral scenes (docs/log.md)
    "input": {"space": "whitened", "scale": "common", "ridge": 10.0, "components": 32},
    "score": ["whitened"],
}


@dataclass(frozen=True)
class Params:
    """The settings of memory.

    `size` of the bank, `nearest`: which neighbour counts, `coreset`: a greedy cover in place of pixels
    drawn at random by `seed`.
    `context`: weight of the mean of the ring `ring` (as in annulus) beside the pixel, 0 for pixels alone.
    """

    size: int = 1000
    nearest: int = 10
    coreset: bool = False
    context: float = 0.0
    ring: str = "9-17"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.size, self.nearest, self.ring)
        if not 0 <= self.context < float("inf"):
            raise ValueError(f"context {self.context} is not a weight")


class Memory(nn.Module):
    """The reconstruction is the k-th nearest pixel of the bank, or as far from x as it and its context are."""

    stride = 1

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        self.params, self.sides = params, ring_sides(params.ring)
        # pixels alone need nothing around them
        self.context = self.sides[0][1] // 2 if params.context else 0
        self.code_size = channels
        self.bank = Bank(params.size, channels * (2 if params.context else 1), params.nearest)
        self.cells = self.bank.cells

    def features(self, x: Tensor, valid: Tensor) -> Tensor:
        """What of each pixel is compared with the bank: the pixel, and its surroundings where they have a weight."""
        if not self.params.context:
            return x
        # (N, 2 C, H, W): the weight says how much a difference of surroundings counts beside one of the pixel
        return torch.cat([x, self.params.context * rings(x, valid, self.sides)[0]], dim=1)

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        # squared distance (N, 1, H, W) to the k-th nearest, and its number in the bank (N, H, W)
        distance, index = self.bank(self.features(x, valid))
        # the remembered pixel alone, where context was remembered with it: (N, H, W, C) -> (N, C, H, W)
        nearest = self.bank.vectors[:, : x.shape[1]][index].permute(0, 3, 1, 2)
        residual = x - nearest
        # squared length (N, 1, H, W); never 0, for it is divided by
        own = (residual**2).sum(dim=1, keepdim=True).clamp(min=1e-12)
        # along the residual, but as long as the distance with its context is
        return Output(x - residual * torch.sqrt(distance / own), x)

    def fit(self, pixels: Sample) -> None:
        """Choose the bank from the chosen pixels."""
        # (n, D) a tile, one at a time: the sample never lies in memory as a whole
        parts = (vectors_at(self.features(x, valid), chosen).cpu() for x, valid, chosen in pixels())
        self.bank.fit(random_share(parts, self.params.seed), self.params.seed, coreset=self.params.coreset)


def build(channels: int, params: Params) -> Memory:
    """The architecture for `channels` input channels."""
    return Memory(channels, params)
