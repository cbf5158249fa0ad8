"""A network over dates learned on the history of a place: episodes, and networks for what was held out of them.

An episode is a part of the history: what it left beside the season of the others, and what these left. The network of
the place learns all of them. The history is scored by two others, each of which learned every second part and never saw
what the rest had left, so that the threshold is that of dates that no weight knows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.inference.sequences import Episode, Place, Tell, Trainer
from satae.series import dates, detector, fits, heldout
from satae.series.rules import Rules

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def learn(
    rules: Rules, x: npt.NDArray[Any], valid: Bools, bands: tuple[str, ...], trainer: Trainer,
    tell: Tell = lambda done, total: None,
) -> Rules:  # fmt: skip
    """The rules of a sample with its networks: x (date, B, pixel), `valid` (date, pixel) over the history."""
    # how wide each date of the history is beside the season that was fitted to all
    _, square, _ = fits.of_history(rules, x, valid)
    usual = max(float(np.median(square[valid])), 1e-9)
    wide = [heldout.unrest(s, v, usual) for s, v in zip(square, valid, strict=True)]
    rules = replace(rules, unrest=np.array(wide))
    found = episodes(rules, x, valid)
    when = np.array(rules.days)
    place = Place(bands, (dates.text_of(when.min()), dates.text_of(when.max())), len(when))
    taught = [*(half(found, i) for i in range(heldout.HALVES)), found]
    learned = []
    for number, of in enumerate(taught):

        def told(done: int, total: int, before: int = number) -> None:
            tell(before * total + done, len(taught) * total)

        learned.append(trainer(of, place, told))
    return replace(rules, network=learned[-1], apart=tuple(learned[:-1]))


def episodes(rules: Rules, x: npt.NDArray[Any], valid: Bools) -> list[Episode]:
    """An episode a part, as `heldout` holds them out."""
    held = heldout.of_sample(rules, x, valid)
    left = np.full(x.shape, np.nan, np.float32)
    for i, one in held.outcomes.items():
        left[i] = np.where(held.valid[i], one.white, np.nan)
    found, days = [], np.array(rules.days)
    for part in heldout.parts(len(days)):
        rest, of_rest = heldout.without(rules, part)
        memory = detector.learn(of_rest, x[rest], valid[rest])
        seen = memory["left"].reshape(-1, *x.shape[1:])
        found.append(Episode(seen, days[rest][-len(seen) :], left[part], days[part]))
    return found


def half(found: list[Episode], number: int) -> list[Episode]:
    """The episodes that a network of the history learns: every second, without what the others left."""
    taken = [e for i, e in enumerate(found) if i % heldout.HALVES != number]
    hidden = np.concatenate([e.days_left for i, e in enumerate(found) if i % heldout.HALVES == number])
    out = []
    for episode in taken:
        seen = episode.seen.copy()
        seen[np.isin(episode.days, hidden)] = np.nan
        out.append(replace(episode, seen=seen))
    return out
