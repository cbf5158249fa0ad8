"""The tool inside `satae series`: scenes of one place in; what changed on which date out, and a state to go on from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae import heap
from satae.console import SILENT, Steps, quantity
from satae.decisions.earlier import Earlier
from satae.errors import ConfigError, SceneError
from satae.grid import Grid, Window
from satae.publish import locks, publish_all, staging
from satae.scene.scene import Scene
from satae.series import calibration, dates, detector, learning, outputs, persistence, shifts, state
from satae.series.learning import Options
from satae.series.looks import LISTED, looks
from satae.series.rules import MEDIAN, NETWORKS, PAIR, SEASONAL, Memory, Rules
from satae.series.sketch import Sketch
from satae.series.stack import Scales, Stack, on_grid, stack
from satae.series.state import Header, ScoredDate
from satae.series.tracks import FIELDS, Alarms, Change, changes

MODELS = "auto", SEASONAL, MEDIAN, PAIR, *NETWORKS
ENOUGH = 12  # dates of a history from which on a season can be fitted
A_YEAR = 330.0  # days that they must span
RECENT = 365.0  # days that are monitored where nothing is said, if the history is then long enough
SHARE = 0.6  # of the dates that are history otherwise
DECODED = "decoded"  # where blocks that are slow to decode are kept meanwhile
BESIDE = 6  # earlier dates of either kind that are shown beside those of a state
MANY = 1000  # false alarms that are promised, from which on a line says so
DEAF = 6.0  # deviations of the threshold from which on a line says so
CHUNK = 4096  # pixels that are worked on at once
YEAR = 365.25

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Result:
    """What `satae series` made: files, the regions by falling peak, and the header of the state."""

    out: Path
    files: tuple[Path, ...]
    changes: list[Change]
    header: Header
    grid: Grid
    scored: tuple[ScoredDate, ...]
    remarks: tuple[str, ...] = ()


def series(
    scenes: Sequence[Scene], days: Sequence[int], out: Path, options: Options, steps: Steps = SILENT
) -> Result:
    """Fit a place's history and score the dates that are monitored, all or nothing is written.

    Raises SceneError where the scenes are no series, ConfigError where nothing is left to fit or to monitor,
    OutputError where a target exists or cannot be written.
    """
    whole = stack(scenes, days)
    past, new = parts_of(whole.days, options)
    model = model_of(options.model, whole.days[past], int(new.sum()))
    if model in NETWORKS and options.trainer is None:
        raise ConfigError(
            f"--model {model} is learned, and no trainer was given (`satae.training.sequence.trainer`)"
        )
    place = whole.only(past | new)
    history = past[past | new]
    with _writing(out, options) as folder:
        place = place.decoded_once(folder / DECODED)
        header, sampled, place, remarks = learning.learn(place, history, model, options, steps)
        unrest, place = learning.unrest(header, sampled, place, np.flatnonzero(~history))
        return _scored(
            place, history, header, unrest, out, folder, options, steps, remarks, around=sampled.around
        )


def resume(
    scenes: Sequence[Scene],
    days: Sequence[int],
    path: Path,
    out: Path,
    options: Options,
    steps: Steps = SILENT,
) -> Result:
    """Go on from the state in a file with new dates; those that it has scored are left out.

    Raises ResultError where the file is no state, and what `series` raises.
    """
    header = state.header(path)
    if header.model == PAIR:
        raise ConfigError(f"{path} is of two dates and does not go on; name all dates without --state")
    header = state.with_network(header, path.with_name(f"{path.stem.removesuffix('_state')}_model.onnx"))
    source = state.source(path, header)
    # by day and name, for two scenes may be of one day
    done = {(s.day, s.scene) for s in header.scored}
    low, high = options.monitor or (-np.inf, np.inf)
    last = max((s.day for s in header.scored), default=int(max(header.history)))
    left = [
        (s, d)
        for s, d in zip(scenes, days, strict=True)
        if (d, s.name) not in done and low <= d <= high and d > max(header.history)
    ]
    if not left:
        raise ConfigError(
            f"{path} has scored all of these dates; name a scene of a day after {dates.text_of(last)}"
        )
    if min(d for _, d in left) < last:
        early = min(left, key=lambda of: of[1])
        raise ConfigError(
            f"{early[0].path} is of {dates.text_of(early[1])} and the state has gone on to {dates.text_of(last)}; make "
            "it again from all dates"
        )
    place = replace(on_grid(source.grid, [s for s, _ in left], [d for _, d in left]), scaled=header.scaled)
    if place.bands != header.bands:
        raise SceneError(
            f"{place.dates[0].scene.path} has the bands {', '.join(place.bands)} and the state has "
            f"{', '.join(header.bands)}; choose those with --bands"
        )
    if header.scales and place.scales != (header.scales,):
        raise SceneError(_other_scale(place, header.scales))
    known = [
        (s, d) for s, d in zip(scenes, days, strict=True) if (d, s.name) in done or d <= max(header.history)
    ]
    earlier = _earlier(known, place, header)
    # all that is scored now is new: the history is in the state
    past = np.zeros(len(place.dates), bool)
    with _writing(out, options) as folder, state.reading(source, header) as reader:
        place = place.decoded_once(folder / DECODED)
        parts = [reader.memory(w) for w in header.windows]
        memory = {name: np.concatenate([p[name] for p in parts], axis=1) for name in parts[0]}
        clear = [reader.clear(w.with_margin(header.buffer + 1)) for w in header.windows]
        unrest, place = learning.unrest(
            header, learning.Sample(header.windows, memory, clear), place, np.arange(len(past))
        )
        return _scored(place, past, header, unrest, out, folder, options, steps, (), reader, earlier)


def _earlier(known: Sequence[tuple[Scene, int]], place: Stack, header: Header) -> Stack | None:
    """Of the dates that a state has passed over those to show beside the new ones; None where there are none.

    They are the last, and those nearest to a year before the newest date, of files that are quick to read.
    """
    quick = [(s, d) for s, d in known if s.is_plain and d < place.days[0]]
    if not quick:
        return None
    days = np.array([d for _, d in quick])
    near = np.argsort(np.abs(days - (place.days[-1] - YEAR)), kind="stable")
    chosen = sorted({*near[:BESIDE], *np.argsort(-days, kind="stable")[:BESIDE]})
    try:
        found = on_grid(place.grid, [quick[i][0] for i in chosen], [quick[i][1] for i in chosen])
    except SceneError:
        # a file that is another one since: what is new does not hang on it
        return None
    found = replace(found, scaled=header.scaled)
    both = replace(place, dates=(*found.dates, *place.dates))
    if found.bands != place.bands or both.dtype != place.dtype or both.rescales != place.rescales:
        return None
    shift = {(s.day, s.scene): s.shift for s in header.scored}
    return found.with_shifts(
        {i: shift[d.day, d.name] for i, d in enumerate(found.dates) if (d.day, d.name) in shift}
    )


def _other_scale(place: Stack, scales: Scales) -> str:
    """What is wrong with new dates whose DN stand for other values than those of a state."""
    other = next(d.scene for d in place.dates if (d.scene.scales, d.scene.offsets) != scales)
    bands = zip(zip(other.scales, other.offsets, strict=True), zip(*scales, strict=True), strict=True)
    there, here = next((a, b) for a, b in bands if a != b)
    return (
        f"{other.path} declares a scale of {there[0]:g} and an offset of {there[1]:g} and the state is of dates with "
        f"{here[0]:g} and {here[1]:g}; make it again from all dates"
    )


@contextmanager
def _writing(out: Path, options: Options) -> Iterator[Path]:
    """A staging folder beside the result, whose targets are free and locked."""
    if out.suffix.lower() != ".gpkg":
        raise ConfigError(f"--out {out} must end in .gpkg")
    with locks(outputs.targets(out)), staging(out) as folder:
        outputs.check_targets(out, overwrite=options.overwrite)
        yield folder


def parts_of(days: Floats, options: Options) -> tuple[Bools, Bools]:
    """Which dates are history and which are monitored; ConfigError where none are either."""
    if len(days) < 2:
        raise ConfigError("a series has two dates at least, and one was named")
    if options.history is not None:
        low, high = options.history
        past = (days >= low) & (days <= high)
    elif options.monitor is not None:
        past = days < options.monitor[0]
    else:
        past = days <= days[-1] - RECENT
        if np.count_nonzero(past) < ENOUGH or np.ptp(days[past]) < 2 * A_YEAR:
            past = np.arange(len(days)) < max(1, int(SHARE * len(days)))
    low, high = options.monitor or (-np.inf, np.inf)
    # what comes before the history ends cannot be new
    new = (days >= low) & (days <= high) & ~past & (days > days[past].max(initial=-np.inf))
    if not past.any() or not new.any():
        lacking = "history" if not past.any() else "dates to monitor"
        raise ConfigError(
            f"of {quantity(len(days), 'date')} from {dates.text_of(days[0])} to {dates.text_of(days[-1])} none are "
            f"left as {lacking}; choose others by --history and --monitor"
        )
    return past, new


def model_of(asked: str, days: Floats, new: int) -> str:
    """The model that is asked for, or that suits a history of these days and so many new dates."""
    if asked not in MODELS:
        raise ConfigError(f"--model {asked}: there are {', '.join(MODELS)}")
    if asked == SEASONAL and len(days) < 3:
        raise ConfigError(
            f"--model seasonal needs three dates of history, and there are {len(days)}; take median"
        )
    if asked in NETWORKS and (len(days) < ENOUGH or np.ptp(days) < A_YEAR):
        raise ConfigError(
            f"--model {asked} learns what a season leaves, which takes {ENOUGH} dates over {A_YEAR:.0f} days, and the "
            f"history has {len(days)} over {np.ptp(days):.0f}; take median"
        )
    if asked == PAIR and (len(days), new) != (1, 1):
        raise ConfigError(
            f"--model pair takes one date of history and one to monitor, and there are {len(days)} and {new}; choose "
            "them by --history and --monitor"
        )
    if asked != "auto":
        return asked
    if (len(days), new) == (1, 1):
        return PAIR
    return SEASONAL if len(days) >= ENOUGH and np.ptp(days) >= A_YEAR else MEDIAN


def _scored(
    place: Stack, history: Bools, header: Header, unrest: list[ScoredDate], out: Path, folder: Path,
    options: Options, steps: Steps, remarks: tuple[str, ...], older: state.Reader | None = None,
    earlier: Stack | None = None, around: learning.Surroundings | None = None,
) -> Result:  # fmt: skip
    """Score all windows of the place and write what came of it."""
    header = header.model_copy(update={"scored": (*header.scored, *unrest)})
    rules, parts = header.rules, []
    heap.trim()  # what the sample took
    new = place.only(~history)
    seen, sketch = np.zeros(len(unrest), np.int64), Sketch(place.grid, place.dates[0].scene.natural)
    with (
        steps.stage("score dates", place.grid.pixels, "px", brief=0) as bar,
        outputs.writing(folder, out, new, rules, header) as files,
        place.open() as reader,
    ):
        for window in place.windows():
            if older is None:
                clear = learning.clear_ground(reader, window, history, header.buffer)
            else:
                clear = older.clear(window.with_margin(header.buffer + 1))
            x, valid = learning.flat(reader, window, clear, header.buffer)
            sketch.add(window, x[~history], valid[~history])
            before = older.memory(window) if older is not None else {}
            if around is not None:
                before = {"around": around.of(reader, window)}
            # few pixels at once: the arithmetic is in float64 and over all dates
            chunks = []
            for part in _chunks(x.shape[2]):
                memory = {name: values[:, part] for name, values in before.items()}
                if older is None:
                    memory = detector.learn(rules, x[history, :, part], valid[history, part]) | memory
                chunks.append(_stepped(rules, memory, x[~history, :, part], valid[~history, part], unrest))
                bar.add(part.stop - part.start)
            memory = {name: np.concatenate([m[name] for m, _ in chunks], axis=1) for name in chunks[0][0]}
            squares = np.concatenate([s for _, s in chunks], axis=1)
            seen += np.isfinite(squares).sum(axis=1)
            # `clear` has a margin for the clouds around; the state keeps the window
            inner = header.buffer + 1
            files.write(window, clear[inner:-inner, inner:-inner], memory, squares)
            parts.append(_alarms(window, memory, rules.bands))
        # regions are of the whole place, so they come last, and of the pixels in alarm alone
        alarms, width = Alarms.join(parts, rules.bands), place.grid.width
        found = changes(alarms, width, header.least)
        files.write_changes(alarms.of(found, width), place.windows())
    shown, drafted = [], state.source(folder / outputs.beside(out, outputs.STATE).name, header)
    with (
        steps.stage("look at regions", min(len(found), LISTED), "region") as bar,
        state.reading(drafted, header) as kept,
    ):
        for look in looks(found, place, history, rules, unrest, header.buffer, kept, older, earlier):
            shown.append(look)
            bar.add(1)
    shutil.rmtree(folder / DECODED)  # room for what is written now
    with steps.stage("write layers and heatmaps"):
        drawn, shares = outputs.settle(folder, out, new, header, shown), seen / place.grid.pixels
        carried, placed = _in_place(
            out,
            folder,
            options,
            lambda: outputs.finish(
                folder, out, new, header, found, shares, options.created, shown, drawn, sketch
            ),
        )
    said = (*remarks, *carried, *_said(unrest), *_promised(header, place.grid), *_deaf(header))
    return Result(out, placed, found, header, place.grid, tuple(unrest), said)


def _in_place(
    out: Path, folder: Path, options: Options, finish: Callable[[], tuple[str, ...]]
) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Finish the drafts with the decisions on what is there, and put them in its place: (lines to know, files)."""
    with Earlier(out) as held:
        held.look()
        said = finish()
        with held.hold(overwrite=options.overwrite):
            # nobody decides from here to the rename; once more, if somebody did while all that was written
            said = finish() if held.is_stale else said
            moves = outputs.moves(folder, out)
            publish_all(moves)
    return said, tuple(target for _, target in moves)


