"""A result of `satae series` under review: strip and plot beside the region, decisions in its layer; and its report."""

from __future__ import annotations

import shlex
import sqlite3
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import places
import pyogrio
import pytest
from browsing import Open, eventually, expected, press
from commands import typed

from satae.errors import ResultError
from satae.review import exports, series
from satae.review.opinions import Opinion
from satae.review.remedies import remedies
from satae.review.store import Review


def statuses(out: Path) -> list[str]:
    with sqlite3.connect(out) as database:
        return [status for (status,) in database.execute("SELECT review_status FROM changes ORDER BY rank")]


def test_decisions_go_into_the_layer_of_changes(tmp_path: Path) -> None:
    out = places.scored(tmp_path)
    opened = Review(out, "ann")
    first, second, *_ = opened.regions
    layer = pyogrio.read_dataframe(out, layer="changes")
    assert [first["anomaly_id"], first["first_date"][:10]] == [
        layer.change_id[0],
        str(layer.first_date[0])[:10],
    ]
    opened.decide(
        first["fid"], Opinion("accepted", "", "a clearing"), seen=opened.entry(first["fid"]).revision
    )
    opened.decide(second["fid"], Opinion("rejected"), seen=opened.entry(second["fid"]).revision)
    opened.close()
    assert statuses(out)[:2] == ["accepted", "rejected"]
    kept = tmp_path / "kept.gpkg"
    kept.write_bytes(exports.file_of(out, "gpkg"))
    assert list(pyogrio.read_dataframe(kept, layer="changes").review_note) == ["a clearing"]
    assert "courses" not in pyogrio.list_layers(kept)[:, 0]
    assert exports.file_of(out, "geojson").count(b'"Feature"') == 1


def test_each_date_is_drawn_with_its_own_band_of_the_heatmap(tmp_path: Path) -> None:
    opened = Review(places.scored(tmp_path))
    names = {row["scene"] for row in opened.regions}
    views = series.views(opened)
    assert {v.name for v in views} == names and all(v.scene and v.heat and not v.remarks for v in views)
    heat = {v.name: v.heat.parts[0].bands for v in views if v.heat}
    layer = pyogrio.read_dataframe(opened.path, layer="dates")
    order = {scene: [i] for i, scene in enumerate(layer.scene, 1)}
    assert heat == {name: order[name] for name in names}
    opened.close()


