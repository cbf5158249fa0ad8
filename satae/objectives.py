"""Losses: terms that give an error a pixel, and their weighted mean over the valid pixels of a batch.

A term takes what the autoencoder gave (`models.Output`) for an input x (N, C, H, W), and gives (N, 1, H, W). A
new term is a function here and a line in OBJECTIVES.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from satae.config import ObjectiveSettings
from satae.errors import ConfigError
from satae.models import Output

Term = Callable[[Output, Tensor], Tensor]
Loss = Callable[[Output, Tensor, Tensor, float], Tensor]


def mse(out: Output, x: Tensor) -> Tensor:
    """Mean squared error over all channels."""
    return ((out.reconstruction.float() - x) ** 2).mean(dim=1, keepdim=True)


def mae(out: Output, x: Tensor) -> Tensor:
    """Mean absolute error over all channels."""
    return (out.reconstruction.float() - x).abs().mean(dim=1, keepdim=True)


def surprise(out: Output, x: Tensor) -> Tensor:
    """Negative log density of the input a channel, for models that predict a distribution."""
    if out.surprise is None:
        raise ConfigError("objective = 'surprise': the architecture predicts no distribution; density does")
    return out.surprise.float() / x.shape[1]


OBJECTIVES: dict[str, Term] = {"mse": mse, "mae": mae, "surprise": surprise}


class Objective:
    """The loss of a recipe: terms by weight, over all valid pixels or without the worst of them.

    Trimming leaves out pixels whose error exceeds the quantile `trim` of the batch, once the share `warm` of
    the training is over: anomalies in the training sample are then not learned (least trimmed squares,
    Rousseeuw 1984).
    """

    def __init__(self, settings: ObjectiveSettings) -> None:
        for name in settings.terms:
            if name not in OBJECTIVES:
                raise ConfigError(
                    f"objective = {name!r}: there is no such loss; there are {', '.join(OBJECTIVES)}"
                )
        self.settings = settings

    def __call__(self, out: Output, x: Tensor, valid: Tensor, progress: float = 1.0) -> Tensor:
        """The loss, a scalar, 0 where no pixel is valid; `progress` is the share of the training behind."""
        good = valid > 0.5
        error = torch.zeros_like(valid)
        for name, weight in self.settings.terms.items():
            error = error + weight * torch.where(good, OBJECTIVES[name](out, x), 0.0)
        if self.settings.trim < 1 and progress > self.settings.warm and good.any():
            limit = _quantile(error.detach()[good], self.settings.trim)
            good = good & (error.detach() <= limit)
        return (error * good).sum() / good.sum().clamp(min=1)


def _quantile(values: Tensor, share: float) -> Tensor:
    """The smallest value that at least `share` of the values do not exceed."""
    wanted = math.ceil(round(share * len(values), 6))  # 0.07 * 100 is a little more than 7
    return values.kthvalue(max(1, wanted)).values
