"""The negative log density of the input a channel is lowered, for models that predict a distribution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from satae.errors import ConfigError
from satae.models import Output
from satae.objectives import Batch, Term

NEEDS = ("surprise",)


@dataclass(frozen=True)
class Params:
    """This loss has no settings."""


def error(out: Output, batch: Batch) -> Tensor:
    """The negative log density of each pixel (N, 1, H, W); ConfigError where the architecture predicts none."""
    if out.surprise is None:
        raise ConfigError("objective = 'surprise': the architecture predicts no distribution; density does")
    return out.surprise.float() / batch.x.shape[1]


def build(params: Params, code_size: int) -> Term:
    """The term as a function of output and batch."""
    return error
