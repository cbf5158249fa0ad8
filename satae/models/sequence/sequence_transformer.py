"""Attention of each date over the others by the days between them: what they left tells what this one will leave.

How much one date looks at another follows from the days between both, so the days around, the same season of other
years and how fast either fades are learned. What is expected is a sum of what the others left, so nothing is expected
after nothing; the deviation also follows from how large it was. There is one layer: in a second one the dates that are
looked at would have seen the date that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models.sequence import Expectation, size_of, variance_of
from satae.nn.recurrent import Dense, clip, day_terms

BETWEEN = 6  # numbers of the days between two dates
HIDDEN = 16
YEAR = 365.25  # days


@dataclass(frozen=True)
class Params:
    """The settings of sequence_transformer: `heads` of attention, each of `width` channels."""

    heads: int = 4
    width: int = 8

    def __post_init__(self) -> None:
        if not (1 <= self.heads <= 32 and 1 <= self.width <= 256):
            raise ValueError(f"heads {self.heads} and width {self.width} are not 1 to 32 and 1 to 256")


class Transformer(nn.Module):
    """Sequences to what is expected of each date, from the others."""

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        heads, width = params.heads, params.width
        self.heads = heads
        known = heads * width + heads + 4
        self.look = nn.Sequential(nn.Linear(BETWEEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, heads))
        self.value = Dense(bands, heads * width, bias=False)
        self.large = nn.Sequential(Dense(1, HIDDEN), nn.GELU(), Dense(HIDDEN, heads * width))
        self.share = nn.Sequential(Dense(known, 2 * HIDDEN), nn.GELU(), Dense(2 * HIDDEN, heads * width))
        # the first expectation is that of the season alone
        self.decode = Dense(heads * width, bands, bias=False, zero=True)
        self.doubt = nn.Sequential(Dense(known, 2 * HIDDEN), nn.GELU(), Dense(2 * HIDDEN, 1, zero=True))

    def forward(self, sequence: Tensor, valid: Tensor, days: Tensor) -> Expectation:
        seen, size = clip(sequence) * valid, size_of(sequence)
        # (N, T, U, heads): how much date T looks at date U, and never at its own day
        look = self.look(self._between(days)).clamp(min=-8, max=8).exp()
        look = look * (days[:, :, None] != days[:, None, :]).float()[..., None]
        # (N, T, heads, H, W): how much there was to look at
        total = torch.einsum("ntuk,nuhw->ntkhw", look, valid.squeeze(2))
        left, large = (
            (
                torch.einsum("ntuk,nukchw->ntkchw", look, self._heads(v * valid)) / (1 + total)[:, :, :, None]
            ).flatten(2, 3)
            for v in (self.value(seen), self.large(size))
        )
        terms = day_terms(days)[:, :, :, None, None] + valid * 0
        known = torch.cat([large, (1 + total).log(), terms], dim=2)
        mean = self.decode(left * (1 + self.share(known).tanh()))
        return Expectation(mean, variance_of(self.doubt(known)))

    def _heads(self, values: Tensor) -> Tensor:
        """(N, U, heads, channels, H, W)."""
        found: Tensor = values.unflatten(2, (self.heads, -1))
        return found

    def _between(self, days: Tensor) -> Tensor:
        """Numbers (N, T, U, BETWEEN) of the days from U to T: where in the year, how far, and whether U comes after."""
        years = (days[:, :, None] - days[:, None, :]) / YEAR
        far, turn = years.abs(), 2 * torch.pi * years
        return torch.stack(
            [turn.cos(), (2 * turn).cos(), far, (1 + 36 * far).log(), (-12 * far).exp(), (years < 0).float()],
            dim=3,
        )


def build(bands: int, params: Params) -> Transformer:
    """The model for `bands` bands."""
    return Transformer(bands, params)
