"""How much the ground around a pixel varies against its season, as dates of the history that are held out show it.

Fields that are cut each year at another time are often far from what their other years make one expect, forest seldom.
What untouched ground seems to have in common on two dates tells that, so of each component

    around = mean over dates and pixels of the square of what two dates share / what that is as a rule in the place

over the pixels within REACH in rows and columns, of which every STEP-th is judged. Each pixel has its own sum in one
order, so that no number hangs on the window that it is read in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from satae.grid import Grid, Window
from satae.series import detector, persistence
from satae.series.heldout import HeldOut, Turn

REACH = 15  # pixels to each side
STEP = 3  # rows and columns from one pixel that is judged to the next
PRIOR = 100.0  # observations that what is usual counts for
NOTHING = 1e-9  # squares of deviations
LEAST = 0.1  # of what is usual: ground that never changed yet is not trusted to stay so

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sums:
    """Of each turn what the pixels of a window have around: `squares` (turn, B, pixel) and `counts` (turn, pixel)."""

    squares: Floats
    counts: Floats

    def beside(self, usual: Floats) -> npt.NDArray[np.float32]:
        """`around` (B, pixel) by all turns, where `usual` (B) is what is usual."""
        # where what is usual is nothing at all there is nothing to compare with
        some = np.where(usual > NOTHING, usual, np.inf)[:, None]
        squares, counts = _summed(self.squares), _summed(self.counts)
        found = np.where(np.isfinite(some), (squares / some + PRIOR) / (counts + PRIOR), 1.0)
        return np.maximum(found, LEAST).astype(np.float32)

    def without(self, turn: int) -> Sums:
        """Those of the other turns."""
        return Sums(np.delete(self.squares, turn, axis=0), np.delete(self.counts, turn, axis=0))


def chain(parts: Sequence[Sums]) -> Sums:
    """Those of windows, one after the other."""
    squares, counts = ([getattr(p, name) for p in parts] for name in ("squares", "counts"))
    return Sums(np.concatenate(squares, axis=-1), np.concatenate(counts, axis=-1))


def usual(of: Sums) -> Floats:
    """What is usual (B) by those of a sample; 0 where nothing was judged."""
    squares, counts = _summed(of.squares), _summed(of.counts)
    known = counts > 0
    return np.median(squares[:, known] / counts[known], axis=1) if known.any() else np.zeros(len(squares))


def amid(held: HeldOut, of: Sums) -> HeldOut:
    """What was held out of a sample in units of the ground around each pixel, as the other turns tell it."""
    outcomes: dict[int, detector.Outcome] = {}
    for i, turn in enumerate(held.turns):
        others = of.without(i)
        around = others.beside(usual(others))
        outcomes |= {n: detector.amid(held.outcomes[n], around) for n in turn.numbers}
    return replace(held, outcomes=outcomes)


def _summed(values: Floats) -> Floats:
    """The sum over the first axis, in its order whatever there is beside."""
    out = np.zeros(values.shape[1:])
    for one in values:
        out += one
    return out


@dataclass(frozen=True)
class Lattice:
    """The pixels of a grid that are judged for a window: every STEP-th of `outer`, which has the ground around it."""

    window: Window
    outer: Window

    @classmethod
    def around(cls, window: Window, grid: Grid) -> Lattice:
        """For a window of a grid."""
        return cls(window, window.with_margin(REACH).clip(grid.window))

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Rows of the grid."""
        return _every(self.outer.row, self.outer.height)

    @property
    def cols(self) -> npt.NDArray[np.int64]:
        """Columns of the grid."""
        return _every(self.outer.col, self.outer.width)

    @property
    def pixels(self) -> npt.NDArray[np.int64]:
        """Their numbers among those of `outer`, in row-major order."""
        rows, cols = self.rows - self.outer.row, self.cols - self.outer.col
        return (rows[:, None] * self.outer.width + cols[None, :]).ravel()

    def sums(self, squares: Floats, counts: Floats) -> Sums:
        """Of the pixels of the window, from what was judged: (turn, B, point) and (turn, point)."""
        found = []
        for values in (squares, counts[:, None]):
            planes = values.reshape(*values.shape[:2], len(self.rows), len(self.cols))
            there = _reached(planes, self.cols, self.window.col, self.window.width)
            there = _reached(there.swapaxes(-1, -2), self.rows, self.window.row, self.window.height)
            found.append(there.swapaxes(-1, -2).reshape(*values.shape[:2], -1))
        return Sums(found[0], found[1][:, 0])


def agreements(
    turns: Sequence[Turn], x: npt.NDArray[np.floating], valid: Bools, keep: tuple[int, int]
) -> tuple[Floats, Floats]:
    """What pixels share with an earlier date, of each turn: squares (turn, B, pixel) summed, and how many dates.

    x (date, B, pixel), `valid` (date, pixel) over the history; an alarm looks back at the n - 1 dates before, of
    `keep` (k, n).
    """
    bands, pixels = x.shape[1:]
    squares, counts = np.zeros((len(turns), bands, pixels)), np.zeros((len(turns), pixels))
    recent = np.full((keep[1] - 1, bands, pixels), np.nan, np.float32)
    for turn, square, count in zip(turns, squares, counts, strict=True):
        for number, _, outcome in turn.outcomes(x, valid):
            good = valid[number] & np.isfinite(outcome.square)
            both = persistence.in_common(recent, outcome.white)
            known = good & np.isfinite(both[0])
            square += np.where(known, both, 0.0) ** 2
            count += known
            recent = persistence.moved_on(recent, outcome.white, good)
    return squares, counts


def _every(first: int, size: int) -> npt.NDArray[np.int64]:
    return np.arange(-(-first // STEP) * STEP, first + size, STEP)


def _reached(values: Floats, at: npt.NDArray[np.int64], first: int, size: int) -> Floats:
    """Sums (..., pixel) of values (..., n), which are `at` places, within REACH of each pixel from `first` on."""
    pixels = first + np.arange(size)
    low, high = np.searchsorted(at, pixels - REACH), np.searchsorted(at, pixels + REACH, side="right")
    out = np.zeros((*values.shape[:-1], size))
    # by their turn, so that a pixel's sum has one order
    for i in range(int((high - low).max())):
        out += np.where(low + i < high, values[..., np.minimum(low + i, len(at) - 1)], 0.0)
    return out
