"""Regions that are looked at: what each showed on every date beside what was expected there, and pictures of dates.

The pixels of a region are read once more and taken through all dates as when they were scored; nothing is scored anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from satae import composite
from satae.report import chips
from satae.report.reasons import frame
from satae.series import detector, learning, state
from satae.series.rules import PAIR, Memory, Rules
from satae.series.stack import Stack, StackReader
from satae.series.state import ScoredDate
from satae.series.tracks import Change

LISTED = 24  # regions that are looked at, by their peaks
MOST = 4096  # pixels of one that its means are of
PANEL, LARGE = 96, 96  # pixels of a picture, and of a window from which on it is halved
PANELS = 8  # dates in a strip
CLEAR = 0.5  # share of a window that counts on a date that is shown
YEAR = 365.25
SEASON = 45.0  # days by which a date a year before may lie off

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Look:
    """A region over dates: T dates, B bands.

    `seen`, `expected` and `spread` (T, B) are means over the region's pixels in DN: what they showed, what was expected
    and the standard deviation of one pixel around that; NaN where nothing counts or is expected. `share` (T) of the
    pixels counts. `past` (T) are dates of the history. The strip shows the dates `shown`, with what each is.
    """

    change: Change
    days: npt.NDArray[np.int64]
    scenes: tuple[str, ...]
    seen: Floats
    expected: Floats
    spread: Floats
    share: Floats
    past: Bools
    shown: tuple[tuple[int, str], ...]
    panels: list[chips.Picture]


def looks(
    found: Sequence[Change], place: Stack, past: Bools, rules: Rules, scored: Sequence[ScoredDate], buffer: int,
    kept: state.Reader, older: state.Reader | None, before: Stack | None = None,
) -> Iterator[Look]:  # fmt: skip
    """A look at each of the first regions; `past` are the dates of the history, none where a state is gone on from.

    `kept` is the state after all dates, `older` the one that was gone on from. What is `before` a state's new dates is
    shown too, and nothing is expected of it.
    """
    # with one date each there is no expectation of the first but itself
    told = ~past if rules.model == PAIR else np.ones(len(past), bool)
    if before is not None:
        place = replace(place, dates=(*before.dates, *place.dates))
        past = np.concatenate([before.days <= max(rules.days), past])
        told = np.concatenate([np.zeros(len(before.dates), bool), told])
    with place.open() as reader:
        for change in found[:LISTED]:
            yield _look(change, reader, past, told, rules, scored, buffer, kept, older)


def _look(
    change: Change, reader: StackReader, past: Bools, told: Bools, rules: Rules, scored: Sequence[ScoredDate],
    buffer: int, kept: state.Reader, older: state.Reader | None,
) -> Look:  # fmt: skip
    place = reader.stack
    window = frame(change.region, 1)
    if older is None:
        clear = learning.clear_ground(reader, window, past, buffer)
    else:
        clear = older.clear(window.with_margin(buffer + 1))
    x, valid = learning.flat(reader, window, clear, buffer)
    inside = change.region.inside(window)
    # evenly some of a large region: all dates of all of its pixels would take as much memory as the cube
    chosen = np.arange(0, np.count_nonzero(inside), -(-np.count_nonzero(inside) // MOST))
    pixels = np.flatnonzero(inside)[chosen]
    # a region lies on the grid, a window around it need not
    held = window.clip(place.grid.window)
    there = np.flatnonzero(change.region.inside(held))[chosen]
    if older is None:
        memory = detector.learn(rules, x[past][..., pixels], valid[past][:, pixels])
        memory["around"] = kept.memory(held)["around"][:, there]
    else:
        memory = {name: values[:, there] for name, values in older.memory(held).items()}
    seen, expected, spread = _course(
        rules, memory, x[..., pixels], valid[:, pixels], place.days, past, told, scored
    )
    shown = _shown(change, place.days, valid.mean(axis=1))
    images = x.reshape(*x.shape[:2], window.height, window.width)[[i for i, _ in shown]]
    good = valid.reshape(-1, window.height, window.width)[[i for i, _ in shown]]
    return Look(
        change, place.days.astype(np.int64), tuple(d.name for d in place.dates), seen, expected, spread,
        valid[:, pixels].mean(axis=1), past, shown, _drawn(images, good, inside, place.dates[0].scene.natural),
    )  # fmt: skip


def _course(
    rules: Rules, memory: Memory, x: npt.NDArray[Any], valid: Bools, days: Floats, past: Bools,
    told: Bools, scored: Sequence[ScoredDate],
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """What was seen, expected and the deviation (T, B) over the pixels: x (T, B, pixel), `valid` (T, pixel).

    Of dates that are not `told` nothing is expected.
    """
    seen, expected, spread = (np.full(x.shape[:2], np.nan) for _ in range(3))
    # variances (B, pixel) of bands, of those along each component
    unit = memory["scale"].astype(np.float64) * memory["around"].astype(np.float64)
    band = np.linalg.inv(rules.whitening) ** 2 @ unit
    new, common = iter(scored), iter(() if rules.shared is None else rules.shared)
    for i, day in enumerate(days):
        if not told[i]:
            seen[i] = _means(x[i].astype(np.float64), valid[i])
            continue
        date = None if past[i] else next(new)
        judged = detector.judge(rules, memory, x[i], float(day), date.shared if date else next(common, None))
        known = np.isfinite(judged.square)
        there = x[i] - judged.residual
        expected[i] = _means(there, known)
        variance = band * (1 + judged.variance)
        if date:
            variance = variance * date.unrest
            eased = detector.ease(judged, date.unrest)
            memory = detector.absorb(rules, memory, eased, valid[i] & known, float(day))
        spread[i] = np.sqrt(_means(variance, known))
        # of a region that is half under clouds the other half differs from its own, not from the whole one's mean
        seen[i] = expected[i] + _means(judged.residual, valid[i] & known)
    return seen, expected, spread


def _means(values: Floats, known: Bools) -> Floats:
    """Means (B) of values (B, pixel) over the pixels that are known, NaN where none is."""
    return values[:, known].mean(axis=1) if known.any() else np.full(len(values), np.nan)


def _shown(change: Change, days: Floats, share: Floats) -> tuple[tuple[int, str], ...]:
    """The dates of a strip, by number, each with what it is: before, first, peak, last, and some between."""
    clear = np.flatnonzero(share >= CLEAR)
    roles: dict[int, list[str]] = {}

    def note(numbers: npt.NDArray[np.intp], role: str) -> None:
        if len(numbers):
            roles.setdefault(int(numbers[0]), []).append(role)

    earlier = clear[days[clear] < change.first]
    # the same season a year before, and the last look before the change
    apart = np.abs(days[earlier] - (change.peak_day - YEAR))
    note(earlier[np.argsort(apart)][: int(apart.min(initial=np.inf) <= SEASON)], "a year before the peak")
    note(earlier[::-1], "before")
    for role in ("first", "confirmed", "peak", "last"):
        day = change.peak_day if role == "peak" else getattr(change, role)
        there = np.flatnonzero(days == day)
        # of several scenes of a day the one that shows most
        note(there[np.argsort(-share[there], kind="stable")], role)
    others = [i for i in clear if int(i) not in roles]
    room = max(0, min(PANELS - len(roles), len(others)))
    for place in np.linspace(0, len(others) - 1, room).round().astype(int) if room else ():
        roles.setdefault(int(others[place]), [])
    return tuple((i, ", ".join(roles[i])) for i in sorted(roles))


def _drawn(
    images: npt.NDArray[Any], valid: Bools, inside: Bools, natural: Sequence[int]
) -> list[chips.Picture]:
    """Pictures drawn alike, with the outline of the region: images (date, B, row, col)."""
    sample = images.transpose(1, 0, 2, 3)[list(natural)][:, valid]
    if not sample.size:
        sample = np.zeros((len(natural), 1))
    low, high = composite.contrast(sample.astype(np.float64))
    drawn = [
        composite.bgr(image[list(natural)], low, high, good)
        for image, good in zip(images, valid, strict=True)
    ]
    if len(inside) > LARGE:
        # pixels of a picture that is shown at half of their size, or less, would be most of a report
        half = (len(inside) // 2,) * 2
        drawn = [
            cv2.resize(picture, half, interpolation=cv2.INTER_AREA).astype(np.uint8) for picture in drawn
        ]
        inside = cv2.resize(inside.astype(np.uint8), half, interpolation=cv2.INTER_AREA) > 0
    return chips.panels_of(drawn, inside, PANEL)
