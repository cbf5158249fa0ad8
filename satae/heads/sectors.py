"""The distance of a pixel from the boxes around that are most like it counts; nothing is learned.

Boxes in eight directions at three distances; the distance to the `nearest`-th is small on an edge, a road or a
roof, which go on in some direction, and large on what stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.heads import ToBands, View, apportion
from satae.nn.normalize import Normalizer
from satae.nn.surroundings import odd, rings, sectors, spread_nan


@dataclass(frozen=True)
class Params:
    """The settings of sectors.

    `target_px`: size of the target that the boxes surround; `nearest`: which box counts.
    """

    target_px: float = 5.0
    nearest: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.nearest <= 24:
            raise ValueError(f"nearest {self.nearest} is not between 1 and 24")
        if not 1 <= self.target_px <= 31:
            raise ValueError(f"target_px {self.target_px} is not between 1 and 31")

    def boxes(self) -> list[tuple[int, int]]:
        """(side, distance of the centre) in pixels: 3 at 4, 5 at 7 and 9 at 12 around a target of 5."""
        # as wide apart as the target is, so that the nearest box always begins just outside of it
        scale = self.target_px / 5
        return [(odd(side * scale), max(1, round(far * scale))) for side, far in ((3, 4), (5, 7), (9, 12))]


class Sectors(nn.Module):
    """Squared distance to the box that counts, in the space of the autoencoder, as `whitened` measures it."""

    def __init__(self, normalizer: Normalizer, params: Params) -> None:
        super().__init__()
        self.params, self.to_bands = params, ToBands(normalizer)

    def forward(self, view: View) -> Tensor:
        boxes = self.params.boxes()
        # boxes rise, so the last reaches furthest
        far, side = boxes[-1][1], boxes[-1][0]
        # the mean of the square that holds all boxes (N, C, H, W) stands in where none of a direction is valid
        around = rings(view.x, view.valid, [(1, 2 * (far + side // 2) + 1)])[0]
        # one list of all three distances: a road may go on beside a car that hides the box next to it
        squares = torch.cat([self._squares(view, *box, around) for box in boxes], dim=1)  # (N, 24, H, W)
        # not the nearest: one like box is chance, three are a road
        # (N, 1, H, W)
        nearest = torch.topk(squares, self.params.nearest, dim=1, largest=False).values[:, -1:]
        # all of the 24 were compared, whichever counts: the measured reach must show that
        return apportion(spread_nan(nearest, squares), self.to_bands(view.x - around) ** 2)

    def _squares(self, view: View, side: int, far: int, around: Tensor) -> Tensor:
        """Squared distances (N, 8, H, W) to the boxes in the eight directions."""
        # (N, 8 K, H, W) -> (N, 8, K, H, W), direction by direction
        means = sectors(view.x, view.valid, side, far, around).unflatten(1, (8, -1))
        # (N, 8, H, W): over all channels of x, as the head `whitened` measures residuals
        out: Tensor = ((view.x[:, None] - means) ** 2).sum(dim=2)
        return out


def build(normalizer: Normalizer, params: Params) -> Sectors:
    """The head for a normaliser's bands."""
    return Sectors(normalizer, params)
