"""What a calibration sample is too small to tell of a result, and how much more ground would tell, in one note."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from satae.console import quantity, round_up
from satae.inference.calibrate import CARRIED, EMPIRICAL, Calibration, Tail


@dataclass(frozen=True)
class Doubt:
    """Why numbers of a result say less than they seem to; its text is a note for people.

    `unknown` are phrases for what the `sample` cannot tell, `counts` whether the number of regions is among it.
    `factor` is how much ground is needed over what training had, from `scenes` scenes; infinite where more of the same
    would not help. `instead` is what may be asked for with the sample as it is.
    """

    unknown: tuple[str, ...]
    sample: str
    factor: float
    counts: bool = False
    instead: str = ""
    scenes: int = 1

    @property
    def cure(self) -> str:
        """What training lacks, in words."""
        if math.isinf(self.factor):
            return "ground of more kinds"
        more = round_up(max(1, math.ceil((self.factor - 1) * self.scenes)))
        return f"about {quantity(int(more), 'more training scene')} of this size"

    def __str__(self) -> str:
        lost = "counts do" if self.counts else "the highest scores do"
        ask = f", or ask with {self.instead}" if self.instead else ""
        unknown = ", nor ".join(self.unknown)
        return f"ranks hold, {lost} not: {self.sample} cannot tell {unknown}; {self.cure} would{ask}"


def sample_of(tail: Tail, calibration: Calibration) -> str:
    """How large a sample of background regions is, in words."""
    held = f"{quantity(tail.n, 'background region')} in {quantity(calibration.blocks, 'held-out block')}"
    return held + tail.worth


def of_scores(calibration: Calibration, scores: Iterable[float]) -> Doubt | None:
    """That scores of regions are as high as so small or so uniform a sample can tell, where some are."""
    tail = calibration.region
    if not tail.is_short or all(score <= tail.reach for score in scores):
        return None
    needed = CARRIED + EMPIRICAL  # regions that have a hundred levels among them, if no two are alike
    alike = tail.n >= needed
    return Doubt(
        (f"how rare scores above {tail.reach:.1f} are",),
        sample_of(tail, calibration) + ", nearly all alike," * alike,
        math.inf if alike else needed / tail.n,
    )


def of_scene(doubts: Sequence[Doubt | None], scenes: int) -> Doubt | None:
    """What several doubts say of one scene together, by a model that was trained on so many scenes."""
    found = [doubt for doubt in doubts if doubt is not None]
    if not found:
        return None
    return replace(
        found[0],
        unknown=tuple(phrase for doubt in found for phrase in doubt.unknown),
        factor=max(doubt.factor for doubt in found),
        counts=any(doubt.counts for doubt in found),
        scenes=scenes,
    )


def of_scenes(doubts: Iterable[Doubt | None]) -> Doubt | None:
    """The doubt of the scene that asks most of the sample: what cures it cures the others."""
    found = [doubt for doubt in doubts if doubt is not None]
    return max(found, key=lambda doubt: (doubt.factor, len(doubt.unknown)), default=None)


def of_kinds(doubts: Iterable[tuple[str, Doubt | None]]) -> list[str]:
    """Notes on results of one kind or two, one a kind: each has a model of its own, and with it a sample."""
    by_kind: dict[str, list[Doubt | None]] = {}
    for kind, doubt in doubts:
        by_kind.setdefault(kind, []).append(doubt)
    found = {kind: doubt for kind, own in by_kind.items() if (doubt := of_scenes(own)) is not None}
    return [f"{kind}s: {doubt}" if len(by_kind) > 1 else str(doubt) for kind, doubt in found.items()]
