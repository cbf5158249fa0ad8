"""The mean squared error over the bands counts, in standard deviations of each band."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from satae.heads import ToBands, View
from satae.nn.normalize import Normalizer


@dataclass(frozen=True)
class Params:
    """This score has no settings."""


class MeanSquare(nn.Module):
    """Band b contributes r_b^2 / B."""

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.to_bands = ToBands(normalizer)
        self.bands = len(normalizer.spread)

    def forward(self, view: View) -> Tensor:
        # (N, K, H, W) -> (N, B, H, W), in deviations of each band; squares, so one band far off outweighs several near
        out: Tensor = self.to_bands(view.x - view.reconstruction) ** 2 / self.bands
        return out


def build(normalizer: Normalizer, params: Params) -> MeanSquare:
    """The head for a normaliser's bands."""
    return MeanSquare(normalizer)
