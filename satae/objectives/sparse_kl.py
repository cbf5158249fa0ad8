"""Penalty: the activity of each number of the code is drawn to a small target (Ng 2011).

The activity of a number is the mean of tanh |z| over the batch: 0 where it is always 0, near 1 where it is always
large. The divergence is that of two Bernoulli distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from satae.models import Output
from satae.objectives import Batch, Term, code_of, in_cells

LEAST = 1e-6  # of an activity, so that its logarithm is finite

NEEDS = ("code",)


@dataclass(frozen=True)
class Params:
    """The settings of sparse_kl.

    `target`: the activity that is aimed at.
    """

    target: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ValueError(f"target {self.target} is not between 0 and 1")


def build(params: Params, code_size: int) -> Term:
    """The mean over the numbers of the code."""
    rho = params.target

    def penalty(out: Output, batch: Batch) -> Tensor:
        activity = in_cells(code_of(out, "sparse_kl").abs().tanh(), batch.valid).clamp(LEAST, 1 - LEAST)
        # the two terms of KL(rho || activity), a Bernoulli each
        on, off = rho * (rho / activity).log(), (1 - rho) * ((1 - rho) / (1 - activity)).log()
        return (on + off).mean() * (batch.valid > 0.5).any()

    return penalty
