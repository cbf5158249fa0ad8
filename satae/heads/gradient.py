"""The squared difference of the gradients of input and reconstruction counts, each band in its own deviation.

Edges that are missing, moved or made up; a wrong brightness that is smooth costs nothing (cf. the gradient
difference loss of Mathieu et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.heads import ToBands, View
from satae.nn.normalize import Normalizer


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
        out = torch.zeros_like(residual)
        for axis in (2, 3):
            one, other = _neighbours(residual, axis)
            # where both are valid; by `where`, for what lies at invalid pixels has no meaning
            both = torch.mul(*_neighbours(view.valid, axis)) > 0.5
            steps = torch.where(both, (one - other) ** 2, torch.zeros_like(one))
            # a step counts for the pixel before it and for the one behind it, and there is none across the edges
            rim = [0, 0, 1, 1] if axis == 2 else [1, 1]
            out = out + torch.add(*_neighbours(F.pad(steps, rim), axis))
        # over four even where fewer are valid: fewer neighbours are less evidence
        return out / (4 * self.bands)


def _neighbours(z: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """All but the last row (or column, for axis 3), and all but the first."""
    return (z[:, :, :-1], z[:, :, 1:]) if axis == 2 else (z[..., :-1], z[..., 1:])


def build(normalizer: Normalizer, params: Params) -> GradientSquare:
    """The head for a normaliser's bands."""
    return GradientSquare(normalizer)
