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

# whitened, so that the squared length of a residual is its Mahalanobis distance
SUITS = {"input": {"space": "whitened", "ridge": 1e-3, "components": 32}, "score": ["whitened"]}


@dataclass(frozen=True)
class Params:
    """The settings of annulus.

    `rings`: inner-outer sides in pixels, odd, such as '9-17' or '5-9,9-17', or 'auto': one whose guard is
    twice `target_px` wide. `combine`: which ring counts, 'min': the one that is nearest to the pixel, or 'mean':
    all of them and the sample's mean, by the mean logarithm of the distances.
    """

    rings: str = "auto"
    combine: Literal["min", "mean"] = "min"
    target_px: float = 5.0

    def sides(self) -> list[Ring]:
        """The rings as numbers."""
        if self.rings == "auto":
            # 9-17 for a target of 5, so that a target is out of its ring even where the pixel lies at one end of it
            # 1-3 for a target of one pixel: a ring needs an outer side that is larger
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
        # half of the widest ring is read to each side
        self.context = max(outer for _, outer in self.sides) // 2

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        # a list of (N, C, H, W), a ring each; all of them together are the code, (N, C rings, H, W)
        around = rings(x, valid, self.sides)
        if self.combine == "mean":
            return Output(x - self._mean_residual(x, around), torch.cat(around, dim=1))
        # ring by ring, the one nearest to the pixel (N, 1, H, W) takes the place of the best so far
        # what is compared is the squared distance in whitened space, as the score head `whitened` takes it
        best = around[0]
        for other in around[1:]:
            closer = ((x - other) ** 2).sum(1, keepdim=True) < ((x - best) ** 2).sum(1, keepdim=True)
            best = torch.where(closer, other, best)
        # rings that were compared and not taken have been read all the same, which the measured reach must show
        return Output(spread_nan(best, *around), torch.cat(around, dim=1))

    def _mean_residual(self, x: Tensor, around: list[Tensor]) -> Tensor:
        """The mean residual, as long as the geometric mean of all distances says."""
        # the sample's mean, 0, counts as one more ring; squares are (N, 1, H, W)
        residuals = [x, *(x - mean for mean in around)]
        squares = [(r**2).sum(dim=1, keepdim=True).clamp(min=1e-12) for r in residuals]
        # a mean of logarithms: a squared distance of almost 0 to one ring outweighs large ones to the others
        geometric = torch.stack([torch.log(s) for s in squares]).mean(dim=0).exp()
        # the direction is that of the mean residual, the length the geometric mean: one near ring makes it short
        mean = torch.stack(residuals).mean(dim=0)
        length = (mean**2).sum(dim=1, keepdim=True).clamp(min=1e-12)
        return mean * torch.sqrt(geometric / length)


def build(channels: int, params: Params) -> Annulus:
    """The architecture for `channels` input channels."""
    return Annulus(channels, params)
