"""Penalty: the code of a variational model is drawn to a standard normal (Kingma and Welling 2014).

In nats per number of the input: with `mse`, a weight of 2 s^2 gives the evidence bound of a decoder whose noise
has the variance s^2.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from satae.errors import ConfigError
from satae.models import Output
from satae.objectives import Batch, Term, code_of, in_cells

NEEDS = ("code", "log_variance")


@dataclass(frozen=True)
class Params:
    """The settings of kl.

    `warm`: share of the training over which the weight rises from 0 (Bowman et al. 2016). `free_bits`: nats a
    number of the code that cost no more than they do anyway (Kingma et al. 2016).
    """

    warm: float = 0.1
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warm <= 1:
            raise ValueError(f"warm {self.warm} is not between 0 and 1")
        if not self.free_bits >= 0:
            raise ValueError(f"free_bits {self.free_bits} is negative")


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, e^log_variance) || N(0, 1)) of each number, in nats."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def build(params: Params, code_size: int) -> Term:
    """The sum over the numbers of the code, over the numbers of the input that they stand for."""

    def penalty(out: Output, batch: Batch) -> Tensor:
        mean = code_of(out, "kl")
        if out.log_variance is None:
            raise ConfigError("objective = 'kl': the architecture has no log-variance; a variational one has")
        # (K): nats of each number, a mean over batch and cells
        each = in_cells(divergence(mean, out.log_variance.float()), batch.valid)
        any_valid = (batch.valid > 0.5).any()
        # cells of the code over numbers of the input: the bound is a sum over both, the loss a mean over pixels
        cells = mean[0, 0].numel() / batch.x[0].numel()
        rising = min(1.0, batch.progress / params.warm) if params.warm else 1.0
        return rising * cells * each.clamp(min=params.free_bits).sum() * any_valid

    return penalty
