"""Changes of known date, size, contrast and kind that are planted into the dates of a real series.

A change is ground from elsewhere in the place, of the same dates, mixed in with the share that gives the contrast (over
1, up to 3, where ground is too much alike): a step stays, a slow change grows over twenty dates, a spike is gone on the
next date and should raise no alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.bench.place import Ground
from satae.errors import ConfigError

STEP, SLOW, SPIKE = KINDS = "step", "slow", "spike"
SLOW_DATES = 20.0  # over which a slow change grows
APART = 25  # pixels from which on ground is of elsewhere
MARGIN = 3  # pixels between two changes
EARLY, LATE = 0.05, 0.7  # shares of the monitored dates between which changes begin
STRETCHED = 3.0  # share up to which ground is mixed in: over 1 a real difference is stretched
WITHIN = 8  # valid dates after its first in which a step or spike is found or missed
WITHIN_SLOW = 40
CLEAR = 0.5  # share of a change that counts on a date that shows it
TRIES = 20_000  # places that are drawn in vain before a round is full
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Planting:
    """What is planted in each of `rounds`: so many changes as `number`, of sides from `sizes` at random.

    `steady`: the share of the place that varied least in its history, which alone is planted in and counted.
    `steps` of training that autoencoders over time get, which are left out at 0.
    """

    kinds: tuple[str, ...] = KINDS
    contrasts: tuple[float, ...] = (2.0, 4.0, 8.0)
    sizes: tuple[int, int] = (2, 7)
    number: int = 36
    rounds: int = 6
    steady: float = 1.0
    seed: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        if not self.kinds or set(self.kinds) - set(KINDS):
            raise ConfigError(f"--kinds {','.join(self.kinds)}: there are {', '.join(KINDS)}")
        if not self.contrasts or not all(c > 0 for c in self.contrasts):
            raise ConfigError("--contrasts must be larger than 0, such as 1.5,3,6")
        if not 0 < self.steady <= 1:
            raise ConfigError(f"--steady {self.steady:g} must be over 0 and at most 1")


@dataclass(frozen=True)
class Change:
    """A planted change: a box of pixels from number `date` of the new dates on.

    `contrast`: how far ground of the box changes in the mean of the year, root mean square over bands in deviations of
    one date. `start`: the same on the first two dates on which half of the box counts, the lower of both, for two kinds
    of ground look alike in some seasons; 0 where there are no two.
    """

    kind: str
    contrast: float
    rows: slice
    cols: slice
    date: int
    start: float = 0.0


def plant(
    place: Ground, planting: Planting, rng: np.random.Generator
) -> tuple[npt.NDArray[Any], Bools, list[Change]]:
    """New dates with changes in them, where they are valid, and the changes."""
    new, valid = (a.copy() for a in place.new())
    was, was_valid = place.new()
    height, width = place.steady.shape
    free, out = place.steady.copy(), list[Change]()
    cells = [(kind, contrast) for contrast in planting.contrasts for kind in planting.kinds]
    for _ in range(TRIES):
        if len(out) == planting.number:
            break
        # cells in turn, so that each has as many
        kind, contrast = cells[len(out) % len(cells)]
        tall, wide = rng.integers(planting.sizes[0], planting.sizes[1] + 1, 2)
        (row, other_row), (col, other_col) = (
            rng.integers(0, height - tall, 2),
            rng.integers(0, width - wide, 2),
        )
        date = int(rng.integers(int(EARLY * len(new)), max(int(LATE * len(new)), 1)))
        here = np.s_[row : row + tall, col : col + wide]
        there = np.s_[other_row : other_row + tall, other_col : other_col + wide]
        if not free[here].all() or abs(row - other_row) + abs(col - other_col) < APART:
            continue
        apart = (place.mean[:, *there] - place.mean[:, *here]).mean(axis=(1, 2)) / place.noise
        share = contrast / max(float(np.sqrt((apart**2).mean())), 1e-9)
        if share > STRETCHED:
            continue  # ground that is too much alike
        free[max(row - MARGIN, 0) : row + tall + MARGIN, max(col - MARGIN, 0) : col + wide + MARGIN] = False
        since = np.arange(len(new) - date)
        grown = {STEP: since >= 0, SLOW: np.minimum(1, (since + 1) / SLOW_DATES), SPIKE: since < 1}[
            kind
        ] * share
        mixed = (was[date:, :, *there].astype(np.float64) - was[date:, :, *here]) * grown[:, None, None, None]
        new[date:, :, *here] = _stored(was[date:, :, *here] + mixed, new.dtype)
        # what is mixed in must be known on that date
        valid[date:, *here] &= was_valid[date:, *there] | (grown == 0)[:, None, None]
        change = Change(kind, contrast, here[0], here[1], date)
        out.append(replace(change, start=_start(change, new, was, valid, place.noise)))
    return new, valid, out


def _start(
    change: Change, new: npt.NDArray[Any], was: npt.NDArray[Any], valid: Bools, noise: Floats
) -> float:
    box = (change.rows, change.cols)
    clear = change.date + np.flatnonzero(valid[change.date :, *box].mean(axis=(1, 2)) >= CLEAR)[:2]
    apart = new[clear][:, :, *box].astype(np.float64) - was[clear][:, :, *box]
    contrast = np.sqrt(((apart.mean(axis=(2, 3)) / noise) ** 2).mean(axis=1))
    return float(contrast.min()) if len(clear) == 2 else 0.0


def _stored(values: Floats, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def delay(change: Change, when: npt.NDArray[np.intp], held: Bools, valid: Bools, least: int) -> int | None:
    """Valid dates from the change until `least` of its pixels are in alarm, both counted: a region is then reported.

    All of its pixels that are in a region, where they are fewer; None where none is in time.
    """
    box = (change.rows, change.cols)
    at = when.reshape(held.shape)[box]
    found = (at >= change.date) & held[box]
    if not found.any():
        return None
    seen = np.cumsum(valid[change.date :, *box], axis=0)
    rows, cols = np.nonzero(found)
    late = np.sort(seen[at[found] - change.date, rows, cols])[: max(least, 1)][-1]
    return int(late) if late <= (WITHIN_SLOW if change.kind == SLOW else WITHIN) else None
