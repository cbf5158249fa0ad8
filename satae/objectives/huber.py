"""The error is squared up to `delta` and linear beyond, so that large errors pull less (Huber 1964)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from satae.models import Output
from satae.objectives import Batch, Term


@dataclass(frozen=True)
class Params:
    """The settings of huber.

    `delta`: where the square ends, in units of x.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise ValueError(f"delta {self.delta} is not positive")


def build(params: Params, code_size: int) -> Term:
    """r^2 / 2 for |r| <= delta, delta (|r| - delta / 2) beyond; the mean over channels."""

    def error(out: Output, batch: Batch) -> Tensor:
        rebuilt = out.reconstruction.float()
        each = F.huber_loss(rebuilt, batch.x, reduction="none", delta=params.delta)
        return each.mean(dim=1, keepdim=True)

    return error
