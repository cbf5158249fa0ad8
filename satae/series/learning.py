"""What is learned before a date is scored: rules, threshold from a sample of the history, the unrest of dates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import satae
from satae.console import Steps
from satae.errors import SceneError
from satae.grid import Window
from satae.inference.sequences import Trainer
from satae.series import calibration, detector, heldout, networks, shifts, state, surroundings, whitening
from satae.series.heldout import HeldOut, Turn
from satae.series.rules import PAIR, Memory, Rules
from satae.series.stack import Stack, StackReader, ground, without_clouds
from satae.series.state import Header, ScoredDate
from satae.series.surroundings import Lattice, Sums

TOUCHED = 0.1  # share of a place that may have changed where only its own dates tell what is usual
YEAR = 365.25
UNPROMISED = (
    "the history is too short to hold a date out, so scores rank the places of these dates and promise nothing; one "
    "date is all that an alarm needs"
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Options:
    """How a series is scored. `history` and `monitor` are spans of days, None for what suits the dates.

    `far`: false alarms a km2 and year. An alarm is where `keep` (k, n), k of the last n valid dates, agree, and a
    region has at least `least` pixels. `trainer` learns the network of a model that has one.
    """

    history: tuple[float, float] | None = None
    monitor: tuple[float, float] | None = None
    model: str = "auto"
    far: float = 1.0
    keep: tuple[int, int] = (2, 3)
    least: int = 4
    overwrite: bool = False
    created: str = "1970-01-01T00:00:00Z"
    trainer: Trainer | None = None


@dataclass(frozen=True)
class Sample:
    """The windows of a sample, the memory of their pixels, and where (row, col) each is clear, with a margin.

    `around`: what tells how the ground around any other pixel varies, where there is a season.
    """

    windows: list[Window]
    memory: Memory
    clear: list[Bools]
    around: Surroundings | None = None

    def read(
        self, reader: StackReader, buffer: int, numbers: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[Any], Bools]:
        """x (date, B, pixel) and `valid` (date, pixel) of dates."""
        pairs = zip(self.windows, self.clear, strict=True)
        parts = [flat(reader, window, clear, buffer, numbers) for window, clear in pairs]
        x, valid = (np.concatenate(a, axis=-1) for a in zip(*parts, strict=True))
        return x, valid


@dataclass(frozen=True)
class Surroundings:
    """How the ground around any pixel varies, by the `turns` in which the `history` (date) of the place was held out.

    `usual` (B) is what is usual in the sample.
    """

    turns: tuple[Turn, ...]
    keep: tuple[int, int]
    history: Bools
    buffer: int
    usual: Floats

    def sums(self, reader: StackReader, window: Window) -> Sums:
        """What the pixels of a window have around."""
        lattice = Lattice.around(window, reader.stack.grid)
        clear = clear_ground(reader, lattice.outer, self.history, self.buffer)
        x, valid = flat(reader, lattice.outer, clear, self.buffer, np.flatnonzero(self.history))
        pixels = lattice.pixels
        return lattice.sums(*surroundings.agreements(self.turns, x[..., pixels], valid[:, pixels], self.keep))

    def of(self, reader: StackReader, window: Window) -> npt.NDArray[np.float32]:
        """`around` (B, pixel) of the pixels of a window."""
        return self.sums(reader, window).beside(self.usual)


def learn(
    place: Stack, history: Bools, model: str, options: Options, steps: Steps
) -> tuple[Header, Sample, Stack, tuple[str, ...]]:
    """The header, the sample with its memory, and the place with the dates of its history where they belong."""
    days, buffer = place.days[history], place.buffer
    windows = calibration.sample(place.grid, len(days), len(place.bands))
    with steps.stage("read a sample", len(windows), "window") as bar, place.open() as reader:
        clear = []
        for window in windows:
            clear.append(clear_ground(reader, window, history, buffer))
            bar.add(1)
        draft = Sample(windows, {}, clear)
        x, valid = draft.read(reader, buffer, np.flatnonzero(history))
        if not valid.any():
            raise SceneError("no pixel of the sample is valid on any date of the history")
        with steps.stage("learn the history"):
            rules = detector.rules_of(model, days, x, valid, options.keep)
            if found := _history_shifts(rules, draft, x, valid, np.flatnonzero(history)):
                place = place.with_shifts(found)
                # once more, of dates that lie where they belong
                draft, x, valid = _moved(draft, place, history, buffer)
                rules = detector.rules_of(model, days, x, valid, options.keep)
            if options.trainer is not None:
                rules = _networks(rules, x, valid, place.bands, options.trainer, steps)
            a_year = _density(days)
            area = place.grid.pixel_area_m2
            side = calibration.block_side(area, valid.shape[1], options.far, len(days), a_year)
            where = calibration.layout(windows, side, area)
            remarks: tuple[str, ...] = ()
            around: Surroundings | None = None
            if len(days) > 2:
                held = heldout.of_sample(rules, x, valid)
                if rules.seasonal:
                    held, around, own = _amid(held, options.keep, windows, place, history, buffer)
                promise = calibration.of_outcomes(
                    rules, held.outcomes, held.valid, where, options.least, held.calm
                )
            else:
                rules, promise = _of_itself(
                    rules, draft, reader, (x, valid), place, history, buffer, where, options
                )
                remarks = (UNPROMISED,)
            rules = replace(rules, threshold=promise.threshold(options.far, a_year))
            if rules.network is not None:
                rules = replace(rules, network=rules.network.with_threshold(options.far, rules.threshold))
            memory = detector.learn(rules, x, valid)
            if around is not None:
                memory["around"] = own
    header = state.header_of(
        rules, promise, windows, bands=place.bands, far=options.far, least=options.least, scaled=place.rescales,
        scales=None if place.rescales else place.scales[0], buffer=buffer, version=satae.__version__,
    )  # fmt: skip
    return header, replace(draft, memory=memory, around=around), place, remarks


def _amid(
    held: HeldOut, keep: tuple[int, int], windows: list[Window], place: Stack, history: Bools, buffer: int
) -> tuple[HeldOut, Surroundings, npt.NDArray[np.float32]]:
    """What was held out in units of the ground around, what tells that of others, and `around` of the sample."""
    found = Surroundings(held.turns, keep, history, buffer, np.zeros(0))
    with place.open() as reader:
        sums = surroundings.chain([found.sums(reader, window) for window in windows])
    found = replace(found, usual=surroundings.usual(sums))
    return surroundings.amid(held, sums), found, sums.beside(found.usual)


def _networks(
    rules: Rules, x: npt.NDArray[Any], valid: Bools, bands: tuple[str, ...], trainer: Trainer, steps: Steps
) -> Rules:
    """The rules with the networks of a model that has some."""
    with steps.stage("train the networks", 0, "step", brief=0) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        found = networks.learn(rules, x, valid, bands, trainer, tell)
        bar.total = bar.done  # where they ended early
    return found


def _of_itself(
    rules: Rules, draft: Sample, reader: StackReader, past: tuple[npt.NDArray[Any], Bools], place: Stack,
    history: Bools, buffer: int, where: calibration.Layout, options: Options,
) -> tuple[Rules, calibration.Promise]:  # fmt: skip
    """Rules and what the dates to be scored say of themselves, where the history is too short to say it."""
    new = np.flatnonzero(~history)
    x, valid = draft.read(reader, buffer, new)
    # what two dates leave of one another tells no scale; that of the new ones does
    days, rules = place.days[new], replace(rules, keep=(1, 1), middle=1.0)
    memory = detector.learn(rules, *past)
    known = valid & past[1].any(axis=0)
    if not known.any():
        raise SceneError(
            "no pixel of the sample is valid on a date of the history and on one that is monitored"
        )
    if rules.model == PAIR:
        rules = detector.pair_rules(rules, memory, x[0], known[0])
    else:
        judged = [detector.judge(rules, memory, now, float(day)) for now, day in zip(x, days, strict=True)]
        left = np.concatenate([j.residual[:, k] for j, k in zip(judged, known, strict=True)], axis=1)
        rules = replace(rules, whitening=whitening.of_residuals(left))
    memory = detector.learn(rules, *past)
    judged = [detector.judge(rules, memory, now, float(day)) for now, day in zip(x, days, strict=True)]
    calm = max(
        float(np.median(np.concatenate([j.square[k] for j, k in zip(judged, known, strict=True)]))), 1e-9
    )
    of = replace(rules, days=tuple(map(float, days)))
    return rules, calibration.of_outcomes(
        of, dict(enumerate(judged)), known, where, options.least, calm, TOUCHED
    )


def _density(days: Floats) -> float:
    """Dates a year at the end of a history, which those to come are taken to have too."""
    # satellites are added: the last year tells more of what is to come than the mean
    last = days[days > days[-1] - YEAR]
    return max(float(len(last)), float(len(days) / max(np.ptp(days) / YEAR, 1.0)))


def clear_ground(reader: StackReader, window: Window, history: Bools, buffer: int) -> Bools:
    """Where most dates of the history count, with a margin."""
    _, valid = reader.read(window, buffer + 1, np.flatnonzero(history).tolist())
    return ground(valid)


def flat(
    reader: StackReader,
    window: Window,
    clear: Bools,
    buffer: int,
    numbers: npt.NDArray[np.intp] | None = None,
) -> tuple[npt.NDArray[Any], Bools]:
    """x (date, B, pixel) and `valid` (date, pixel) of a window, in row-major order, buffered; all dates by default."""
    cube, valid = reader.read(window, buffer + 1, None if numbers is None else numbers.tolist())
    good = without_clouds(valid, clear, buffer)
    return cube.reshape(*cube.shape[:2], -1), good.reshape(len(good), -1)


def unrest(
    header: Header, sample: Sample, place: Stack, new: npt.NDArray[np.intp]
) -> tuple[list[ScoredDate], Stack]:
    """The dates to be scored, each with its unrest and its shift in the sample; the place with them moved back."""
    rules, memory, found = header.rules, sample.memory, []
    with place.open() as reader:
        # as many dates at once as the history has, for so many fit into memory
        for numbers in np.array_split(new, -(-len(new) // max(8, len(header.history)))):
            x, valid = sample.read(reader, header.buffer, numbers)
            for number, now, good in zip(numbers, x, valid, strict=True):
                date = place.dates[number]
                # where a date lies is told by the season of its ground, which is quicker than what a network adds
                judged = detector.judge(replace(rules, network=None), memory, now, float(date.day))
                shift = _shift(rules, sample.windows, now, judged, good)
                if shift != shifts.NONE:
                    place = place.with_shifts({int(number): shift})
                    moved, known = _reread(sample, place, header.buffer, np.array([number]))
                    now, good = moved[0], known[0]
                judged, shared = detector.apart(rules, memory, now, float(date.day), good)
                known = good & np.isfinite(judged.square)
                wide = heldout.unrest(judged.square, known, header.calm)
                memory = detector.absorb(rules, memory, detector.ease(judged, wide), known, float(date.day))
                common = None if shared is None else state.matrix(shared)
                found.append(
                    ScoredDate(day=date.day, scene=date.name, unrest=wide, shift=shift, shared=common)
                )
    return found, place


def _reread(
    sample: Sample, place: Stack, buffer: int, numbers: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[Any], Bools]:
    with place.open() as reader:
        return sample.read(reader, buffer, numbers)


def _moved(
    draft: Sample, place: Stack, history: Bools, buffer: int
) -> tuple[Sample, npt.NDArray[Any], Bools]:
    """The sample where most dates count once they are moved back, and what it reads, as windows are read and kept."""
    with place.open() as reader:
        draft = replace(draft, clear=[clear_ground(reader, w, history, buffer) for w in draft.windows])
        return draft, *draft.read(reader, buffer, np.flatnonzero(history))


def _history_shifts(
    rules: Rules, sample: Sample, x: npt.NDArray[Any], valid: Bools, numbers: npt.NDArray[np.intp]
) -> dict[int, shifts.Shift]:
    """The dates of a history that lie beside what all of them make one expect, by their numbers in the place."""
    if len(numbers) < 3:
        return {}
    memory, found = detector.learn(rules, x, valid), {}
    for number, day, now, good in zip(numbers, rules.days, x, valid, strict=True):
        judged = detector.judge(rules, memory, now, day)
        shift = _shift(rules, sample.windows, now, judged, good)
        if shift != shifts.NONE:
            found[int(number)] = shift
    return found


def _shift(
    rules: Rules, windows: list[Window], x: npt.NDArray[Any], judged: detector.Outcome, good: Bools
) -> shifts.Shift:
    """By how much a date of the sample lies beside what is expected of it."""
    # bands in deviations of what is left of them, so that none outweighs the others
    spread = np.sqrt((np.linalg.inv(rules.whitening) ** 2).sum(axis=1))[:, None]
    image, there = x / spread, (x - judged.residual) / spread
    known = good & np.isfinite(judged.square)
    ends = np.cumsum([w.height * w.width for w in windows])[:-1]
    shapes = [(w.height, w.width) for w in windows]
    parts = [np.split(a, ends, axis=-1) for a in (image, there, known)]
    images, expected, valid = (
        [p.reshape(*p.shape[:-1], *shape) for p, shape in zip(part, shapes, strict=True)] for part in parts
    )
    return shifts.estimate(images, expected, valid)
