"""Gated recurrent units over the dates before and after, then a decoder: what both say of the date between them.

A state is carried from date to date with the days that passed, forwards and backwards; a date is expected from the
state that the dates before it leave and the one that the dates after it leave. A date that is not valid leaves the
state of its pixel as it was, as if it had not been. What the same units say of dates that left nothing is taken off,
so nothing is expected after nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models.sequence import Expectation, size_of, variance_of
from satae.nn.recurrent import Dense, clip, day_terms, gru

NEAR = 10.0  # days, in which gaps are told
NONE = 73  # times that: a gap where no date is known
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
        # a unit knows the gap that it comes over
        inputs = bands + KNOWN
        self.before, self.after = (nn.GRU(inputs, params.width) for _ in range(2))
        # the first expectation is that of the season alone
        self.decode = nn.Sequential(
            Dense(2 * params.width + KNOWN, HIDDEN), nn.GELU(), Dense(HIDDEN, bands, zero=True)
        )
        self.doubt = nn.Sequential(
            Dense(2 * params.width + KNOWN, HIDDEN), nn.GELU(), Dense(HIDDEN, 1, zero=True)
        )

    def forward(self, sequence: Tensor, valid: Tensor, days: Tensor) -> Expectation:
        terms = day_terms(days)[:, :, :, None, None] + valid * 0
        gaps = _gaps(valid, days)
        seen = torch.cat([clip(sequence), size_of(sequence)], dim=2) * valid
        states = []
        for unit, gap, backward in ((self.before, gaps[0], False), (self.after, gaps[1], True)):
            # the dates as they are, then as if none had left anything: (2 N, T, C, H, W)
            every = torch.cat([torch.cat([s, terms, gap, 1 - valid], dim=2) for s in (seen, seen * 0)], dim=0)
            states.append(_states(unit, every, backward))
        known = torch.cat([terms, *gaps], dim=2)
        context = torch.cat([*states, torch.cat([known, known], dim=0)], dim=2)
        mean, n = self.decode(context), sequence.shape[0]
        return Expectation(mean[:n] - mean[n:], variance_of(self.doubt(context[:n])))


def _states(unit: nn.GRU, every: Tensor, backward: bool) -> Tensor:
    """The state (N, T, C, H, W) that the dates before each leave, or those after it if `backward`."""
    n, _, _, height, width = every.shape
    # (T, N H W, C): a pixel's dates are a sequence of their own
    lines = every.permute(1, 0, 3, 4, 2).flatten(1, 3)
    found = gru(lines, [unit.weight_ih_l0, unit.weight_hh_l0, unit.bias_ih_l0, unit.bias_hh_l0], backward)
    # the state that the neighbour leaves; none before the first and after the last
    none = found[:1] * 0
    states = torch.cat([found[1:], none] if backward else [none, found[:-1]], dim=0)
    return states.reshape(-1, n, height, width, states.shape[2]).permute(1, 0, 4, 2, 3)


def _gaps(valid: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
    """How long it is since the valid date before, and until the one after: (N, T, 1, H, W), 0 and more.

    The logarithm of a soft minimum over the days to all of them, which is large where there is none.
    """
    apart = (days[:, :, None] - days[:, None, :]) / NEAR
    near = (-apart.abs()).exp()
    before, after = (
        torch.einsum("ntu,nuchw->ntchw", near * side.float(), valid) for side in (apart > 0, apart < 0)
    )
    return _gap(before), _gap(after)


def _gap(near: Tensor) -> Tensor:
    return (1 - (near + math.exp(-NONE)).log().clamp(max=0.0)).log()


def build(bands: int, params: Params) -> Recurrent:
    """The model for `bands` bands."""
    return Recurrent(bands, params)
