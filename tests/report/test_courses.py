"""The plot of a region through time: everything lies where the numbers on its axes say."""

from datetime import date
from xml.etree.ElementTree import tostring

import numpy as np
import pytest

from satae.report import courses
from satae.report.courses import Course, plot

FIRST = (date(2016, 1, 5) - date(1970, 1, 1)).days


def course(**given):
    days = FIRST + np.arange(40) * 16
    expected = 1000 + 200 * np.sin(2 * np.pi * (days - FIRST) / 365.25)
    values = {
        "band": "nir", "days": days, "seen": expected + np.resize([30.0, -30.0, 0.0], 40), "expected": expected,
        "spread": np.full(40, 25.0), "share": np.ones(40), "past": np.arange(40) < 24,
        "marks": {"first": int(days[30]), "peak": int(days[33]), "last": int(days[39])},
    }  # fmt: skip
    return Course(**{**values, **given})


def all_of(drawn, tag, kind=None):
    return [e for e in drawn.iter(tag) if kind is None or e.get("class") == kind]


def scale(drawn):
    """DN of a height, by the lines and the numbers beside them."""
    lines = [e for e in all_of(drawn, "line", "rule") if e.get("y1") == e.get("y2")]
    numbers = [e for e in all_of(drawn, "text") if e.get("text-anchor") == "end" and float(e.get("x")) < 60]
    heights = [float(e.get("y1")) for e in lines]
    values = [float(e.text.replace(",", "")) for e in numbers]
    slope, offset = np.polyfit(heights, values, 1)
    return lambda y: slope * np.asarray(y, float) + offset


def corners(path):
    return np.array([list(map(float, p.split())) for p in path.get("d").strip("MZ").split("L")])


def test_points_and_band_lie_where_the_axes_say():
    given = course()
    drawn = plot(given)
    value = scale(drawn)
    seen = all_of(drawn, "circle", "seen")
    np.testing.assert_allclose(value([float(e.get("cy")) for e in seen]), given.seen, atol=2)
    (line,), (band,) = all_of(drawn, "path", "expected"), all_of(drawn, "path", "band")
    np.testing.assert_allclose(value(corners(line)[:, 1]), given.expected, atol=2)
    upper, lower = np.split(value(corners(band)[:, 1]), 2)
    np.testing.assert_allclose(upper, given.expected + 2 * given.spread, atol=2)
    np.testing.assert_allclose(lower[::-1], given.expected - 2 * given.spread, atol=2)
    # days are even steps from left to right, and so are the points
    steps = np.diff([float(e.get("cx")) for e in seen])
    assert steps.min() > 0 and np.ptp(steps) < 0.2


def test_marks_stand_on_their_days_and_their_names_do_not_run_into_each_other():
    given = course()
    drawn = plot(given)
    where = [float(e.get("cx")) for e in all_of(drawn, "circle", "seen")]
    lines = [float(e.get("x1")) for e in all_of(drawn, "line", "mark")]
    np.testing.assert_allclose(lines, [where[i] for i in (30, 33, 39)], atol=0.1)
    names = {e.text: (float(e.get("x")), float(e.get("y"))) for e in all_of(drawn, "text", "name")}
    assert set(names) == {"first", "peak", "last"}
    (x1, y1), (x2, y2) = names["first"], names["peak"]
    assert y1 != y2 or x2 - x1 > 5 * 9
    same = plot(course(marks={"first": int(given.days[3]), "peak": int(given.days[3])}))
    assert [e.text for e in all_of(same, "text", "name")] == ["first, peak"]


def test_clouds_are_hollow_and_dates_without_a_pixel_lie_at_the_foot():
    share, given = np.ones(40), course()
    share[[5, 6, 7]] = 0.5, 0.51, 0.0
    seen = given.seen.copy()
    seen[7] = np.nan
    drawn = plot(course(share=share, seen=seen))
    hollow = all_of(drawn, "circle", "cloud")
    titles = [e.find("title").text for e in hollow]
    assert len(all_of(drawn, "circle", "seen")) == 38
    assert "50% counts" in titles[0] and "nothing counts" in titles[1]
    foot = courses.HEIGHT - courses.BOTTOM
    assert [float(e.get("cy")) == foot for e in hollow] == [False, True]


def test_a_missed_cloud_is_an_arrow_and_does_not_press_the_rest_into_a_line():
    seen = course().seen.copy()
    seen[12] = 60_000.0
    drawn = plot(course(seen=seen))
    (arrow,) = all_of(drawn, "path", "seen")
    assert "60,000" in arrow.find("title").text
    heights = [float(e.get("cy")) for e in all_of(drawn, "circle", "seen")]
    assert np.ptp(heights) > 0.6 * (courses.HEIGHT - courses.TOP - courses.BOTTOM)


@pytest.mark.parametrize("dates", [1, 2])
def test_few_dates_a_flat_band_and_nothing_known_are_drawn_too(dates):
    cut = {k: getattr(course(), k)[:dates] for k in ("days", "seen", "expected", "spread", "share", "past")}
    flat = {"seen": np.full(dates, 7.0), "expected": np.full(dates, 7.0), "spread": np.zeros(dates)}
    assert len(all_of(plot(course(**{**cut, **flat})), "circle", "seen")) == dates
    bare = {k: np.full(dates, np.nan) for k in ("seen", "expected", "spread")}
    drawn = plot(course(**{**cut, **bare}))
    assert len(all_of(drawn, "circle", "cloud")) == dates and not all_of(drawn, "path")
    assert b"nan" not in tostring(drawn).lower()


@pytest.mark.parametrize(("every", "form"), [(4, "2016-02"), (16, "2017-07"), (365, "2030")])
def test_dates_below_the_axis_stand_on_the_first_of_a_month_or_a_year(every, form):
    given = course(days=FIRST + np.arange(40) * every)
    drawn = plot(given)
    ticks = {
        e.text: float(e.get("x")) for e in all_of(drawn, "text") if e.get("y") == f"{courses.HEIGHT - 10:g}"
    }
    assert form in ticks and 2 <= len(ticks) <= 8
    where = [float(e.get("cx")) for e in all_of(drawn, "circle", "seen")]
    day = (date.fromisoformat(f"{form}-01" if "-" in form else f"{form}-01-01") - date(1970, 1, 1)).days
    np.testing.assert_allclose(ticks[form], np.interp(day, given.days, where), atol=0.5)
    xs = sorted(ticks.values())
    assert min(np.diff(xs)) > 40


def test_names_are_text_and_nothing_else():
    text = tostring(plot(course(band="<script>alert(1)</script>"))).decode()
    assert "<script" not in text and "&lt;script&gt;" in text
