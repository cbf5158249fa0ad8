"""The squared difference of the gradients of input and reconstruction counts, each band in its own deviation.

Edges that are missing, moved or made up; a wrong brightness that is smooth costs nothing (cf. the gradient
difference loss of Mathieu et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.heads import ToBands, View
from satae.nn.normalize import Normalizer
from satae.nn.surroundings import shift

NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True)
class Params:
    """This score has no settings."""


class GradientSquare(nn.Module):
    """Band b contributes the mean over four neighbours of (r_b - r_b(neighbour))^2 / B.

    A neighbour that is invalid, or beyond the image, counts as one without a difference.
    """

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.to_bands = ToBands(normalizer)
        self.bands = len(normalizer.spread)

    def forward(self, view: View) -> Tensor:
        # (N, B, H, W): the difference of two gradients is the gradient of the difference, so it is taken once
        residual = self.to_bands(view.x - view.reconstruction)
        both = torch.cat([residual, view.valid], dim=1)[:, None]  # (N, 1, B + 1, H, W)
        # the mask is moved along as one more band: (N, 4, B, H, W) and (N, 4, 1, H, W)
        there, good = torch.cat(shift(both, NEIGHBOURS), dim=1).split([self.bands, 1], dim=2)
        steps = (residual[:, None] - there) ** 2  # (N, 4, B, H, W)
        # before the sum and by `where`: what lies at invalid pixels has no meaning
        steps = torch.where(good > 0.5, steps, torch.zeros_like(steps))
        # over four even where fewer are valid: fewer neighbours are less evidence
        return steps.sum(dim=1) / (len(NEIGHBOURS) * self.bands)


def build(normalizer: Normalizer, params: Params) -> GradientSquare:
    """The head for a normaliser's bands."""
    return GradientSquare(normalizer)
