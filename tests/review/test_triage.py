"""What makes two hundred regions bearable: on to the next, sorted, side by side, and out again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import geopandas
import pytest
from browsing import Open, Page, eventually, expected, press, serving
from results import change, make_areas, opinions, result

from satae.review import exports
from satae.review.guard import COOKIE
from satae.review.server import Server

LINK = "https://example.org/?lat={lat}&lon={lon}"


def test_unsure_is_a_decision_and_a_dot_goes_to_what_is_open(enter: Open, gpkg: Path) -> None:
    change(gpkg, "UPDATE anomalies SET review_status = 'accepted' WHERE fid IN (2, 3)")
    page = enter(gpkg)
    press(page, "s")
    eventually(lambda: opinions(gpkg)[0][0], "unsure")
    expected(page, "#rank").to_have_text("Rank 4")
    press(page, "k k .")
    expected(page, "#rank").to_have_text("Rank 4")
    expected(page, "#count").to_have_text("3 of 6 reviewed")
    expected(page, "#row-1 .mark").to_have_text("?")


def fids(page: Page) -> list[int]:
    """The regions in the list, from above."""
    return list(page.evaluate("[...document.querySelectorAll('.row')].map((e) => Number(e.dataset.fid))"))


def test_the_list_is_sorted_by_area(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    page.select_option("#by-order", "area_m2")
    eventually(lambda: fids(page), [6, 5, 4, 3, 2, 1])
    page.locator("#list").focus()
    press(page, "Home a")
    expected(page, "#rank").to_have_text("Rank 5")  # in the order of the list
    eventually(lambda: opinions(gpkg)[5][0], "accepted")


def test_chips_lie_side_by_side_and_arrows_go_among_them(enter: Open, tmp_path: Path) -> None:
    page = enter(result(tmp_path / "out", number=60))
    press(page, "g")
    expected(page, "body").to_have_class("gallery")
    boxes = [page.locator(f"#row-{fid}").bounding_box() for fid in (1, 2)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[1]["x"] > boxes[0]["x"] + 100
    columns = round(page.locator("#list").bounding_box()["width"] / boxes[0]["width"])
    page.locator("#list").focus()
    press(page, "ArrowDown ArrowRight")
    expected(page, "#rank").to_have_text(f"Rank {columns + 2}")
    press(page, "r")
    expected(page, f"#row-{columns + 2} .mark").to_have_text("✕")
    press(page, "End")
    expected(page, "#rank").to_have_text("Rank 60")
    expected(page, "#row-60").to_be_visible()
    press(page, "g")
    expected(page, "#map").to_be_visible()
    assert page.locator("#row-60").bounding_box()["width"] > 200


def test_h_held_shows_what_is_below_and_let_go_brings_it_back(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    # down and up at one time, however busy the machine is
    key = "for (const type of ['keydown', 'keyup']) document.body.dispatchEvent(new KeyboardEvent(type, how))"
    page.evaluate(f"() => {{ const how = {{ key: 'h', bubbles: true, cancelable: true }}; {key}; }}")
    expected(page, "#heat").to_have_attribute("aria-pressed", "false")
    page.keyboard.down("h")
    expected(page, "#heat").to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(450)
    page.keyboard.up("h")
    expected(page, "#heat").to_have_attribute("aria-pressed", "false")
    page.locator("#opacity").fill("40")
    press(page, "a")  # a slider takes no keys of its own away


def drawn(page: Page) -> list[int]:
    """The colour in the middle of the map's tiles, a little off the chosen region's centre."""
    code = """() => {
      const map = document.querySelector("#map canvas");
      const ratio = map.width / map.clientWidth;
      const [x, y] = [map.clientWidth / 2 + 8, map.clientHeight / 2 + 8];
      return [...map.getContext("2d").getImageData(ratio * x, ratio * y, 1, 1).data];
    }"""
    return list(page.evaluate(code))


def settled(page: Page, before: list[int] | None = None) -> list[int]:
    """The same, once it is drawn, is another than before and no longer changes."""
    eventually(lambda: drawn(page) not in (before, [0, 0, 0, 0]), True)
    now = drawn(page)
    while (later := (page.wait_for_timeout(300), drawn(page))[1]) != now:
        now = later
    return now


def test_the_slider_makes_the_heatmap_thinner(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    full = settled(page)
    page.locator("#opacity").fill("10")
    thin = settled(page, full)
    page.click("#heat")
    bare = settled(page, thin)

    def apart(one: list[int], other: list[int]) -> int:
        return sum(abs(a - b) for a, b in zip(one[:3], other[:3], strict=True))

    assert 0 < apart(thin, bare) < apart(full, bare) / 3


def test_of_several_scenes_each_is_shown_with_its_own_regions(enter: Open, tmp_path: Path) -> None:
    path = result(tmp_path / "out")
    columns = "path, crs, gsd_m, bands, valid_fraction, anomalies, threshold, rule"
    change(path, f"INSERT INTO scenes (scene, {columns}) SELECT 'other', {columns} FROM scenes")
    change(path, "UPDATE anomalies SET scene = 'other' WHERE fid IN (2, 5)")
    page = enter(path)
    expected(page, "#place").to_have_text(re.compile("^scene"))
    page.select_option("#by-scene", label="other")
    eventually(lambda: fids(page), [2, 5])
    expected(page, "#rank").to_have_text("Rank 2")
    expected(page, "#place").to_have_text(re.compile("^other"))
    page.locator("#list").focus()
    press(page, "a a")
    eventually(
        lambda: [o[0] for o in opinions(path)],
        ["unreviewed", "accepted"] + ["unreviewed"] * 2 + ["accepted", "unreviewed"],
    )
    expected(page, "#closing-title").to_contain_text("4 of 6 are left outside")
    page.click("#show-all")
    expected(page, "#rank").to_have_text("Rank 1")
    expected(page, "#place").to_have_text(re.compile("^scene"))


def test_objects_and_areas_are_told_apart_and_shown_alone(enter: Open, tmp_path: Path) -> None:
    path = result(tmp_path / "out")
    page = enter(path)
    expected(page, "#kind-choice").to_be_hidden()
    expected(page, "#kind").to_be_hidden()  # all are objects
    expected(page, "#row-1").not_to_contain_text("object")
    make_areas(path, 2, 5)
    page = enter(path)
    expected(page, "#kind").to_have_text("object")
    expected(page, "#row-2 .second").to_have_text(re.compile("^area · "))
    page.select_option("#by-kind", label="areas")
    eventually(lambda: fids(page), [2, 5])
    expected(page, "#kind").to_have_text("area")
    page.select_option("#by-kind", label="objects")
    eventually(lambda: fids(page), [1, 3, 4, 6])
    page.click("#clear")
    eventually(lambda: fids(page), [1, 2, 3, 4, 5, 6])


def test_tiles_of_the_next_region_are_there_before_it_is_chosen(enter: Open, tmp_path: Path) -> None:
    path = result(tmp_path / "out", number=12, side=600)
    change(path, "UPDATE anomalies SET review_status = 'rejected' WHERE fid BETWEEN 2 AND 6")
    page = enter(path)  # rank 1 lies in one tile of each raster, rank 7 in another too
    asked: list[str] = []
    page.on("request", lambda r: "/scenes/" in r.url and asked.append(r.url))
    page.wait_for_load_state("networkidle")
    asked.clear()
    press(page, ".")
    expected(page, "#rank").to_have_text("Rank 7")
    page.wait_for_timeout(400)
    seen = [
        url
        for url in asked
        if page.evaluate("u => performance.getEntriesByName(u).at(-1)?.transferSize", url)
    ]
    assert seen == []  # from the browser's own store


def test_coordinates_are_shown_copied_and_linked(browser: Any, gpkg: Path) -> None:
    with serving(gpkg, "Ana", ("ship",), LINK) as server:
        context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.goto(server.keys.link)
        look_at_coordinates(page, gpkg)
        context.close()


def look_at_coordinates(page: Page, gpkg: Path) -> None:
    page.wait_for_selector("html[data-ready]")
    place = (
        geopandas.read_file(gpkg, layer="anomalies").geometry.representative_point().to_crs("EPSG:4326")[0]
    )
    expected(page, "#at").to_contain_text(", ")
    lat, lon = map(float, page.inner_text("#at").split(", "))
    assert abs(lat - place.y) < 1e-5 and abs(lon - place.x) < 1e-5
    press(page, "c")
    eventually(lambda: page.evaluate("navigator.clipboard.readText()"), page.inner_text("#at"))
    address = page.get_attribute("#elsewhere", "href")
    assert address.startswith(f"https://example.org/?lat={str(lat)[:8]}") and "{" not in address
    press(page, "a")
    eventually(lambda: opinions(gpkg)[0][0], "accepted")
    press(page, "k")
    expected(page, "#who").to_contain_text("Decided by Ana, ")


def test_a_link_that_is_no_template_is_refused(gpkg: Path) -> None:
    command = [sys.executable, "-m", "satae", "review", str(gpkg), "--link", "javascript:alert({lat}{lon})"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "is no address such as https://" in done.stderr


def fetched(server: Server, kind: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{server.keys.port}/accepted.{kind}")
    request.add_header("Cookie", f"{COOKIE}={server.keys.cookie}")
    with urllib.request.urlopen(request) as answer:
        assert "attachment" in answer.headers["content-disposition"]
        return bytes(answer.read())


def test_what_was_accepted_comes_as_a_geopackage_and_as_geojson(gpkg: Path, tmp_path: Path) -> None:
    change(gpkg, "UPDATE anomalies SET review_status = 'accepted', review_label = 'ship' WHERE fid IN (2, 5)")
    change(gpkg, "UPDATE anomalies SET review_status = 'unsure' WHERE fid = 3")
    before = gpkg.read_bytes()
    with serving(gpkg, "Ana", ("ship",), LINK) as server:
        (tmp_path / "a.gpkg").write_bytes(fetched(server, "gpkg"))
        content = json.loads(fetched(server, "geojson"))
    whole = geopandas.read_file(gpkg, layer="anomalies")
    found = geopandas.read_file(tmp_path / "a.gpkg", layer="anomalies")
    assert found["rank"].tolist() == [2, 5] and found.crs == whole.crs
    assert found.geometry.equals(whole.geometry[[1, 4]].reset_index(drop=True))
    assert geopandas.list_layers(tmp_path / "a.gpkg")["name"].tolist() == [
        "anomalies",
        "scenes",
        "layer_styles",
    ]
    assert [f["properties"]["rank"] for f in content["features"]] == [2, 5]
    assert {f["properties"]["review_label"] for f in content["features"]} == {"ship"}
    (x, y), *_ = content["features"][0]["geometry"]["coordinates"][0][0]
    place = whole.to_crs("EPSG:4326").geometry[1]
    assert place.distance(geopandas.points_from_xy([x], [y])[0]) < 1e-7
    assert gpkg.read_bytes() == before


def test_what_was_accepted_can_be_taken_before_all_is_decided(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    press(page, "a r e")
    expected(page, "#closing-title").to_have_text("4 of 6 regions are unreviewed")
    expected(page, "#actions").to_be_hidden()
    with page.expect_download() as download:
        page.click("#export-geojson")
    content = json.loads(Path(download.value.path()).read_text())
    assert [f["properties"]["rank"] for f in content["features"]] == [1]
    press(page, "a e")  # no key decides here
    expected(page, "#rank").to_have_text("Rank 3")
    assert [o[0] for o in opinions(gpkg)[2:]] == ["unreviewed"] * 4
    page.click("#count")
    expected(page, "#closing").to_be_visible()


def test_without_a_crs_there_is_no_geojson(tmp_path: Path) -> None:
    path = result(tmp_path / "out", crs=None)
    with pytest.raises(Exception, match="has no CRS; take the GeoPackage"):
        exports.file_of(path, "geojson")
    assert exports.file_of(path, "gpkg").startswith(b"SQLite format 3")
