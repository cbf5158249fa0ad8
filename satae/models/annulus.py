"""Local RX compares each pixel with the mean of a ring around it, or of several; it learns nothing.

The inner side of a ring is a guard that keeps the target out of its own background, as in local RX
(Molero et al. 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from satae.models import Output
from satae.nn.surroundings import WIDEST, Ring, odd, ring_sides, rings, spread_nan

SUITS = {"input": {"space": "whitened", "ridge": 1e-3, "components": 32}, "score": ["whitened"]}


@dataclass(frozen=True)
class Params:
    """`rings`: inner-outer sides in pixels, odd, such as '9-17' or '5-9,9-17', or 'auto': one whose guard is
    twice `target_px` wide. `combine`: which ring counts, 'min': the one that is nearest to the pixel, or 'mean':
    all of them and the sample's mean, by the mean logarithm of the distances."""

    rings: str = "auto"
    combine: Literal["min", "mean"] = "min"
    target_px: float = 5.0

    def sides(self) -> list[Ring]:
        """The rings as numbers."""
        if self.rings == "auto":
            guard = odd(2 * self.target_px - 1)
            return [(guard, max(guard + 2, 2 * guard - 1))]
        return ring_sides(self.rings)

    def __post_init__(self) -> None:
        for inner, outer in self.sides():
            if not outer <= WIDEST:
                raise ValueError(f"a ring of {inner}-{outer} pixels is wider than {WIDEST}")


class Annulus(nn.Module):
    """The reconstruction is the mean of the ring that counts."""

    stride = 1

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        self.sides, self.combine = params.sides(), params.combine
        self.code_size = channels * len(self.sides)
        self.context = max(outer for _, outer in self.sides) // 2

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        around = rings(x, valid, self.sides)
        if self.combine == "mean":
            return Output(x - self._mean_residual(x, around), torch.cat(around, dim=1))
        # ring by ring, the one nearest to the pixel (N, 1, H, W) takes the place of the best so far
        best = around[0]
        for other in around[1:]:
            closer = ((x - other) ** 2).sum(1, keepdim=True) < ((x - best) ** 2).sum(1, keepdim=True)
            best = torch.where(closer, other, best)
        return Output(spread_nan(best, *around), torch.cat(around, dim=1))

    def _mean_residual(self, x: Tensor, around: list[Tensor]) -> Tensor:
        """The mean residual, as long as the geometric mean of all distances says."""
        # the sample's mean, 0, counts as one more ring; squares are (N, 1, H, W)
        residuals = [x, *(x - mean for mean in around)]
        squares = [(r**2).sum(dim=1, keepdim=True).clamp(min=1e-12) for r in residuals]
        geometric = torch.stack([torch.log(s) for s in squares]).mean(dim=0).exp()
        # the direction is that of the mean residual, the length the geometric mean: one near ring makes it short
        mean = torch.stack(residuals).mean(dim=0)
        length = (mean**2).sum(dim=1, keepdim=True).clamp(min=1e-12)
        return mean * torch.sqrt(geometric / length)


def build(channels: int, params: Params) -> Annulus:
    """The architecture for `channels` input channels."""
    return Annulus(channels, params)
