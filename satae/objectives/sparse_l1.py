"""Penalty: the mean absolute value of the code is kept small, which leaves few of its numbers away from 0."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from satae.models import Output
from satae.objectives import Batch, Term, code_of, in_cells

NEEDS = ("code",)


@dataclass(frozen=True)
class Params:
    """This loss has no settings."""


def penalty(out: Output, batch: Batch) -> Tensor:
    """The mean over the numbers of the code, in cells with valid pixels."""
    return in_cells(code_of(out, "sparse_l1").abs(), batch.valid).mean()


def build(params: Params, code_size: int) -> Term:
    """The term as a function of output and batch."""
    return penalty
