"""Gated recurrent units over the dates before and after, then a decoder: what both say of the date between them.

A state is carried from date to date with the days that passed, forwards and backwards; a date is expected from the
state that the dates before it leave and the one that the dates after it leave. What is not valid enters as absent. What
the same units say of dates that left nothing is taken off, so nothing is expected after nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models.sequence import Expectation, size_of, variance_of
from satae.nn.recurrent import Dense, clip, day_terms, gru

MONTH = 30.0  # days, in which gaps are told
KNOWN = 6  # numbers of a day and of the gaps on both sides of it
HIDDEN = 32


@dataclass(frozen=True)
class Params:
    """The settings of sequence_rnn: `width` numbers of a state."""

    width: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 512:
            raise ValueError(f"width {self.width} is not 1 to 512")


class Recurrent(nn.Module):
    """Sequences to what is expected of each date, from those before and after it."""

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        inputs = bands + 2 + KNOWN
        self.before, self.after = (nn.GRU(inputs, params.width) for _ in range(2))
        # the first expectation is that of the season alone
        self.decode = nn.Sequential(
            Dense(2 * params.width + KNOWN, HIDDEN), nn.GELU(), Dense(HIDDEN, bands, zero=True)
        )
        self.doubt = nn.Sequential(
            Dense(2 * params.width + KNOWN, HIDDEN), nn.GELU(), Dense(HIDDEN, 1, zero=True)
        )

    def forward(self, sequence: Tensor, valid: Tensor, days: Tensor) -> Expectation:
        known = torch.cat([day_terms(days), self._gaps(days)], dim=2)[:, :, :, None, None] + valid * 0
        seen = torch.cat([clip(sequence), size_of(sequence)], dim=2) * valid
        # the dates as they are, then as if none had left anything: (2 N, T, C, H, W)
        every = torch.cat([torch.cat([s, valid, known], dim=2) for s in (seen, seen * 0)], dim=0)
        context = torch.cat([self._states(every), torch.cat([known, known], dim=0)], dim=2)
        mean, n = self.decode(context), sequence.shape[0]
        return Expectation(mean[:n] - mean[n:], variance_of(self.doubt(context[:n])))

    def _states(self, every: Tensor) -> Tensor:
        """States (N, T, 2 C, H, W) that the dates before each leave, and the dates after it."""
        n, _, _, height, width = every.shape
        # (T, N H W, C): a pixel's dates are a sequence of their own
        lines = every.permute(1, 0, 3, 4, 2).flatten(1, 3)
        states = []
        for unit_of, backward in ((self.before, False), (self.after, True)):
            weights = [unit_of.weight_ih_l0, unit_of.weight_hh_l0, unit_of.bias_ih_l0, unit_of.bias_hh_l0]
            found = gru(lines, weights, backward)
            # the state that the neighbour leaves; none before the first and after the last
            none = found[:1] * 0
            states.append(torch.cat([found[1:], none] if backward else [none, found[:-1]], dim=0))
        both = torch.cat(states, dim=2)
        return both.reshape(-1, n, height, width, both.shape[2]).permute(1, 0, 4, 2, 3)

    def _gaps(self, days: Tensor) -> Tensor:
        """Months (N, T, 2) since the date before and until the one after, 0 where there is none, two years at most."""
        apart = ((days[:, 1:] - days[:, :-1]) / MONTH).clamp(max=24.0)
        none = torch.zeros_like(days[:, :1])
        return torch.stack([torch.cat([none, apart], dim=1), torch.cat([apart, none], dim=1)], dim=2)


def build(bands: int, params: Params) -> Recurrent:
    """The model for `bands` bands."""
    return Recurrent(bands, params)
