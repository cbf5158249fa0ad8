"""The squared difference of gradients is lowered: edges must be where they are in the input (Mathieu et al. 2016).

The gradient of a channel is the difference to the next pixel below and to the right, where both are valid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from satae.models import Output
from satae.objectives import Batch, Term

WHOLE = True


@dataclass(frozen=True)
class Params:
    """This loss has no settings."""


def error(out: Output, batch: Batch) -> Tensor:
    """The error of each pixel (N, 1, H, W), with its two differences; 0 where it has no valid neighbour."""
    apart = torch.where(batch.valid > 0.5, out.reconstruction.float() - batch.x, 0.0)
    total = torch.zeros_like(batch.valid)
    for dim, pad in ((2, (0, 0, 0, 1)), (3, (0, 1))):
        # (N, C, H - 1, W), then (N, C, H, W - 1): a difference of gradients is the gradient of the difference
        step = apart.diff(dim=dim) ** 2
        size = batch.valid.shape[dim] - 1
        both = batch.valid.narrow(dim, 0, size) * batch.valid.narrow(dim, 1, size)
        # back to H x W, with the pixel above or left of each step
        total = total + F.pad(step.mean(dim=1, keepdim=True) * both, pad)
    return total


def build(params: Params, code_size: int) -> Term:
    """The term as a function of output and batch."""
    return error
