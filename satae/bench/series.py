"""Looks for planted changes in a real series: thresholds at equal false alarms, the share found, how late.

Nothing that was monitored chooses ground, and thresholds only by the count of false alarms on the place as it is, in
one way for every method.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from satae.bench.changes import STEP, WITHIN, Change, Planting, delay, plant
from satae.bench.contest import Progress
from satae.bench.place import Ground, Method, ground, ours, rival, rival_in_history
from satae.bench.report import staged_output
from satae.bench.rivals import RIVALS
from satae.bench.sequences import NAMES as SEQUENCES
from satae.bench.sequences import method_of
from satae.grid import Window
from satae.scene.scene import Scene
from satae.series.learning import Options
from satae.series.tracks import FIELDS, Alarms, changes

OURS = "satae"
OWN, NOW = ", own", ", now"  # thresholds of the tool itself, and by alarms on the new dates
LEVELS = 160  # thresholds that are tried
STARTS = (
    1.0,
    2.0,
    3.0,
    4.0,
    8.0,
)  # contrasts between which steps are told apart by what their first dates show
WIDE = 22  # of the names in a table

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def alarm_dates(agreement: Floats, threshold: float) -> npt.NDArray[np.intp]:
    """The number of the date on which each pixel's first alarm is, -1 where there is none."""
    high = agreement >= threshold  # NaN is not
    return np.where(high.any(axis=0), high.argmax(axis=0), -1)


def regions(place: Ground, when: npt.NDArray[np.intp], dates: Floats) -> tuple[int, Bools]:
    """(how many regions the alarms make, which pixels (row, col) they hold), as `satae series` would report them.

    `when` are numbers of `dates`, -1 where there is no alarm.
    """
    height, width = place.steady.shape
    at = np.flatnonzero((when >= 0) & place.steady.ravel())
    days = np.where(when >= 0, dates[np.maximum(when, 0)], 0.0)[at]
    row, col = np.divmod(at, width)
    found = changes(
        Alarms(row, col, dict.fromkeys(FIELDS, days), np.zeros((1, len(at)))), width, place.options.least
    )
    held, whole = np.zeros((height, width), bool), Window(0, 0, height, width)
    for change in found:
        held[change.region.window.slices(whole)] |= change.region.mask
    return len(found), held


