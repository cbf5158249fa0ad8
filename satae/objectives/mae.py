"""The mean absolute error over all channels is lowered."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from satae.models import Output
from satae.objectives import Batch, Term


@dataclass(frozen=True)
class Params:
    """This loss has no settings."""


def error(out: Output, batch: Batch) -> Tensor:
    """The error of each pixel (N, 1, H, W)."""
    return (out.reconstruction.float() - batch.x).abs().mean(dim=1, keepdim=True)


def build(params: Params, code_size: int) -> Term:
    """The term as a function of output and batch."""
    return error
