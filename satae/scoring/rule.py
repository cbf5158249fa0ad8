"""What an analyst asks for: rules that say in words what they report, and select it from the regions of a heatmap.

A rule chooses by the peak of a region; its outline is the same for all of them, but where a `Threshold` lies under
the level at which candidates begin. `Far` and `Threshold` take the peaks over a level. `Fdr` and `Top` take candidates
as in the calibration sample, and the threshold is the lowest peak that made it. The tails that all of them read are in
`calibrate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from satae.console import quantity
from satae.errors import ConfigError
from satae.inference.calibrate import CANDIDATE_SHARE, FAR, Calibration
from satae.inference.regions import Anomaly
from satae.scoring.heatmap import unit_of, value
from satae.scoring.selection import Field, Selection
from satae.scoring.support import Doubt, sample_of

CANDIDATES = f"hotter than {1 - CANDIDATE_SHARE:.0%} of background"  # as all candidate regions are
Floats = npt.NDArray[np.float64]


class Rule(Protocol):
    """What is asked for; its text is its kind and its number, such as `far 10`."""

    foreign: ClassVar[bool]
    """Whether it reports regions of a scene that is foreign to the model, too."""

    @property
    def sentence(self) -> str:
        """What is reported, for people."""

    def floor(self, calibration: Calibration, pixel_area_m2: float | None, smallest: int) -> float:
        """The heat below which no pixel of any region lies; known before a scene is."""

    def select(self, field: Field) -> Selection:
        """The regions that are asked for; ConfigError where a fixed level gives too many."""


@dataclass(frozen=True)
class Far:
    """So many false alarms are expected: `rate` per 100 km2, or per 10 megapixels where areas are unknown."""

    rate: float = FAR
    foreign: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self.rate > 0 and math.isfinite(self.rate), "far", self.rate, "a number above 0")

    def __str__(self) -> str:
        return f"far {self.rate:g}"

    @property
    def sentence(self) -> str:
        """What is reported, for people."""
        return (
            "Regions are reported from the heat on at which background alone is expected to give "
            f"{self.rate:g} false alarms per 100 km² (per 10 megapixels where pixels have no known size)."
        )

    def floor(self, calibration: Calibration, pixel_area_m2: float | None, smallest: int) -> float:
        """Down to where a region of the lowest peak reaches."""
        return _lowest(calibration, self.level(calibration, pixel_area_m2, smallest))

    def level(self, calibration: Calibration, pixel_area_m2: float | None, smallest: int) -> float:
        """The heat of the lowest peak."""
        return value(calibration, calibration.level(self.rate, pixel_area_m2, smallest))

    def select(self, field: Field) -> Selection:
        """All regions with a peak over the level, and whether the sample supports the rate."""
        known = field.calibration, field.grid.pixel_area_m2, field.smallest
        level = self.level(*known)
        return Selection(field.regions(level), level, self.remark(*known), self.doubt(*known))

    def remark(self, calibration: Calibration, pixel_area_m2: float | None, smallest: int) -> str:
        """Nothing, or that the rate asks for nothing."""
        if calibration.share(self.rate, pixel_area_m2, smallest) < 1:
            return ""
        return (
            f"{self.rate:g} false alarms per {_area(pixel_area_m2)} is more than background gives at the lowest "
            "threshold: all candidates are reported; ask for fewer with --far or --top"
        )

    def doubt(self, calibration: Calibration, pixel_area_m2: float | None, smallest: int) -> Doubt | None:
        """That the sample is too small to support the rate, where it is."""
        tail = calibration.alarms_of(smallest).tail
        share = calibration.share(self.rate, pixel_area_m2, smallest)
        if share >= tail.smallest_p:
            return None
        least = calibration.least_rate(pixel_area_m2, smallest)
        return Doubt(
            (
                f"rates under {least:g} false alarms per {_area(pixel_area_m2)}, and {self.rate:g} were asked for",
            ),
            sample_of(tail, calibration),
            tail.smallest_p / share,
            True,
            f"--far {least:g} or --top",
        )


@dataclass(frozen=True)
class Fdr:
    """A `share` of those reported is expected to be false (Benjamini and Hochberg 1995)."""

    share: float
    foreign: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(0 < self.share < 1, "fdr", self.share, "a share above 0 and below 1")

    def __str__(self) -> str:
        return f"fdr {self.share:g}"

    @property
    def sentence(self) -> str:
        """What is reported, for people."""
        return (
            f"Regions are reported down to the peak at which a share of {self.share:g} of them is expected to be "
            "false (Benjamini and Hochberg over the candidate regions of the scene)."
        )

    def floor(self, calibration: Calibration, pixel_area_m2: float | None, smallest: int) -> float:
        """Where candidates begin."""
        return value(calibration, calibration.candidate)

    def select(self, field: Field) -> Selection:
        """The candidates that are significant together."""
        found, raised = field.candidates()
        peaks = np.array([a.peak for a in found])
        if raised:  # those that were not looked at count as tests too
            expected = field.calibration.alarms_of(field.smallest).per_pixel * field.heat.valid
            unseen = max(0, round(expected) - len(found))
            # all at the lowest level, where they can do no more than make the others less significant
            peaks = np.concatenate([peaks, np.full(unseen, field.calibration.candidate)])
        lowest, doubt = self.lowest(field.calibration, peaks)
        return _down_to_the_last(field, [a for a in found if a.peak >= lowest], doubt)

    def lowest(self, calibration: Calibration, peaks: Floats) -> tuple[float, Doubt | None]:
        """(lowest raw peak that is significant, doubt) of the peaks of candidate regions.

        Infinite where nothing is significant. The p-values are conformal where the sample is large enough; the
        doubt says where it is not.
        """
        doubt, m, tail = None, len(peaks), calibration.region
        if tail.independent < m / self.share:
            doubt = Doubt(
                (f"whether {self.share:.3g} of {quantity(m, 'candidate')} are false",),
                sample_of(tail, calibration),
                m / self.share / tail.independent,
                True,
                "--top",
            )
        if not m:
            return math.inf, doubt
        # step-up: the largest k whose p-value is at most share k / m, and with it all that come before
        order = np.sort(peaks)[::-1]
        passed = calibration.region.p(order) <= self.share * np.arange(1, m + 1) / m
        return (float(order[np.flatnonzero(passed)[-1]]) if passed.any() else math.inf), doubt


@dataclass(frozen=True)
class Top:
    """The `count` highest candidates of each scene, however high they are."""

    count: int
    foreign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self.count >= 1, "top", self.count, "a whole number from 1 on")

    def __str__(self) -> str:
        return f"top {self.count}"

    @property
    def sentence(self) -> str:
        """What is reported, for people."""
        return (
            f"The {self.count} highest regions of each scene were asked for, however high they are: this says "
            "nothing about how many of them are false alarms."
        )

    def floor(self, calibration: Calibration, pixel_area_m2: float | None, smallest: int) -> float:
        """Where candidates begin."""
        return value(calibration, calibration.candidate)

    def select(self, field: Field) -> Selection:
        """The first candidates."""
        selected = _down_to_the_last(field, field.candidates(self.count)[0])
        if 0 < len(selected.found) < self.count:
            asked = f"--top {self.count} asks for more than there is"
            return replace(selected, remark=f"{asked}: fewer regions are {CANDIDATES}, and all are reported")
        return selected


@dataclass(frozen=True)
class Threshold:
    """Regions with a peak of a fixed `level` of heat or more."""

    level: float
    foreign: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self.level > 0 and math.isfinite(self.level), "threshold", self.level, "a number above 0")

    def __str__(self) -> str:
        return f"threshold {self.level:g}"

    @property
    def sentence(self) -> str:
        """What is reported, for people."""
        return f"A region is reported where heat reaches a fixed value of {self.level:g}."

    def floor(self, calibration: Calibration, pixel_area_m2: float | None, smallest: int) -> float:
        """Down to where a region of the lowest peak reaches."""
        return _lowest(calibration, self.level)

    def select(self, field: Field) -> Selection:
        """All regions with a peak over the level, and whether heat can be that high at all."""
        limit, remark = field.calibration.pixel.limit, ""
        if self.level >= limit:
            remark = (
                f"no pixel has a heat of {self.level:g}: with the {field.calibration.pixels:,} pixels that training "
                f"held out to compare with, heat stays under {limit:.2g}; ask for less than "
                f"{math.floor(10 * limit) / 10:g}, or with --top"
            )
        return Selection(field.regions(self.level), self.level, remark)


KINDS: dict[str, Callable[[Any], Rule]] = {"far": Far, "fdr": Fdr, "top": Top, "threshold": Threshold}


def rule_of(*, far: float | None, fdr: float | None, top: int | None, threshold: float | None) -> Rule:
    """The one rule that was asked for, or the default; ConfigError for two, or a value out of range."""
    asked = {"far": far, "fdr": fdr, "top": top, "threshold": threshold}
    given = {kind: number for kind, number in asked.items() if number is not None}
    if len(given) > 1:
        raise ConfigError(f"{' and '.join('--' + k for k in given)} exclude each other; choose one")
    rules = [KINDS[kind](number) for kind, number in given.items()]
    return rules[0] if rules else Far()


def _lowest(calibration: Calibration, level: float) -> float:
    """The lowest heat in any region whose peak has a heat of `level` or more."""
    floor = min(level, value(calibration, calibration.candidate))
    return float(unit_of(calibration).levels(level, floor))


def _down_to_the_last(field: Field, kept: list[Anomaly], doubt: Doubt | None = None) -> Selection:
    """Candidates by falling peak, of which the last one's is the threshold."""
    threshold = value(field.calibration, kept[-1].peak) if kept else math.inf
    return Selection(kept, threshold, doubt=doubt)


def _area(pixel_area_m2: float | None) -> str:
    """What false alarms are counted over."""
    return "10 megapixels" if pixel_area_m2 is None else "100 km2"


def _check(good: bool, option: str, number: float, allowed: str) -> None:
    if not good:
        raise ConfigError(f"--{option} {number} is out of range: it takes {allowed}")
