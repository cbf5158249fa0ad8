"""A pixel's negative log likelihood given its surroundings counts, for models of its distribution (density)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from satae.errors import ConfigError
from satae.heads import ToBands, View, apportion
from satae.nn.normalize import Normalizer


@dataclass(frozen=True)
class Params:
    """This score has no settings."""


class Surprise(nn.Module):
    """The model's own negative log density, shared out among the bands by their squared residuals."""

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.to_bands = ToBands(normalizer)

    def forward(self, view: View) -> Tensor:
        # a distribution of its own is what only some architectures predict
        if view.surprise is None:
            raise ConfigError("score = 'surprise': the architecture predicts no distribution; density does")
        # the density is one number a pixel; which bands it is about is read from the residual of the mean
        return apportion(view.surprise, self.to_bands(view.x - view.reconstruction) ** 2)


def build(normalizer: Normalizer, params: Params) -> Surprise:
    """The head for a normaliser's bands."""
    return Surprise(normalizer)
