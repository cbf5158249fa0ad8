"""What makes two hundred regions bearable: on to the next, sorted, side by side, and out again."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import geopandas
import pytest
from browsing import Open, Page, eventually, expected, press, rank, serving
from results import change, opinions, result

from satae.review import exports
from satae.review.server import COOKIE, Server

LINK = "https://example.org/?lat={lat}&lon={lon}"


def test_unsure_is_a_decision_and_a_dot_goes_to_what_is_open(enter: Open, gpkg: Path) -> None:
    change(gpkg, "UPDATE anomalies SET review_status = 'accepted' WHERE fid IN (2, 3)")
    page = enter(gpkg)
    press(page, "s")
    eventually(lambda: opinions(gpkg)[0][0], "unsure")
    assert rank(page) == "Rank 4"
    press(page, "k k .")
    assert rank(page) == "Rank 4"
    expected(page, "#count").to_have_text("3 of 6 reviewed")
    expected(page, "#row-1 .mark").to_have_text("?")


def test_the_list_is_sorted_by_area(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    page.select_option("#by-order", "area_m2")
    assert [r.get_attribute("data-fid") for r in page.locator(".row").all()] == ["6", "5", "4", "3", "2", "1"]
    page.locator("#list").focus()
    press(page, "Home a")
    assert rank(page) == "Rank 5"  # in the order of the list
    eventually(lambda: opinions(gpkg)[5][0], "accepted")


def test_chips_lie_side_by_side_and_arrows_go_among_them(enter: Open, tmp_path: Path) -> None:
    page = enter(result(tmp_path / "out", number=60))
    press(page, "g")
    boxes = [page.locator(f"#row-{fid}").bounding_box() for fid in (1, 2)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[1]["x"] > boxes[0]["x"] + 100
    columns = round(page.locator("#list").bounding_box()["width"] / boxes[0]["width"])
    page.locator("#list").focus()
    press(page, "ArrowDown ArrowRight")
    assert rank(page) == f"Rank {columns + 2}"
    press(page, "r")
    expected(page, f"#row-{columns + 2} .mark").to_have_text("✕")
    press(page, "End")
    assert rank(page) == "Rank 60" and page.is_visible("#row-60")
    press(page, "g")
    assert page.locator("#row-60").bounding_box()["width"] > 200 and page.is_visible("#map")


def test_h_held_shows_what_is_below_and_let_go_brings_it_back(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    shown = "document.querySelector('#heat').getAttribute('aria-pressed')"
    press(page, "h")
    assert page.evaluate(shown) == "false"
    page.keyboard.down("h")
    assert page.evaluate(shown) == "true"
    page.wait_for_timeout(450)
    page.keyboard.up("h")
    assert page.evaluate(shown) == "false"
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


def test_the_slider_makes_the_heatmap_thinner(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    page.wait_for_timeout(800)
    full = drawn(page)
    page.locator("#opacity").fill("10")
    page.wait_for_timeout(400)
    thin = drawn(page)
    page.click("#heat")
    page.wait_for_timeout(400)
    bare = drawn(page)

    def apart(one: list[int], other: list[int]) -> int:
        return sum(abs(a - b) for a, b in zip(one[:3], other[:3], strict=True))

    assert 0 < apart(thin, bare) < apart(full, bare) / 3


def test_of_several_scenes_each_is_shown_with_its_own_regions(enter: Open, tmp_path: Path) -> None:
    path = result(tmp_path / "out")
    columns = "path, crs, gsd_m, bands, valid_fraction, anomalies, threshold, rule"
    change(path, f"INSERT INTO scenes (scene, {columns}) SELECT 'other', {columns} FROM scenes")
    change(path, "UPDATE anomalies SET scene = 'other' WHERE fid IN (2, 5)")
    page = enter(path)
    assert page.inner_text("#place").startswith("scene")
    page.select_option("#by-scene", label="other")
    assert [r.get_attribute("data-fid") for r in page.locator(".row").all()] == ["2", "5"]
    assert rank(page) == "Rank 2" and page.inner_text("#place").startswith("other")
    page.locator("#list").focus()
    press(page, "a a")
    eventually(
        lambda: [o[0] for o in opinions(path)],
        ["unreviewed", "accepted"] + ["unreviewed"] * 2 + ["accepted", "unreviewed"],
    )
    expected(page, "#closing-title").to_contain_text("4 of 6 are left outside")
    page.click("#show-all")
    assert rank(page) == "Rank 1" and page.inner_text("#place").startswith("scene")


def test_tiles_of_the_next_region_are_there_before_it_is_chosen(enter: Open, tmp_path: Path) -> None:
    path = result(tmp_path / "out", number=12, side=600)
    change(path, "UPDATE anomalies SET review_status = 'rejected' WHERE fid BETWEEN 2 AND 6")
    page = enter(path)  # rank 1 lies in one tile of each raster, rank 7 in another too
    asked: list[str] = []
    page.on("request", lambda r: "/scenes/" in r.url and asked.append(r.url))
    page.wait_for_timeout(800)
    asked.clear()
    press(page, ".")
    assert rank(page) == "Rank 7"
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


def test_without_a_crs_there_is_no_geojson(tmp_path: Path) -> None:
    path = result(tmp_path / "out", crs=None)
    with pytest.raises(Exception, match="has no CRS; take the GeoPackage"):
        exports.file_of(path, "geojson")
    assert exports.file_of(path, "gpkg").startswith(b"SQLite format 3")
