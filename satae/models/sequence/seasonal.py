"""Harmonics of the year and a trend, fitted to each pixel by ridge least squares in the graph itself.

What is expected of a date is the fit to the others: of a linear fit that is known without fitting again, for the
residual of a date that is left out is r / (1 - w h), h its leverage. `satae series` computes the like in numpy, for a
place at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models.sequence import Expectation

YEAR = 365.25  # days
RIDGE = (1e-3, 50.0, 0.5, 0.5, 2.0, 2.0)  # in observations, as `satae.series.seasonal` has them
NEEDED = (1, 10, 10, 10, 18, 18)  # valid dates from which on a pixel has each term
ABSENT = 1e6
LEAST = 0.2  # share of a residual that a fit is believed to have left


@dataclass(frozen=True)
class Params:
    """The settings of seasonal.

    `rounds` of weights, by which dates far from the fit count less; `huber` deviations from which on they do.
    """

    rounds: int = 1
    huber: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.rounds <= 5:
            raise ValueError(f"rounds {self.rounds} is not 0 to 5")


class Seasonal(nn.Module):
    """Sequences to what is expected of each date; nothing is learned, so all that it needs is in the sequence."""

    ridge: Tensor
    needed: Tensor
    identity: Tensor
    spread: Tensor

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        self.params = params
        self.register_buffer("ridge", torch.tensor(RIDGE)[None, :, None, None])
        self.register_buffer("needed", torch.tensor(NEEDED, dtype=torch.float32)[None, :, None, None])
        self.register_buffer("identity", torch.eye(len(RIDGE))[None, :, :, None, None])
        # DN of one deviation of each band, for weights: set by whoever trains
        self.register_buffer("spread", torch.ones(bands))

    def forward(self, sequence: Tensor, valid: Tensor, days: Tensor) -> Expectation:
        # (N, T) in years from the middle, and (N, T, K): the terms of each date
        t = (days - days.mean(dim=1, keepdim=True)) / YEAR
        turn = 2 * math.pi * t
        terms = torch.stack(
            [torch.ones_like(t), t, turn.cos(), turn.sin(), (2 * turn).cos(), (2 * turn).sin()], dim=2
        )
        # (N, T, K, K): products of terms, of which normal equations are weighted sums over dates
        products = terms.unsqueeze(3) * terms.unsqueeze(2)
        # (N, 1, B, H, W): DN from the mean of the pixel, so that float32 is enough
        count = valid.sum(dim=1, keepdim=True)
        middle = (sequence * valid).sum(dim=1, keepdim=True) / count.clamp(min=1)
        centred = (sequence - middle) * valid
        # (N, K, H, W): a term that too few dates support is held at 0
        few = count.squeeze(1) < self.needed
        penalty = torch.where(few, torch.full_like(self.ridge, ABSENT), self.ridge)
        diagonal = penalty.unsqueeze(2) * self.identity
        weight = valid
        for number in range(self.params.rounds + 1):
            normal = torch.einsum("ntkl,nthw->nklhw", products, weight.squeeze(2)) + diagonal
            right = torch.einsum("ntk,ntbhw->nkbhw", terms, centred * weight)
            inverse = self._inverse(normal)
            fitted = torch.einsum("nklhw,nlbhw->nkbhw", inverse, right)
            left = (centred - torch.einsum("ntk,nkbhw->ntbhw", terms, fitted)) * valid
            if number < self.params.rounds:
                weight = self._weight(left, valid, count)
        # (N, T, 1, H, W): how much each date has drawn the fit to itself
        drawn = torch.einsum("ntk,nklhw->ntlhw", terms, inverse)
        leverage = torch.einsum("ntl,ntlhw->nthw", terms, drawn).unsqueeze(2)
        apart = (1 - weight * leverage).clamp(min=LEAST)
        # left out, a valid date is further off by 1 / apart, and the variance of that is 1 / apart too
        mean = torch.einsum("ntk,nkbhw->ntbhw", terms, fitted) + middle
        others = mean - left / apart + left
        return Expectation(torch.where(valid > 0, others, mean), 1 / apart - 1)

    def _inverse(self, matrix: Tensor) -> Tensor:
        """Inverses of symmetric matrices (N, K, K, H, W) by Gauss and Jordan; the ridge makes pivots needless."""
        # (N, K, 2 K, H, W): beside the matrix the identity, which becomes the inverse
        joint = torch.cat([matrix, torch.zeros_like(matrix) + self.identity], dim=2)
        size = len(RIDGE)
        for k in range(size):
            row = joint[:, k : k + 1] / joint[:, k : k + 1, k : k + 1]
            # from every other row so much that its entry in column k is 0; row k itself is scaled to 1
            joint = joint - (joint[:, :, k : k + 1] - self.identity[:, :, k : k + 1]) * row
        return joint[:, :, size:]

    def _weight(self, left: Tensor, valid: Tensor, count: Tensor) -> Tensor:
        """Weights (N, T, 1, H, W): in deviations of the pixel itself, but not under half of what is usual."""
        square = ((left / self.spread[:, None, None]) ** 2).mean(dim=2, keepdim=True)
        own = square.sum(dim=1, keepdim=True) / count.clamp(min=1)
        far = square / own.clamp(min=0.5)
        return valid * (self.params.huber**2 / far.clamp(min=1e-6)).clamp(max=1.0)


def build(bands: int, params: Params) -> Seasonal:
    """The model for `bands` bands."""
    return Seasonal(bands, params)
