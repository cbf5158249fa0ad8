"""Harmonics of the year and a trend, fitted to each pixel by ridge least squares in the graph itself.

What a date does to all of its ground is taken off (`nn.ground`), and the fit is made once more. What is expected of a
date is the fit to the others: of a linear fit that is known without fitting again, for the residual of a date that is
left out is r / (1 - w h), h its leverage. `satae series` computes the same in numpy, for a place at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models.sequence import Expectation
from satae.nn import ground

YEAR = 365.25  # days
RIDGE = (1e-3, 50.0, 0.5, 0.5, 2.0, 2.0)  # in observations, as `satae.series.seasonal` has them
NEEDED = (1, 10, 10, 10, 18, 18)  # valid dates from which on a pixel has each term
TREND = 1  # the term that is no part of a season
ABSENT = 1e6
LEAST = 0.2  # share of a residual that a fit is believed to have left
CALM = 0.3  # share of the usual square below which a pixel does not judge its own dates


@dataclass(frozen=True)
class Params:
    """The settings of seasonal.

    `rounds` of weights, by which dates further than `huber` deviations from the fit count less; `common`: whether what
    a date does to all ground is taken off.
    """

    rounds: int = 2
    huber: float = 2.0
    common: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rounds <= 5:
            raise ValueError(f"rounds {self.rounds} is not 0 to 5")


class Seasonal(nn.Module):
    """Sequences to what is expected of each date; nothing is learned.

    What a place shares is set by whoever knows it: `whitening` (B, B) of what a fit leaves, `centre` (B) in DN, and of
    what pixels are like the `middle` and `spread`; pixels with less than `fewest` valid dates do not tell what is
    common.
    """

    ridge: Tensor
    needed: Tensor
    identity: Tensor
    whitening: Tensor
    centre: Tensor
    middle: Tensor
    spread: Tensor
    fewest: Tensor

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        self.params = params
        self.register_buffer("ridge", torch.tensor(RIDGE)[None, :, None, None])
        self.register_buffer("needed", torch.tensor(NEEDED, dtype=torch.float32)[None, :, None, None])
        self.register_buffer("identity", torch.eye(len(RIDGE))[None, :, :, None, None])
        self.register_buffer("whitening", torch.eye(bands))
        self.register_buffer("centre", torch.zeros(bands))
        kinds = (len(RIDGE) - 1) * bands
        self.register_buffer("middle", torch.zeros(kinds))
        self.register_buffer("spread", torch.ones(kinds))
        self.register_buffer("fewest", torch.ones(()))

    def forward(self, sequence: Tensor, valid: Tensor, days: Tensor) -> Expectation:
        # (N, T) in years from the middle, and (N, T, K): the terms of each date
        t = (days - days.mean(dim=1, keepdim=True)) / YEAR
        turn = 2 * math.pi * t
        terms = torch.stack(
            [torch.ones_like(t), t, turn.cos(), turn.sin(), (2 * turn).cos(), (2 * turn).sin()], dim=2
        )
        # (N, 1, B, H, W): DN from the mean of the pixel, so that float32 is enough
        count = valid.sum(dim=1, keepdim=True)
        middle = (sequence * valid).sum(dim=1, keepdim=True) / count.clamp(min=1)
        centred = (sequence - middle) * valid
        # the ridge draws the first term to the centre of the place, and not to the mean of the pixel
        drawn = RIDGE[0] * (self.centre[:, None, None] - middle) * self.identity[:, :, :1]
        common = torch.zeros_like(centred)
        if self.params.common:
            fitted, _, left, _ = self._robust(centred, valid, terms, drawn)
            common = self._common(fitted, middle, left, valid, count)
        fitted, inverse, left, weight = self._robust((centred - common) * valid, valid, terms, drawn)
        # (N, T, 1, H, W): how much each date has drawn the fit to itself
        by_terms = torch.einsum("ntk,nklhw->ntlhw", terms, inverse)
        leverage = torch.einsum("ntl,ntlhw->nthw", terms, by_terms).unsqueeze(2)
        apart = (1 - weight * leverage).clamp(min=LEAST)
        # left out, a valid date is further off by 1 / apart, and the variance of that is 1 / apart too
        mean = torch.einsum("ntk,nkbhw->ntbhw", terms, fitted) + common + middle
        others = mean - left / apart + left
        return Expectation(torch.where(valid > 0, others, mean), 1 / apart - 1)

    def _robust(
        self, centred: Tensor, valid: Tensor, terms: Tensor, drawn: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Coefficients (N, K, B, H, W), their inverse (N, K, K, H, W), what is left, and the weights of dates."""
        # (N, T, K, K): products of terms, of which normal equations are weighted sums over dates
        products = terms.unsqueeze(3) * terms.unsqueeze(2)
        # (N, K, H, W): a term that too few dates support is held at 0
        few = valid.sum(dim=1) < self.needed
        diagonal = (
            torch.where(few, torch.full_like(self.ridge, ABSENT), self.ridge).unsqueeze(2) * self.identity
        )
        weight = valid
        for number in range(self.params.rounds + 1):
            normal = torch.einsum("ntkl,nthw->nklhw", products, weight.squeeze(2)) + diagonal
            right = torch.einsum("ntk,ntbhw->nkbhw", terms, centred * weight) + drawn
            inverse = ground.inverse(normal, self.identity)
            fitted = torch.einsum("nklhw,nlbhw->nkbhw", inverse, right)
            left = (centred - torch.einsum("ntk,nkbhw->ntbhw", terms, fitted)) * valid
            if number < self.params.rounds:
                weight = self._weight(left, valid)
        return fitted, inverse, left, weight

    def _common(self, fitted: Tensor, middle: Tensor, left: Tensor, valid: Tensor, count: Tensor) -> Tensor:
        """What of each date is common to its ground (N, T, B, H, W), by what each pixel is like."""
        # (N, (K - 1) B, P): the coefficients of a season, from the centre of the place on
        first = fitted[:, :TREND] + middle - self.centre[:, None, None]
        like = torch.cat([first, fitted[:, TREND + 1 :]], dim=1).flatten(1, 2).flatten(2, 3)
        known = ground.signs(like, self.middle, self.spread)
        told = (valid * (count >= self.fewest).float()).flatten(3, 4)
        found = ground.regress(known, left.flatten(3, 4), told, self.whitening)
        known = known.reshape(left.shape[0], -1, *left.shape[3:])
        return torch.einsum("ntbk,nkhw->ntbhw", found, known)

    def _weight(self, left: Tensor, valid: Tensor) -> Tensor:
        """Weights (N, T, 1, H, W): in deviations of the pixel itself, but not under a share of what is usual."""
        square = (torch.einsum("cb,ntbhw->ntchw", self.whitening, left) ** 2).mean(dim=2, keepdim=True)
        own = ground.median(square, valid, 1)
        # (N, 1, 1, 1, 1): of all dates and pixels
        usual = ground.median(square.flatten(1), valid.flatten(1), 1)[:, :, None, None, None]
        usual_of = torch.where(valid.sum(dim=1, keepdim=True) > 0, own, usual)
        scale = torch.maximum(usual_of, CALM * usual) / 0.8
        far = square / scale.clamp(min=1e-12)
        return valid * (self.params.huber**2 / far.clamp(min=1e-12)).clamp(max=1.0)


def build(bands: int, params: Params) -> Seasonal:
    """The model for `bands` bands."""
    return Seasonal(bands, params)
