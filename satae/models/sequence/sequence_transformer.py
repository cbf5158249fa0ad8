"""Attention of each date over the others by their days, then a decoder: gaps and irregular dates are all it knows.

How much one date looks at another follows from the days of both, so a season and a trend can be learned; how much a
date is looked at at all also follows from what it holds, so a cloud that the mask missed can be overlooked. There is
one layer: in a second one the dates that are looked at would have seen the date that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models.sequence import Expectation
from satae.nn.recurrent import Dense, day_terms, mean_of_others

TERMS = 6  # numbers of a day


@dataclass(frozen=True)
class Params:
    """The settings of sequence_transformer: `heads` of attention, each of `width` channels."""

    heads: int = 4
    width: int = 16

    def __post_init__(self) -> None:
        if not (1 <= self.heads <= 32 and 1 <= self.width <= 256):
            raise ValueError(f"heads {self.heads} and width {self.width} are not 1 to 32 and 1 to 256")


class Transformer(nn.Module):
    """Sequences to what is expected of each date, from the others."""

    centre: Tensor
    spread: Tensor

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        heads, width = params.heads, params.width
        self.heads, self.width = heads, width
        # DN of all pixels, by which the network sees numbers around 1: set by whoever trains
        self.register_buffer("centre", torch.zeros(bands))
        self.register_buffer("spread", torch.ones(bands) * 1000)
        self.key, self.query = (nn.Linear(TERMS, heads * width) for _ in range(2))
        self.value = nn.Sequential(
            Dense(bands + TERMS, heads * width), nn.GELU(), Dense(heads * width, heads * width)
        )
        self.worth = nn.Sequential(Dense(bands, width), nn.GELU(), Dense(width, heads))
        self.decode = nn.Sequential(Dense(heads * width + bands + TERMS, 64), nn.GELU(), Dense(64, bands))

    def forward(self, sequence: Tensor, valid: Tensor, days: Tensor) -> Expectation:
        unit = self.spread[:, None, None]
        x = (sequence - self.centre[:, None, None]) / unit * valid
        usual = mean_of_others(x, valid)
        terms = day_terms(days)
        # (N, T, 6, H, W): the numbers of the day at every pixel
        spread_out = terms[:, :, :, None, None] + valid * 0
        # (N, T, U, heads): how much date T looks at date U, and never at its own day
        query, key = (f(terms).unflatten(2, (self.heads, self.width)) for f in (self.query, self.key))
        look = torch.einsum("ntkc,nukc->ntuk", query, key) / self.width**0.5
        others = (days[:, :, None] != days[:, None, :]).float()[..., None]
        # the largest is taken off, as a softmax does, and dates are summed where they are valid
        look = (look - look.amax(dim=2, keepdim=True)).clamp(min=-30).exp() * others
        # (N, U, heads, H, W): what a date is worth by itself; bounded, so that none is everything
        worth = (5 * self.worth(x).tanh()).exp() * valid
        value = self.value(torch.cat([x, spread_out], dim=2)).unflatten(2, (self.heads, self.width))
        total = torch.einsum("ntuk,nukhw->ntkhw", look, worth)
        seen = torch.einsum("ntuk,nukchw->ntkchw", look, value * worth.unsqueeze(3))
        seen = (seen / total.clamp(min=1e-12).unsqueeze(3)).flatten(2, 3)
        change = self.decode(torch.cat([seen, usual, spread_out], dim=2))
        mean = (usual + change) * unit + self.centre[:, None, None]
        return Expectation(mean, valid * 0)


def build(bands: int, params: Params) -> Transformer:
    """The model for `bands` bands."""
    return Transformer(bands, params)
