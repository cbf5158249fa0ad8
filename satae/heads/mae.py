"""The mean absolute error over the bands counts, in standard deviations of each band."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from satae.heads import ToBands, View
from satae.nn.normalize import Normalizer


@dataclass(frozen=True)
class Params:
    """This score has no settings."""


class MeanAbsolute(nn.Module):
    """Band b contributes |r_b| / B."""

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.to_bands = ToBands(normalizer)
        self.bands = len(normalizer.spread)

    def forward(self, view: View) -> Tensor:
        # (N, K, H, W) -> (N, B, H, W), in deviations of each band: a bright band counts no more than a dark one
        out: Tensor = self.to_bands(view.x - view.reconstruction).abs() / self.bands
        return out


def build(normalizer: Normalizer, params: Params) -> MeanAbsolute:
    """The head for a normaliser's bands."""
    return MeanAbsolute(normalizer)
