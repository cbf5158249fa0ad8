"""The distance of a pixel from the boxes around that are most like it counts; nothing is learned.

Boxes in eight directions at three distances; the distance to the `nearest`-th is small on an edge, a road or a
roof, which go on in some direction, and large on what stands alone. It is small inside of an object that holds the
nearer boxes, too: with `large` the eight farthest ones have a say of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.heads import ToBands, View, apportion
from satae.nn.normalize import Normalizer
from satae.nn.surroundings import EIGHT, odd, rings, shift, total

FAR = 1e15  # of a mean over no pixel from any, in the space of the autoencoder; its square is a number, too


@dataclass(frozen=True)
class Params:
    """The settings of sectors.

    `target_px`: size of the target that the boxes surround; `nearest`: which box counts; `large`: the share of the
    squared distance from the eight farthest boxes alone that counts at the least, 0 for nothing.
    """

    target_px: float = 5.0
    nearest: int = 3
    large: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.nearest <= 24:
            raise ValueError(f"nearest {self.nearest} is not between 1 and 24")
        if not 1 <= self.target_px <= 31:
            raise ValueError(f"target_px {self.target_px} is not between 1 and 31")
        if not 0 <= self.large <= 1:
            raise ValueError(f"large {self.large} is not between 0 and 1")

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
        near, far = boxes[:-1], boxes[-1]
        # the least distances from the eight farthest boxes, then from all of them: rising, (N, 1, H, W) each
        # not the nearest: one like box is chance, three are a road
        outer = smallest(squared_distances(view.x, view.valid, *far), self.params.nearest)
        # one list of all three distances: a road may go on beside a car that hides the box next to it
        inner = [square for box in near for square in squared_distances(view.x, view.valid, *box)]
        error = _known(smallest(inner, self.params.nearest, outer))
        if self.params.large:
            # a small share, for what lies further away differs more, whatever stands between
            error = torch.maximum(error, self.params.large * _known(outer))
        # bands share it as they differ from the mean of the square that holds all boxes; the last reaches furthest
        side, distance = far
        around = rings(view.x, view.valid, [(1, 2 * (distance + side // 2) + 1)])[0]
        return apportion(error, self.to_bands(view.x - around) ** 2)


def squared_distances(x: Tensor, valid: Tensor, side: int, far: int) -> list[Tensor]:
    """Squared distances (N, 1, H, W) of each pixel of x (N, K, H, W) from the means of the boxes in eight directions.

    More than FAR where a box holds no valid pixel, or has its centre beyond the image.
    """
    known = torch.where(valid > 0.5, x, torch.zeros_like(x))
    count = total(valid, side)
    # one mean a pixel, of which each direction takes that `far` away; where there is none it is far from everything
    none = torch.where(count > 0.5, torch.zeros_like(count), torch.full_like(count, FAR))
    mean = total(known, side) / count.clamp(min=1) + none
    # one direction at a time: K planes stay in the cache, 8 K do not
    return [
        ((x - there) ** 2).sum(dim=1, keepdim=True)
        for there in shift(mean, [(row * far, col * far) for row, col in EIGHT], beyond=FAR)
    ]


def smallest(planes: list[Tensor], nearest: int, known: Sequence[Tensor] = ()) -> list[Tensor]:
    """The `nearest` smallest of planes at each place, rising, `known` ones of other planes among them; all, where
    there are fewer. NaN where one of the planes is, for all are compared."""
    # insertion into a sorted list, place by place: a few minima and maxima are many times as fast as a top-k
    least = [*known]
    for plane in planes:
        for i, other in enumerate(least):
            least[i], plane = torch.minimum(other, plane), torch.maximum(other, plane)
        least = [*least, plane][:nearest]
    return least


def _known(least: list[Tensor]) -> Tensor:
    """The largest of the smallest, 0 where so many boxes are not there: what has nothing around is not out of place."""
    return torch.where(least[-1] > FAR, torch.zeros_like(least[-1]), least[-1])


def build(normalizer: Normalizer, params: Params) -> Sectors:
    """The head for a normaliser's bands."""
    return Sectors(normalizer, params)
