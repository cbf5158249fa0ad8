"""A history of which each date is judged by what the others teach, as dates to come will be.

It is held out in turns, part by part. A sample of the place tells what all pixels of a turn share, by which any other
pixel is judged as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from satae.series import detector
from satae.series.rules import Rules

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FOLDS = 8  # parts of a history, each held out once
SINGLY = 8  # dates up to which each is held out alone
HALVES = 2  # of the parts, each of which a network of its own did not learn
CALM = 50  # valid pixels of the sample from which on a date's unrest is told


@dataclass(frozen=True)
class Turn:
    """A part of a history that is held out: the `numbers` of its dates, and the `rules` of the `rest` (date).

    Of each date its day, what the ground has in common on it (`shared`), and how `wide` it is: its unrest.
    """

    numbers: tuple[int, ...]
    days: tuple[float, ...]
    rest: Bools
    rules: Rules
    shared: tuple[Floats | None, ...]
    wide: tuple[float, ...] = ()

    def outcomes(
        self, x: npt.NDArray[np.floating], valid: Bools
    ) -> Iterator[tuple[int, float, detector.Outcome]]:
        """(number, day, outcome in units of the date's unrest) of pixels: x (date, B, pixel), `valid` (date, pixel)."""
        memory = detector.learn(self.rules, x[self.rest], valid[self.rest])
        for number, day, shared, wide in zip(self.numbers, self.days, self.shared, self.wide, strict=True):
            yield number, day, detector.ease(detector.judge(self.rules, memory, x[number], day, shared), wide)


@dataclass(frozen=True)
class HeldOut:
    """A sample of a history that was held out.

    `outcomes` by the number of their date, in units of its unrest; `valid` (date, pixel) where it was judged. `calm` is
    the median square of a date as they are.
    """

    turns: tuple[Turn, ...]
    outcomes: dict[int, detector.Outcome]
    valid: Bools
    calm: float


def of_sample(rules: Rules, x: npt.NDArray[np.floating], valid: Bools) -> HeldOut:
    """All dates of a sample, held out: x (date, B, pixel), `valid` (date, pixel), of two dates or more."""
    turns: list[Turn] = []
    judged: dict[int, detector.Outcome] = {}
    for number, part in enumerate(parts(len(rules.days))):
        turn, found = _turn(rules, x, valid, number, part)
        turns.append(turn)
        judged |= zip(turn.numbers, found, strict=True)
    # a pixel that is valid on this date alone has nothing to be held out from
    valid = valid & np.stack([np.isfinite(judged[i].square) for i in range(len(judged))])
    # a held-out date is further off than a fitted one, so what is usual is measured on those
    calm = max(float(np.median(np.concatenate([j.square[valid[i]] for i, j in judged.items()]))), 1e-9)
    wide = [unrest(judged[i].square, valid[i], calm) for i in range(len(judged))]
    return HeldOut(
        tuple(replace(turn, wide=tuple(wide[i] for i in turn.numbers)) for turn in turns),
        {i: detector.ease(j, wide[i]) for i, j in judged.items()},
        valid,
        calm,
    )


def _turn(
    rules: Rules, x: npt.NDArray[np.floating], valid: Bools, number: int, part: list[int]
) -> tuple[Turn, list[detector.Outcome]]:
    """A turn as a sample tells it, and what each of its dates is beside the others."""
    rest, of_rest = without(rules, part)
    if rules.apart:
        of_rest = replace(of_rest, network=rules.apart[number % HALVES])
    usual: list[float] = []
    memory = detector.learn(of_rest, x[rest], valid[rest], usual)
    days = tuple(float(rules.days[i]) for i in part)
    pairs = [detector.apart(of_rest, memory, x[i], day, valid[i]) for i, day in zip(part, days, strict=True)]
    of_rest = replace(of_rest, usual=tuple(usual))
    shared = tuple(common for _, common in pairs)
    return Turn(tuple(part), days, rest, of_rest, shared), [judged for judged, _ in pairs]


def parts(dates: int) -> list[list[int]]:
    """The numbers of the dates of each part of a history that is held out in turn."""
    # whole parts, for dates beside one another share their weather
    return [p.tolist() for p in np.array_split(np.arange(dates), dates if dates <= SINGLY else FOLDS)]


def without(rules: Rules, part: list[int]) -> tuple[Bools, Rules]:
    """Which dates (date) are not of a part, and the rules of these alone."""
    rest = np.ones(len(rules.days), bool)
    rest[part] = False
    shared, unrest = (None if a is None else a[rest] for a in (rules.shared, rules.unrest))
    days = tuple(np.array(rules.days)[rest])
    return rest, replace(rules, days=days, shared=shared, unrest=unrest, usual=())


def unrest(square: Floats, valid: Bools, calm: float) -> float:
    """By what all squares of a date are larger than they are as a rule: 1 or more, by the median of a sample."""
    if np.count_nonzero(valid) < CALM:
        return 1.0
    return max(1.0, float(np.median(square[valid])) / calm)
