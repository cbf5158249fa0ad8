"""Gated recurrent units over the dates before and after, then a decoder: what both say of the date between them.

A state is carried from date to date with the days that passed, forwards and backwards; a date is expected from the
state that the dates before it leave and the one that the dates after it leave. What is not valid enters as absent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models.sequence import Expectation
from satae.nn.recurrent import Dense, day_terms, gru, mean_of_others

TERMS = 6  # numbers of a day
MONTH = 30.0  # days, in which gaps are told


@dataclass(frozen=True)
class Params:
    """The settings of sequence_rnn: `width` numbers of a state."""

    width: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 512:
            raise ValueError(f"width {self.width} is not 1 to 512")


class Recurrent(nn.Module):
    """Sequences to what is expected of each date, from those before and after it."""

    centre: Tensor
    spread: Tensor

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        width = params.width
        # DN of all pixels, by which the network sees numbers around 1: set by whoever trains
        self.register_buffer("centre", torch.zeros(bands))
        self.register_buffer("spread", torch.ones(bands) * 1000)
        # bands, whether they are valid, the day, and the days since the date before and until the one after
        inputs = bands + 1 + TERMS + 2
        self.before, self.after = (nn.GRU(inputs, width) for _ in range(2))
        self.decode = nn.Sequential(Dense(2 * width + bands + TERMS + 2, 64), nn.GELU(), Dense(64, bands))

    def forward(self, sequence: Tensor, valid: Tensor, days: Tensor) -> Expectation:
        unit = self.spread[:, None, None]
        x = (sequence - self.centre[:, None, None]) / unit * valid
        usual = mean_of_others(x, valid)
        # (N, T, 8, H, W): the day and the gaps on both sides, the same at every pixel
        known = torch.cat([day_terms(days), self._gaps(days)], dim=2)[:, :, :, None, None] + valid * 0
        every = torch.cat([x, valid, known], dim=2)
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
        placed = both.reshape(-1, n, height, width, both.shape[2]).permute(1, 0, 4, 2, 3)
        change = self.decode(torch.cat([placed, usual, known], dim=2))
        mean = (usual + change) * unit + self.centre[:, None, None]
        return Expectation(mean, valid * 0)

    def _gaps(self, days: Tensor) -> Tensor:
        """Months (N, T, 2) since the date before and until the one after, 0 where there is none, two years at most."""
        apart = ((days[:, 1:] - days[:, :-1]) / MONTH).clamp(max=24.0)
        none = torch.zeros_like(days[:, :1])
        return torch.stack([torch.cat([none, apart], dim=1), torch.cat([apart, none], dim=1)], dim=2)


def build(bands: int, params: Params) -> Recurrent:
    """The model for `bands` bands."""
    return Recurrent(bands, params)