def _said(scored: Sequence[ScoredDate]) -> list[str]:
    """A line on dates that lie beside their place."""
    beside = [s for s in scored if s.shift != shifts.NONE]
    if not beside:
        return []
    most = max(beside, key=lambda s: np.hypot(*s.shift))
    size = float(np.hypot(*most.shift))
    return [
        f"{quantity(len(beside), 'date')} lay beside the place and were moved back: {most.scene} of "
        f"{dates.text_of(most.day)} furthest, by {size:.2f} pixels"
    ]


def _promised(header: Header, grid: Grid) -> list[str]:
    """A line where `--far` stands for so many false alarms over the place and its days that none could be looked at."""
    km2 = grid.pixels * (grid.pixel_area_m2 or 1e6 / calibration.PIXELS_KM2) / 1e6
    years = (max(s.day for s in header.scored) - max(header.history)) / YEAR
    count = header.far * km2 * years
    if count < MANY or not np.isfinite(header.threshold):
        return []
    return [
        f"--far {header.far:g} stands for {count:,.0f} false alarms on {km2:,.0f} km2 in {years:.1f} years; for ten in "
        f"all take --far {10 / (km2 * years):.1g}"
    ]


def _deaf(header: Header) -> list[str]:
    """A line where the threshold is so high that hardly any change would be reported."""
    if np.isinf(header.threshold):
        return [f"--far {header.far:g} is rarer than this history tells: nothing is reported; raise it"]
    if (size := float(np.sqrt(header.threshold))) < DEAF:
        return []
    other = ", or try --model median" if header.rules.seasonal else ""
    return [
        f"the threshold is {size:,.0f} deviations, and no smaller change is reported: the history holds clouds that no "
        f"mask covers, or changes; mask them or end the history before them by --history{other}"
    ]


