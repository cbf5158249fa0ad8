"""The binary cross-entropy of inputs and outputs in [0, 1] is lowered, less the entropy of the input.

What is taken off does not depend on the output: gradients are those of the plain cross-entropy, and a perfect
reconstruction costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from satae.errors import ConfigError
from satae.models import Output
from satae.objectives import Batch, Term

LEAST = 1e-6  # of a probability, so that its logarithm is finite


@dataclass(frozen=True)
class Params:
    """This loss has no settings."""


def error(out: Output, batch: Batch) -> Tensor:
    """The error of each pixel (N, 1, H, W); ConfigError where input or output leave [0, 1]."""
    x, rebuilt = batch.x, out.reconstruction.float()
    if batch.entered is None:  # not in every step of the training: it waits for the device
        good = (batch.valid > 0.5).expand_as(x)
        _check(x[good], "the input", "set input.space=unit")
        _check(rebuilt[good], "the reconstruction", "give the architecture a sigmoid output")
    known = x.clamp(LEAST, 1 - LEAST)
    chance = rebuilt.clamp(LEAST, 1 - LEAST)
    apart = known * (known.log() - chance.log())
    apart = apart + (1 - known) * (torch.log1p(-known) - torch.log1p(-chance))
    return apart.mean(dim=1, keepdim=True)


def _check(values: Tensor, what: str, remedy: str) -> None:
    if values.numel() and not (values.min() >= 0 and values.max() <= 1):
        raise ConfigError(
            f"objective = 'bce': {what} goes from {float(values.min()):.3g} to {float(values.max()):.3g}, not "
            f"within 0 to 1; {remedy}"
        )


def build(params: Params, code_size: int) -> Term:
    """The term as a function of output and batch."""
    return error
