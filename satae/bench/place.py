"""A real series held whole in memory, and the methods that are asked what changed in it: satae and its rivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.bench.rivals import Distance, Rival
from satae.console import SILENT
from satae.errors import ConfigError
from satae.grid import Window
from satae.scene.scene import Scene
from satae.series import calibration, detector, heldout, learning, persistence, run, seasonal, surroundings
from satae.series.heldout import HeldOut
from satae.series.learning import Options
from satae.series.rules import Rules
from satae.series.stack import stack
from satae.series.surroundings import Lattice

MOST = 400_000_000  # numbers of a place, over dates and bands

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Method = Callable[
    [npt.NDArray[Any], Bools], Floats
]  # new dates (date, B, pixel), valid -> agreement (date, pixel)


@dataclass(frozen=True)
class Ground:
    """A place in memory: x (date, B, row, col), `valid` and `days`; `past` marks history, `steady` (row, col) counts.

    `mean` (B, row, col) of the year and `noise` (B), the usual deviation of a date from it, are the history's.
    """

    x: npt.NDArray[Any]
    valid: Bools
    days: Floats
    past: Bools
    steady: Bools
    pixel_km2: float
    options: Options
    rules: Rules
    calm: float
    mean: Floats
    noise: Floats

    @property
    def new_days(self) -> Floats:
        """The days that are monitored."""
        return self.days[~self.past]

    @property
    def years(self) -> float:
        """How long the place was monitored."""
        return float(self.new_days[-1] - self.days[self.past][-1]) / calibration.YEAR

    @property
    def allowance(self) -> float:
        """False alarms that are promised over the steady ground and the monitored years."""
        return self.promise(self.years)

    @property
    def history_years(self) -> float:
        """How long the history is."""
        return max(float(np.ptp(self.days[self.past])) / calibration.YEAR, 1e-9)

    def promise(self, years: float) -> float:
        """False alarms over the steady ground in so many years."""
        return self.options.far * float(self.steady.sum()) * self.pixel_km2 * years

    def new(self) -> tuple[npt.NDArray[Any], Bools]:
        """The monitored dates as they are."""
        return self.x[~self.past], self.valid[~self.past]

    def history(self) -> tuple[Floats, Bools, Floats]:
        """The history as pixels: x (date, B, pixel), valid (date, pixel), days."""
        x = self.x[self.past].astype(np.float64)
        return x.reshape(*x.shape[:2], -1), self.valid[self.past].reshape(len(x), -1), self.days[self.past]


def ground(scenes: Sequence[Scene], days: Sequence[int], options: Options, steady: float) -> Ground:
    """Read a place whole; ConfigError where it is too large for that."""
    whole = stack(scenes, days)
    past, new = run.parts_of(whole.days, options)
    model = run.model_of(options.model, whole.days[past], int(new.sum()))
    place, history = whole.only(past | new), past[past | new]
    if (size := len(place.dates) * len(place.bands) * place.grid.pixels) > MOST:
        raise ConfigError(
            f"the place has {size:,} numbers over dates and bands, and the bench holds {MOST:,} in memory; choose a "
            "part with --aoi, or fewer dates"
        )
    header, sample, place, _ = learning.learn(place, history, model, options, SILENT)
    # every method reads the dates where they belong
    _, place = learning.unrest(header, sample, place, np.flatnonzero(~history))
    with place.open() as reader:
        clear = learning.clear_ground(reader, place.grid.window, history, header.buffer)
        x, valid = learning.flat(reader, place.grid.window, clear, header.buffer)
    # what `satae series` does not score no method is asked about
    valid &= valid[history].sum(axis=0) >= header.fewest
    shape = (place.grid.height, place.grid.width)
    km2 = (place.grid.pixel_area_m2 or 1e6 / calibration.PIXELS_KM2) / 1e6
    found = Ground(
        x.reshape(*x.shape[:2], *shape), valid.reshape(-1, *shape), place.days, history, np.ones(shape, bool), km2,
        options, header.rules, header.calm, np.zeros((x.shape[1], *shape)), np.ones(x.shape[1]),
    )  # fmt: skip
    return _described(found, steady)


def _described(place: Ground, share: float) -> Ground:
    """The place with mean, noise and steady ground by a fit of harmonics to its history.

    Nothing monitored is looked at. Steady is the share of pixels whose history lies nearest to its own fit.
    """
    x, valid, days = place.history()
    terms = seasonal.basis(days, float(days.mean()))
    count = valid.sum(axis=0)
    fitted, _ = seasonal.fit(x * valid[:, None], valid.astype(np.float64), terms, seasonal.ridge(count))
    left = np.where(valid[:, None], x - seasonal.expectation(fitted, terms), np.nan)
    noise = np.maximum(1.4826 * np.nanmedian(np.abs(left), axis=(0, 2)), 1e-6)
    far = np.nansum((left / noise[:, None]) ** 2, axis=(0, 1)) / np.maximum(count, 1)
    known = count > 0
    kept = known & (far <= np.quantile(far[known], share))
    shape = place.steady.shape
    return replace(place, mean=fitted[0].reshape(-1, *shape), noise=noise, steady=kept.reshape(shape))


def folds(days: Floats) -> list[Bools]:
    """The parts of a history that are held out in turn, as `satae series` holds them out."""
    return [np.isin(np.arange(len(days)), part) for part in heldout.parts(len(days))]


def ours(place: Ground) -> tuple[Floats, Method]:
    """What `satae series` says, by its own functions and with all pixels as the sample.

    The agreement (date, pixel) of the history, each part of it by what the others teach, and what is said of new dates.
    """
    x, valid, _ = place.history()
    rules = place.rules
    held, learned = heldout.of_sample(rules, x, valid), detector.learn(rules, x, valid)
    if rules.seasonal:
        held, learned["around"] = _amid(place, held, x, valid)

    def agreement(new: npt.NDArray[Any], good: Bools) -> Floats:
        memory, out = learned, []
        for now, known, day in zip(new, good, place.new_days, strict=True):
            judged, _ = detector.apart(rules, memory, now, float(day), known)
            known = known & np.isfinite(judged.square)
            wide = heldout.unrest(judged.square, known, held.calm)
            judged = detector.ease(judged, wide)
            white = detector.amid(judged, memory["around"]).white
            # with a threshold that nothing reaches the agreement is all that is asked for
            memory, found = persistence.step(
                memory, white, judged.residual, known, float(day), rules.keep, np.inf
            )
            memory = detector.absorb(rules, memory, judged, known, float(day))
            out.append(found)
        return np.array(out)

    memory, past = persistence.empty(rules.bands, rules.keep[1], x.shape[2]), []
    for number, judged in held.outcomes.items():
        memory, found = persistence.step(
            memory, judged.white, judged.residual, held.valid[number], rules.days[number], rules.keep, np.inf
        )
        past.append(found)
    return np.array(past), agreement


def _amid(place: Ground, held: HeldOut, x: Floats, valid: Bools) -> tuple[HeldOut, npt.NDArray[np.float32]]:
    """What was held out in units of the ground around each pixel, and `around` (B, pixel)."""
    whole = Window(0, 0, *place.steady.shape)
    lattice = Lattice(whole, whole)
    judged = surroundings.agreements(
        held.turns, x[..., lattice.pixels], valid[:, lattice.pixels], place.rules.keep
    )
    sums = lattice.sums(*judged)
    return surroundings.amid(held, sums), sums.beside(surroundings.usual(sums))


def rival_in_history(place: Ground, fit: Rival) -> Floats:
    """Agreement (date, pixel) of the history by a rival, each part of it by a fit to the others."""
    x, valid, days = place.history()
    distance = np.concatenate(
        [fit(x[~part], valid[~part], days[~part])(x[part], valid[part], days[part]) for part in folds(days)]
    )
    return k_of_n(distance, place.rules.keep)


def k_of_n(distance: Floats, keep: tuple[int, int]) -> Floats:
    """The k-th largest distance of the last n valid dates of each pixel, NaN where the date is not valid."""
    k, n = keep
    last = np.full((n, distance.shape[1]), -np.inf)
    out = np.full(distance.shape, np.nan)
    for i, now in enumerate(distance):
        good = np.isfinite(now)
        last[:, good] = np.concatenate([last[1:, good], now[None, good]])
        out[i, good] = np.sort(last[:, good], axis=0)[-k]
    return out


def rival(place: Ground, distance: Distance) -> Method:
    """A rival's distances under the rule of k of n dates that satae has."""

    def agreement(new: npt.NDArray[Any], good: Bools) -> Floats:
        return k_of_n(distance(new.astype(np.float64), good, place.new_days), place.rules.keep)

    return agreement
