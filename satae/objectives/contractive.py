"""Penalty: the squared Frobenius norm of the encoder's Jacobian, estimated, is kept small (Rifai et al. 2011).

For v with independent signs, E |v^T J|^2 = |J|_F^2 (Hutchinson 1990): one vector-Jacobian product a probe in place
of one for every number of the code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from satae.errors import ConfigError
from satae.models import Output
from satae.objectives import Batch, Term, code_of, shares

WHOLE = True
DIFFERENTIATES = True

NEEDS = ("code",)


@dataclass(frozen=True)
class Params:
    """The settings of contractive.

    `probes`: vectors drawn a step; more make the estimate less noisy.
    """

    probes: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.probes <= 64:
            raise ValueError(f"probes {self.probes} is not between 1 and 64")


def build(params: Params, code_size: int) -> Term:
    """The norm over the cells of the code that see valid pixels: for a dense code, the norm a tile. It is 0 on
    held-out tiles, where nothing is differentiated."""

    def penalty(out: Output, batch: Batch) -> Tensor:
        code = code_of(out, "contractive")
        if batch.entered is None:
            return code.new_zeros(())
        seen = (shares(batch.valid, code) > 0).float()
        total = code.new_zeros(())
        for _ in range(params.probes):
            # Rademacher signs: of all such v they have the least variance
            signs = torch.randint(0, 2, code.shape, device=code.device) * 2.0 - 1.0
            # v' J, the shape of the input; with a graph of its own, for the penalty is differentiated in turn
            (slope,) = torch.autograd.grad(
                code, batch.entered, signs * seen, create_graph=True, allow_unused=True
            )
            if slope is None:
                raise ConfigError("objective = 'contractive': the code does not follow from the input")
            total = total + ((slope.float() * batch.valid) ** 2).sum()
        return total / params.probes / seen.sum().clamp(min=1)

    return penalty