def threshold_at(place: Ground, agreement: Floats, dates: Floats, allowed: float) -> float:
    """The lowest threshold at which, and above which, these dates raise no more alarms than are allowed."""
    known = np.where(np.isfinite(agreement), agreement, -np.inf).max(axis=0)
    levels = np.sort(known[place.steady.ravel() & np.isfinite(known)])[::-1]
    # closely where few pixels are left, for there a pixel makes or breaks a region
    ranks = np.unique(np.geomspace(1, max(len(levels) // 2, 2), LEVELS).astype(int)) - 1
    best = float(levels[0]) * (1 + 1e-9) + 1e-12
    for rank in ranks:
        if regions(place, alarm_dates(agreement, float(levels[rank])), dates)[0] > allowed:
            break
        best = float(levels[rank])
    return best


@dataclass(frozen=True)
class Tally:
    """What a method found: (change, delay or None) of all rounds at its threshold, and alarms on what is untouched."""

    threshold: float
    in_history: int
    alarms: int
    delays: list[tuple[Change, int | None]]

    def of(self, kind: str, contrast: float | None = None) -> list[int | None]:
        """The delays of the changes of a kind, None of what was not found."""
        return [d for c, d in self.delays if c.kind == kind and contrast in (None, c.contrast)]

    def share(self, kind: str, contrast: float | None = None, most: float = np.inf) -> float | None:
        """The share of the changes of a kind that was found, within so many valid dates."""
        of = self.of(kind, contrast)
        return sum(d is not None and d <= most for d in of) / len(of) if of else None

    def delay(self, kind: str, share: float) -> float | None:
        """The delay that so large a share of the found changes of a kind keep, in valid dates."""
        of = sorted(d for d in self.of(kind) if d is not None)
        return float(of[min(len(of) - 1, int(np.ceil(share * len(of))) - 1)]) if of else None

    def prompt(self, kind: str, most: int) -> float | None:
        """The share of the found changes of a kind that were found within so many valid dates."""
        of = [d for d in self.of(kind) if d is not None]
        return sum(d <= most for d in of) / len(of) if of else None

    def starts(self, most: int) -> list[tuple[int, float | None]]:
        """(how many steps, the share of them found within so many valid dates) by the contrast that they start with."""
        out: list[tuple[int, float | None]] = []
        for low, high in pairwise((0.0, *STARTS, np.inf)):
            of = [d for c, d in self.delays if c.kind == STEP and low <= c.start < high]
            out.append((len(of), sum(d is not None and d <= most for d in of) / len(of) if of else None))
        return out


def search(
    place: Ground, planting: Planting, methods: dict[str, tuple[Floats, Method]], progress: Progress
) -> dict[str, Tally]:
    """Thresholds by the held-out history, and by the new dates as they are, then all rounds of planting.

    A method is its agreement (date, pixel) in the held-out history, and what it says of new dates.
    """
    new, valid = place.new()
    past_days, allowed = place.days[place.past], max(1.0, place.promise(place.history_years))
    tallies, total = {}, float(len(methods) * (1 + planting.rounds))
    for done, (name, (held, method)) in enumerate(methods.items(), 1):
        agreement = method(new.reshape(*new.shape[:2], -1), valid.reshape(len(valid), -1))
        thresholds = {name: threshold_at(place, held, past_days, allowed)}
        now = max(1.0, place.allowance)
        thresholds[f"{name}{NOW}"] = threshold_at(place, agreement, place.new_days, now)
        if name == OURS:
            thresholds[f"{name}{OWN}"] = place.rules.threshold
        for said, threshold in thresholds.items():
            counts = [
                regions(place, alarm_dates(a, threshold), days)[0]
                for a, days in ((held, past_days), (agreement, place.new_days))
            ]
            tallies[said] = Tally(threshold, counts[0], counts[1], [])
        progress(float(done), total, f"threshold of {name}")
    done = len(methods)
    for number in range(planting.rounds):
        planted, good, made = plant(place, planting, np.random.default_rng([planting.seed, 7, number]))
        for name, (_, method) in methods.items():
            agreement = method(planted.reshape(*planted.shape[:2], -1), good.reshape(len(good), -1))
            for tally in [tallies[name + s] for s in ("", NOW, OWN) if name + s in tallies]:
                when = alarm_dates(agreement, tally.threshold)
                _, inside = regions(place, when, place.new_days)
                least = place.options.least
                tally.delays.extend((change, delay(change, when, inside, good, least)) for change in made)
            done += 1
            progress(float(done), total, f"round {number + 1}, {name}")
    return tallies


def bench(
    scenes: Sequence[Scene], days: Sequence[int], options: Options, planting: Planting, out: Path, *,
    overwrite: bool = False, progress: Progress = lambda done, total, note: None,
) -> tuple[dict[str, Any], list[str], list[str]]:  # fmt: skip
    """Read, plant, search; (content, table, remarks). Publishes the folder `out`."""
    with staged_output(out, overwrite=overwrite) as (draft, _):
        place = ground(scenes, days, options, planting.steady)
        history = place.history()
        methods = {OURS: ours(place)}
        for name, fit in RIVALS.items():
            methods[name] = rival_in_history(place, fit), rival(place, fit(*history))
        for name in SEQUENCES if planting.steps else ():
            methods[name] = method_of(place, name, steps=planting.steps, seed=planting.seed)
        tallies = search(place, planting, methods, progress)
        said, table = content(place, planting, tallies), lines(place, planting, tallies)
        (draft / "bench.json").write_text(json.dumps(said, indent=1, allow_nan=False), encoding="utf-8")
        (draft / "table.txt").write_text("\n".join([*table, ""]), encoding="utf-8")
        told = {"series": {**asdict(planting), "far": options.far, "keep": list(place.rules.keep)}}
        (draft / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(told))), encoding="utf-8")
    return {"out": str(out)} | said, table, []


def content(place: Ground, planting: Planting, tallies: dict[str, Tally]) -> dict[str, Any]:
    """All of it, ready for JSON."""
    return {
        "kind": "series",
        "model": place.rules.model,
        "history_dates": int(place.past.sum()),
        "monitored_dates": int((~place.past).sum()),
        "km2": float(place.steady.sum()) * place.pixel_km2,
        "years": place.years,
        "far": place.options.far,
        "allowed": place.allowance,
        "planting": asdict(planting),
        "methods": {
            name: {
                "threshold": t.threshold if np.isfinite(t.threshold) else None,
                "alarms_in_history": t.in_history,
                "alarms_as_it_is": t.alarms,
                "found": {k: {f"{c:g}": t.share(k, c) for c in planting.contrasts} for k in planting.kinds},
                "mean": {k: t.share(k) for k in planting.kinds},
                "delay_90": {k: t.delay(k, 0.9) for k in planting.kinds},
                "within": {
                    k: {
                        f"{c:g}": [t.share(k, c, most) for most in range(1, WITHIN + 1)]
                        for c in planting.contrasts
                    }
                    for k in planting.kinds
                },
                "within_2_by_start": dict(zip(_bins(), t.starts(2), strict=True)),
            }
            for name, t in tallies.items()
        },
    }


def lines(place: Ground, planting: Planting, tallies: dict[str, Tally]) -> list[str]:
    """A row a method."""
    columns = [(k, c) for k in planting.kinds for c in (*planting.contrasts, None)]
    head = "".join(f"{k if c is None else f'{k} {c:g}':>9}" for k, c in columns)
    out = [f"{'':<{WIDE}}{head}{'delay':>7}{'in 2':>7}{'past':>6}{'now':>6}"]
    for name, t in tallies.items():
        cells = "".join(f"{_said(t.share(k, c)):>9}" for k, c in columns)
        late = t.delay(STEP, 0.9)
        said = "-" if late is None else f"{late:.0f}"
        out.append(
            f"{name:<{WIDE}}{cells}{said:>7}{_said(t.prompt(STEP, 2)):>7}{t.in_history:>6}{t.alarms:>6}"
        )
    made = next(iter(tallies.values())).delays
    counts = ", ".join(f"{sum(c.kind == k for c, _ in made)} of kind {k}" for k in planting.kinds)
    area = float(place.steady.sum()) * place.pixel_km2
    return [
        *out,
        f"share found of changes ({counts}; a spike should not be) by contrast in deviations of one date;",
        "delay: valid dates, that of the change too, by which 90 % of found steps were; in 2: share by the second;",
        f"past, now: alarms on the held-out history and on the new dates as they are, on {area:.3g} km2. By "
        f"{place.options.far:g} a km2",
        f"and year {place.promise(place.history_years):.1f} and {place.allowance:.1f} (1 at least) are allowed: the "
        "first threshold of a method keeps the former, `, now` the",
        "latter, which also holds what really changed; `, own` is what `satae series` takes",
        *_prompt_lines(tallies),
    ]


def _prompt_lines(tallies: dict[str, Tally]) -> list[str]:
    """How many of all steps were found by their second valid date, by what they show on the first two."""
    counts = [n for n, _ in next(iter(tallies.values())).starts(2)]
    if not sum(counts):
        return []
    head = "".join(f"{of:>9}" for of in _bins())
    rows = [
        f"{name:<{WIDE}}" + "".join(f"{_said(share):>9}" for _, share in t.starts(2))
        for name, t in tallies.items()
    ]
    return [
        "",
        f"{'':<{WIDE}}{head}",
        *rows,
        f"{'steps':<{WIDE}}" + "".join(f"{n:>9}" for n in counts),
        "share of all steps found by the second valid date, by the lower contrast of these two dates: in some seasons",
        "two kinds of ground look alike, whatever the contrast in the mean of the year",
    ]


def _bins() -> list[str]:
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(STARTS)]
    return [f"under {STARTS[0]:g}", *inner, f"over {STARTS[-1]:g}"]


def _said(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"