def test_what_the_page_is_told_is_what_the_file_holds(tmp_path: Path) -> None:
    out = places.scored(tmp_path)
    opened = Review(out)
    row = opened.regions[0]
    told = series.content(row, opened.courses(row["anomaly_id"]))
    table = pyogrio.read_dataframe(out, layer="courses")
    own = table[(table.change_id == row["anomaly_id"]) & (table.band == row["top_band"])].sort_values("date")
    shown = own[own.panel >= 0]
    assert [(p["day"], p["role"]) for p in told["panels"]] == [
        (str(d)[:10], r) for d, r in zip(shown.date, shown.role, strict=True)
    ]
    assert told["plots"][0]["band"] == row["top_band"] and len(told["plots"]) == 3
    strip = (out.parent / row["chip"]).read_bytes()
    whole = cv2.imdecode(np.frombuffer(strip, np.uint8), cv2.IMREAD_COLOR)
    for number in range(len(shown)):
        one = cv2.imdecode(np.frombuffer(series.cut(strip, number) or b"", np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(one, whole[:, number * 102 :][:, :96])
    assert series.cut(strip, len(shown)) is series.cut(strip, -1) is None
    opened.close()


@pytest.mark.parametrize(
    "damage", ["DROP TABLE courses", "UPDATE courses SET date = 'soon', panel = 'x', seen = x'00'"]
)
def test_a_file_without_courses_or_with_others_is_reviewed_all_the_same(tmp_path: Path, damage: str) -> None:
    out = places.scored(tmp_path)
    with sqlite3.connect(out) as database:
        database.execute(damage)
    opened = Review(out)
    row = opened.regions[0]
    told = series.content(row, opened.courses(row["anomaly_id"]))
    assert told["panels"] == [] and all(p["svg"] == "" for p in told["plots"])
    opened.close()


def commands(out: Path, when: str) -> list[list[str]]:
    opened = Review(out)
    told = [shlex.split(command["text"]) for command in remedies(opened)[when]]
    opened.close()
    return told


def test_what_the_page_says_to_type_scores_the_same_days_again_and_keeps_decisions(tmp_path: Path) -> None:
    out = places.scored(tmp_path)
    opened = Review(out)
    fid = opened.regions[0]["fid"]
    opened.decide(fid, Opinion("accepted"), seen=opened.entry(fid).revision)
    opened.close()
    onward, stricter = commands(out, "done")
    assert stricter[:3] == ["satae", "series", str(tmp_path / "dates")]
    assert stricter[stricter.index("--far") + 1] == "0.1" and commands(out, "empty")[0][8] == "10"
    before = pyogrio.read_dataframe(out, layer="dates").date
    assert typed(*stricter[1:]).exit_code == 0
    assert list(pyogrio.read_dataframe(out, layer="dates").date) == list(before)
    assert "accepted" in statuses(out)
    # a date that was not there, and the others as they were
    when = places.START.replace(year=2024)
    dn = places.cube([when], side=32)
    dn[:, :, *places.BLOCK] += np.array([900, 900, -900])[:, None, None]
    (new,) = places.write(tmp_path / "new", [when], dn)
    assert typed(*[str(new) if word == "SCENE" else word for word in onward[1:]]).exit_code == 0
    assert str(pyogrio.read_dataframe(out, layer="dates").date.max())[:10] == when.isoformat()
    assert "accepted" in statuses(out)


def test_without_the_state_a_folder_and_days_are_left_to_who_knows_them(tmp_path: Path) -> None:
    out = places.scored(tmp_path)
    state = out.with_name("changes_state.tif")
    state.write_bytes(state.read_bytes().replace(b"satae_series", b"other_series"))
    (tmp_path / "dates").rename(tmp_path / "elsewhere")
    assert commands(out, "done") == [
        ["satae", "series", "FOLDER", "--far", "0.1", "--out", str(out), "--overwrite"]
    ]


def test_an_empty_series_shows_its_last_date_and_says_what_to_type(enter: Open, tmp_path: Path) -> None:
    out = places.scored(tmp_path, least=2000)  # more pixels than there are
    page = enter(out)
    expected(page, "#closing-title").to_have_text("No regions to review")
    expected(page, "#closing-next code").to_contain_text("--far 10 --out")
    expected(page, "#legend").to_be_visible()  # of the heatmap of that date


def test_a_layer_of_changes_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    out = places.scored(tmp_path)
    with sqlite3.connect(out) as database:
        database.execute("ALTER TABLE changes RENAME COLUMN change_id TO name")
    with pytest.raises(ResultError, match="no column anomaly_id in its layer changes"):
        Review(out)


@pytest.mark.parametrize("size", [(1366, 768), (390, 844)])
def test_the_page_shows_dates_and_plot_of_the_region(
    enter: Open, tmp_path: Path, size: tuple[int, int]
) -> None:
    out = places.scored(tmp_path)
    page = enter(out, size)
    table = pyogrio.read_dataframe(out, layer="courses")
    first = pyogrio.read_dataframe(out, layer="changes").change_id[0]
    own = table[(table.change_id == first) & (table.panel >= 0)].drop_duplicates("panel").sort_values("panel")
    expected(page, "#series .strip time").to_have_text([str(d)[:10] for d in own.date])
    expected(page, "#series .plot >> nth=0").to_contain_text("history")
    eventually(
        lambda: page.locator("#series img").evaluate_all("all => all.every(i => i.naturalWidth === 96)"), True
    )
    expected(page, "#chip").to_be_hidden()
    # the sheet that strips and plots share has come
    eventually(
        lambda: page.locator("#series .expected").first.evaluate("e => getComputedStyle(e).fill"), "none"
    )
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    if size[0] > 1000:
        press(page, "a")
        eventually(lambda: statuses(out)[0], "accepted")
        second = pyogrio.read_dataframe(out, layer="changes").change_id[1]
        expected(page, "#place").to_contain_text(second)
        eventually(lambda: page.locator("#series .strip li").count() > 1, True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1366, 768), (390, 844)])
def test_the_report_fits_its_screen_and_asks_for_nothing(
    browser: Any, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    out = places.scored(tmp_path)
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page, asked, faults = context.new_page(), [], []
    page.on("request", lambda r: r.url.startswith("data:") or asked.append(r.url))
    page.on("console", lambda m: faults.append(m.text))
    page.goto(out.with_suffix(".html").as_uri())
    assert asked == [out.with_suffix(".html").as_uri()] and faults == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    box = page.locator("svg.course").first.bounding_box()
    letter = page.locator("svg.course text.name").first.bounding_box()
    assert box["width"] > 0.6 * min(size[0], 480) and letter["height"] >= 10
    # ink stands out from its ground in both schemes
    ink, ground = (
        page.locator(place).first.evaluate(f"e => getComputedStyle(e).{what}")
        for place, what in (("svg.course .seen", "fill"), (".regions-list > li", "backgroundColor"))
    )
    light = [sum(map(int, colour[colour.index("(") + 1 : -1].split(",")[:3])) for colour in (ink, ground)]
    assert abs(light[0] - light[1]) > 400
    context.close()