def _chunks(pixels: int) -> Iterator[slice]:
    """Parts of so many pixels, of about one size: a single one that is left over would be summed in another order."""
    ends = np.linspace(0, pixels, -(-pixels // CHUNK) + 1).astype(int).tolist()
    return (slice(*ends) for ends in pairwise(ends))


def _stepped(
    rules: Rules, memory: Memory, x: npt.NDArray[Any], valid: Bools, scored: Sequence[ScoredDate]
) -> tuple[Memory, npt.NDArray[np.float32]]:
    """The memory after all dates, and mean squares (date, pixel), NaN where not scored."""
    squares = np.full(valid.shape, np.nan, np.float32)
    for i, date in enumerate(scored):
        judged = detector.judge(rules, memory, x[i], float(date.day), date.shared)
        judged = detector.ease(judged, date.unrest)
        good = valid[i] & np.isfinite(judged.square)
        seen = detector.amid(judged, memory["around"])
        memory, _ = persistence.step(
            memory, seen.white, seen.residual, good, float(date.day), rules.keep, rules.threshold
        )
        memory = detector.absorb(rules, memory, judged, good, float(date.day))
        squares[i, good] = seen.square[good]
    return memory, squares


def _alarms(window: Window, memory: Memory, bands: int) -> Alarms:
    """The pixels of a window that are in alarm."""
    found = state.alarms(memory)
    row, col = np.divmod(found, window.width)
    numbers = {name: memory[name][0, found].astype(np.float64) for name in FIELDS}
    return Alarms(
        row + window.row, col + window.col, numbers, memory["magnitude"][:, found].astype(np.float64)
    )
