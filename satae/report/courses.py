"""A plot of one place through time: what was seen beside the band in which it was expected, as SVG without a script.

Sizes are in `courses.css`; colours are the variables of the page around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import numpy.typing as npt

from satae.report.html import add

STYLE = Path(__file__).with_suffix(".css")
WIDTH, HEIGHT = 480.0, 224.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 40.0, 28.0  # margins
WIDE = 2.0  # deviations on either side of what is expected
HALF = 0.5  # share of the pixels under which a date is drawn hollow
MANY = 20  # dates from which on a few may lie beyond the axis
EPOCH = date(1970, 1, 1)
STEPS = 1, 2, 5, 10
MONTHS, YEARS = (1, 2, 3, 6), (1, 2, 5, 10, 20, 50)
MOST_TICKS = 7
LETTER = 9.5  # units that a letter takes at the most
LINE = 17.0  # units from one line of words to the next

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """One band of a region over T dates, in DN; NaN where nothing is known.

    `days` (T) count from 1970-01-01. `spread` (T) is the standard deviation of one pixel around what was `expected`.
    `share` (T) of the pixels counts. `past` (T) are dates of the history. `marks` are days by their names.
    """

    band: str
    days: npt.NDArray[np.int64]
    seen: Floats
    expected: Floats
    spread: Floats
    share: Floats
    past: npt.NDArray[np.bool_]
    marks: Mapping[str, int]


def plot(course: Course) -> Element:
    """The plot as an element of SVG."""
    axes = _Axes.of(course)
    said = f"{course.band} from {_text(course.days[0])} to {_text(course.days[-1])}"
    holder = Element("svg")
    holder.attrib |= {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "class": "course", "role": "img"}
    holder.set("aria-label", f"{said}, beside what was expected; {_peak_said(course)}")
    # what lies below comes first
    _grid(holder, axes, course)
    _band(holder, axes, course)
    _marks(holder, axes, course)
    _points(holder, axes, course)
    return holder


@dataclass(frozen=True)
class _Axes:
    """Days and DN that the edges stand for."""

    first: float
    last: float
    low: float
    high: float

    @classmethod
    def of(cls, course: Course) -> _Axes:
        ends = [
            course.expected - WIDE * course.spread,
            course.expected + WIDE * course.spread,
            course.expected,
        ]
        seen = course.seen[np.isfinite(course.seen)]
        # a cloud that the masks missed would press all else into a line
        if len(seen) > MANY:
            few = max(1, len(seen) // 50)
            seen = np.sort(seen)[few:-few]
        known = np.concatenate([*(e[np.isfinite(e)] for e in ends), seen])
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        # flat or empty courses have an axis too
        room = 0.06 * (high - low) or max(1.0, abs(high) * 0.05)
        days = (float(course.days.min()), float(course.days.max()))
        # so that the first dot is whole
        around = 0.02 * (days[1] - days[0]) or 1.0
        return cls(days[0] - around, days[1] + around, low - room, high + room)

    def x(self, day: float) -> float:
        return LEFT + (day - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def _grid(holder: Element, axes: _Axes, course: Course) -> None:
    """Lines with numbers and dates; the history on a ground of its own."""
    if course.past.any() and not course.past.all():
        end = axes.x((course.days[course.past].max() + course.days[~course.past].min()) / 2)
        size = {
            "x": f"{LEFT:g}",
            "y": f"{TOP:g}",
            "width": f"{end - LEFT:.1f}",
            "height": f"{HEIGHT - TOP - BOTTOM:g}",
        }
        add(holder, "rect", kind="past", **size)
        if end - LEFT > 8 * LETTER:
            add(holder, "text", "history", kind="quiet", x=f"{LEFT + 4:g}", y=f"{TOP + 13:g}")
    for value in _ticks(axes.low, axes.high):
        y = f"{axes.y(value):.1f}"
        add(holder, "line", kind="rule", x1=f"{LEFT:g}", x2=f"{WIDTH - RIGHT:g}", y1=y, y2=y)
        add(
            holder,
            "text",
            f"{value:,.6g}",
            x=f"{LEFT - 5:g}",
            y=f"{axes.y(value) + 4:.1f}",
            text_anchor="end",
        )
    for day, text in _days(axes.first, axes.last):
        x = f"{axes.x(day):.1f}"
        add(holder, "line", kind="rule", x1=x, x2=x, y1=f"{HEIGHT - BOTTOM:g}", y2=f"{HEIGHT - BOTTOM + 4:g}")
        add(holder, "text", text, x=x, y=f"{HEIGHT - BOTTOM + 18:g}", text_anchor="middle")


def _band(holder: Element, axes: _Axes, course: Course) -> None:
    """Where pixels of the place were expected, and the middle of that."""
    known = np.isfinite(course.expected) & np.isfinite(course.spread)
    if not known.any():
        return
    days, middle = course.days[known].astype(np.float64), course.expected[known]
    wide = WIDE * course.spread[known]
    # the expectation of a single date is a mark and no line
    if len(days) == 1:
        middle, wide = np.repeat(middle, 2), np.repeat(wide, 2)
        days = days[0] + (axes.last - axes.first) * np.array([-0.02, 0.02])
    upper = [(axes.x(d), axes.y(v)) for d, v in zip(days, middle + wide, strict=True)]
    lower = [(axes.x(d), axes.y(v)) for d, v in zip(days, middle - wide, strict=True)]
    add(holder, "path", kind="band", d=_path(upper + lower[::-1]) + "Z")
    add(
        holder,
        "path",
        kind="expected",
        d=_path([(axes.x(d), axes.y(v)) for d, v in zip(days, middle, strict=True)]),
    )


def _marks(holder: Element, axes: _Axes, course: Course) -> None:
    """A line on each day that has a name; of names that would run into each other the later one goes a line up."""
    by_day: dict[int, list[str]] = {}
    for name, day in course.marks.items():
        by_day.setdefault(day, []).append(name)
    ends = [-math.inf, -math.inf]  # of what stands in each line
    for day in sorted(by_day):
        if not axes.first <= day <= axes.last:
            continue
        x, text = axes.x(day), ", ".join(by_day[day])
        add(
            holder,
            "line",
            kind="mark",
            x1=f"{x:.1f}",
            x2=f"{x:.1f}",
            y1=f"{TOP:g}",
            y2=f"{HEIGHT - BOTTOM:g}",
        )
        # how wide letters are is known to browsers alone: a bound
        half = len(text) * LETTER / 2
        middle = min(max(x, half), WIDTH - half)
        line = 0 if middle - half > ends[0] else 1
        ends[line] = middle + half
        y = TOP - 6 - line * LINE
        add(holder, "text", text, kind="name", x=f"{middle:.1f}", y=f"{y:g}", text_anchor="middle")


def _points(holder: Element, axes: _Axes, course: Course) -> None:
    """What was seen: hollow where half of the place or more does not count, at the foot where none of it does."""
    for day, seen, expected, spread, share in zip(
        course.days, course.seen, course.expected, course.spread, course.share, strict=True
    ):
        x = f"{axes.x(day):.1f}"
        if not math.isfinite(seen):
            point = add(holder, "circle", kind="cloud", cx=x, cy=f"{HEIGHT - BOTTOM:g}", r="2.5")
            add(point, "title", f"{_text(day)}: nothing counts")
            continue
        kind = "seen" if share > HALF else "cloud"
        if axes.holds(seen):
            point = add(holder, "circle", kind=kind, cx=x, cy=f"{axes.y(seen):.1f}", r="3.2")
        else:
            # beyond the axis: an arrow at its end
            y, down = axes.y(seen), 5 if seen > axes.high else -5
            middle = axes.x(day)
            point = add(
                holder,
                "path",
                kind=kind,
                d=_path([(middle, y), (middle + 4, y + down), (middle - 4, y + down)]) + "Z",
            )
        there = f", expected {expected:,.5g} ± {WIDE * spread:,.3g}" if math.isfinite(expected) else ""
        add(
            point,
            "title",
            f"{_text(day)}: {seen:,.5g}{there}" + ("" if share == 1 else f", {share:.0%} counts"),
        )


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)


def _ticks(low: float, high: float) -> Iterator[float]:
    """Round numbers between two, three to six of them."""
    # four steps, of 1, 2 or 5 times a power of ten
    rough = (high - low) / 4
    scale = 10.0 ** math.floor(math.log10(rough))
    step = scale * next(s for s in STEPS if s * scale >= rough * 0.8)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield number * step


def _days(first: float, last: float) -> Iterator[tuple[int, str]]:
    """First days of years, or of months where there are few years, with what to call them."""
    start, stop = (EPOCH + timedelta(days=math.floor(d)) for d in (first, last))
    years = stop.year - start.year
    if years >= 3:
        step = next((s for s in YEARS if years <= s * MOST_TICKS), YEARS[-1])
        # round years, so that plots of several regions can be compared
        moments = [date(y, 1, 1) for y in range(start.year, stop.year + 1) if y % step == 0]
    else:
        months = range(start.year * 12 + start.month - 1, stop.year * 12 + stop.month)
        step = next((s for s in MONTHS if len(months) <= s * MOST_TICKS), 12)
        moments = [date(m // 12, m % 12 + 1, 1) for m in months if m % step == 0]
    for moment in moments:
        day = (moment - EPOCH).days
        if first <= day <= last:
            yield day, str(moment.year) if years >= 3 else f"{moment:%Y-%m}"


def _text(day: float) -> str:
    return (EPOCH + timedelta(days=int(day))).isoformat()


def _peak_said(course: Course) -> str:
    """What was seen and expected on the day of the peak, in words."""
    # for those who hear the page
    there = np.flatnonzero((course.days == course.marks.get("peak")) & np.isfinite(course.seen))
    if not len(there):
        return "what was seen on the day of the peak is not known"
    i = there[0]
    said = f"{course.seen[i]:,.5g} on {_text(course.days[i])}"
    return said + (f", expected {course.expected[i]:,.5g}" if math.isfinite(course.expected[i]) else "")
