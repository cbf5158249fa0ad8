"""Bands, stretch and brightness of the scene on the review's page, and what the browser remembers of them."""

from __future__ import annotations

import http.client
from pathlib import Path

import rasterio
from browsing import Open, Page, eventually, expected, press, serving
from results import change, opinions

from satae.review.guard import COOKIE


def nir_below(gpkg: Path) -> Path:
    """The result, with a scene whose lower part is bright in the fourth band alone."""
    with rasterio.open(gpkg.parent / "scene.tif", "r+") as scene:
        image = scene.read()
        image[:3, 200:] = image[:3, 200:] // 100
        image[3, 200:] = 60_000
        scene.write(image)
    return gpkg


def below(page: Page) -> list[int]:
    """The colour on the map below all regions, at row 250 and column 160 of the whole scene."""
    code = """() => {
      const map = document.querySelector("#map canvas");
      const [wide, high] = [map.clientWidth, map.clientHeight];
      const scale = Math.min(wide - 32, high - 32) / 320;
      const ratio = map.width / wide;
      return [...map.getContext("2d").getImageData(ratio * wide / 2, ratio * (high / 2 + 90 * scale), 1, 1).data];
    }"""
    return list(page.evaluate(code))


def is_red(page: Page) -> bool:
    red, green, blue, opacity = below(page)
    return opacity == 255 and red > 200 and green < 100 and blue < 100


def test_a_band_is_made_red_and_is_so_in_the_next_review(enter: Open, gpkg: Path) -> None:
    page = enter(nir_below(gpkg))
    press(page, "h f")
    eventually(lambda: below(page)[3] == 255 and not is_red(page), True)
    press(page, "b")
    expected(page, "#red").to_be_focused()
    assert page.locator("#red option").all_text_contents() == ["blue", "green", "red", "nir"]
    expected(page, "#red").to_have_value("2")
    page.select_option("#red", label="nir")
    eventually(lambda: is_red(page), True)
    press(page, "Escape a")
    eventually(lambda: opinions(gpkg)[0][0], "accepted")  # keys decide again
    expected(page, "#looks").to_be_hidden()
    other = enter(gpkg)  # served at another port
    press(other, "h f")
    eventually(lambda: is_red(other), True)
    press(other, "b")
    expected(other, "#red").to_have_value("3")
    other.click("#usual")
    expected(other, "#red").to_have_value("2")
    eventually(lambda: is_red(other), False)


def test_stretch_and_gamma_are_asked_of_the_server(enter: Open, gpkg: Path) -> None:
    page = enter(nir_below(gpkg))
    press(page, "b")
    expected(page, "#cut").to_have_value("0.5")
    for act, wanted in (
        (lambda: page.select_option("#cut", "5"), "?cut=5"),
        (lambda: page.locator("#gamma").fill("1.3"), "?cut=5&gamma=1.3"),
    ):
        with page.expect_response(lambda r: "/picture/" in r.url and r.url.endswith(wanted)) as seen:  # noqa: B023
            act()
        assert seen.value.status == 200


def test_a_scene_without_the_remembered_bands_has_its_usual_ones(enter: Open, gpkg: Path) -> None:
    page = enter(nir_below(gpkg))
    press(page, "b")
    expected(page, "#red").to_have_value("2")
    page.select_option("#red", label="nir")
    change(gpkg, "UPDATE scenes SET bands = 'b1,b2,b3,b4'")
    other = enter(gpkg)
    press(other, "b")
    expected(other, "#red").to_have_value("2")
    assert other.locator("#red option").all_text_contents() == ["b1", "b2", "b3", "b4"]


def test_of_no_scene_there_are_no_bands_to_choose(enter: Open, gpkg: Path) -> None:
    (gpkg.parent / "scene.tif").unlink()
    page = enter(gpkg)
    expected(page, "#bands-button").to_be_disabled()
    press(page, "b")
    expected(page, "#looks").to_be_hidden()


def test_what_is_no_look_is_refused(gpkg: Path) -> None:
    with serving(gpkg) as server:
        for query, status in (
            ("bands=3,2,1&cut=2", 200), ("bands=3,2", 422), ("bands=3,2,4", 404), ("bands=-1,0,1", 422),
            ("cut=50", 422), ("gamma=nan", 422),
        ):  # fmt: skip
            connection = http.client.HTTPConnection("127.0.0.1", server.keys.port, timeout=10)
            connection.request(
                "GET",
                f"/scenes/0/picture/0/0/0.png?{query}",
                headers={"Cookie": f"{COOKIE}={server.keys.cookie}"},
            )
            assert connection.getresponse().status == status, query
            connection.close()
