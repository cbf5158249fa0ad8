"""The review's page in a real browser: keys change rows of the file, and nothing leaves this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import Open, eventually, expected, press, said, serving
from results import HOSTILE, change, opinions, result


def test_keys_change_rows_of_the_file(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    expected(page, "#rank").to_have_text("Rank 1")
    expected(page, "#count").to_have_text("0 of 6 reviewed")
    press(page, "a")
    expected(page, "#rank").to_have_text("Rank 2")
    said(page, "Rank 1 accepted, 1 of 6 reviewed")
    press(page, "r j 2 k")
    expected(page, "#rank").to_have_text("Rank 3")
    none, roof = ("unreviewed", "", ""), ("unreviewed", "roof", "")
    eventually(lambda: opinions(gpkg)[:4], [("accepted", "", ""), ("rejected", "", ""), none, roof])
    expected(page, "#count").to_have_text("2 of 6 reviewed")
    press(page, "j 2")
    eventually(lambda: opinions(gpkg)[3], ("unreviewed", "", ""))  # the same label again takes it back


def test_keys_as_fast_as_they_come_lose_nothing(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    press(page, "1 a 2 r 3 a 1 r 2 a 3 r")
    labels = ["ship", "roof", "cloud"] * 2
    eventually(lambda: opinions(gpkg), [(("accepted", "rejected")[i % 2], labels[i], "") for i in range(6)])
    press(page, "u " * 12)
    eventually(lambda: opinions(gpkg), [("unreviewed", "", "")] * 6)
    press(page, "u")
    said(page, "nothing to undo")


def test_a_note_is_kept_by_enter_and_dropped_by_escape(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    press(page, "n")
    page.keyboard.type("a jar? no: r")  # letters of the note decide nothing
    press(page, "Shift+Enter")
    page.keyboard.type("Ω")
    press(page, "Enter")
    eventually(lambda: opinions(gpkg)[0], ("unreviewed", "", "a jar? no: r\nΩ"))
    press(page, "n")
    page.keyboard.type("dropped")
    press(page, "Escape j k")
    expected(page, "#note").to_have_value("a jar? no: r\nΩ")
    expected(page, "#rank").to_have_text("Rank 1")
    press(page, "n")
    page.keyboard.type("!")
    page.click("#row-3")  # leaving the note keeps it, where it was written
    eventually(lambda: [o[2] for o in opinions(gpkg)[:3]], ["a jar? no: r\nΩ!", "", ""])


def test_undo_is_of_this_window_and_refused_after_a_change_elsewhere(enter: Open, gpkg: Path) -> None:
    one = enter(gpkg)
    other = enter(None)
    press(one, "a")
    eventually(lambda: opinions(gpkg)[0][0], "accepted")
    expected(other, "#row-1").to_have_attribute("data-status", "accepted")  # within seconds
    expected(other, "#count").to_have_text("1 of 6 reviewed")
    press(other, "u")
    said(other, "nothing to undo in this window")
    press(other, "r")
    eventually(lambda: opinions(gpkg)[0][0], "rejected")
    press(one, "u")
    said(one, "Not undone: rank 1 was changed elsewhere")
    expected(one, "#row-1").to_have_attribute("data-status", "rejected")
    assert opinions(gpkg)[0][0] == "rejected"


def test_what_qgis_changes_is_shown_and_not_decided_over(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    # this window hears no more by itself, once it was refused
    page.route("**/changes*", lambda route: route.fulfill(status=503, json={}))
    with page.expect_response("**/changes*"):
        pass
    change(gpkg, "UPDATE anomalies SET review_status = 'rejected', review_note = 'by QGIS' WHERE fid = 1")
    press(page, "a")
    said(page, "Not kept: rank 1 was changed elsewhere; look again, then decide")
    expected(page, "#row-1").to_have_attribute("data-status", "rejected")
    press(page, "k")
    expected(page, "#note").to_have_value("by QGIS")
    assert opinions(gpkg)[0] == ("rejected", "", "by QGIS")
    press(page, "a")
    eventually(lambda: opinions(gpkg)[0], ("accepted", "", "by QGIS"))


def test_filters_by_status_score_and_area(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)

    def ranks() -> list[str]:
        return page.evaluate(
            "[...document.querySelectorAll('#list .first')].map((e) => e.firstChild.textContent)"
        )

    page.fill("#by-score", "8.65")
    eventually(ranks, ["1", "2", "3", "4"])  # scores 9, 8.9, ...
    page.fill("#by-area", "2000")
    page.fill("#by-area-to", "3000")
    expected(page, "#shown").to_have_text("2 of 6 shown")
    eventually(ranks, ["2", "3"])
    expected(page, "#rank").to_have_text("Rank 2")  # what the filter hides is not what keys decide
    page.click("#clear")
    eventually(ranks, list("123456"))
    page.select_option("#by-status", "unreviewed")
    page.locator("#list").focus()
    press(page, "Home j a")  # what is decided leaves the list, and the next one follows
    expected(page, "#rank").to_have_text("Rank 3")
    eventually(ranks, list("13456"))
    page.select_option("#by-status", "accepted")
    eventually(ranks, ["2"])
    page.fill("#by-score", "99")
    expected(page, "#none").to_be_visible()
    eventually(lambda: opinions(gpkg)[1][0], "accepted")


def test_a_hostile_result_stays_text(enter: Open, gpkg: Path) -> None:
    for column in ("anomaly_id", "top_band", "review_label", "review_note", "baseline"):
        change(gpkg, f"UPDATE anomalies SET {column} = ?", HOSTILE)
    change(
        gpkg,
        "UPDATE anomalies SET band_shares = json_object(?, 0.5), review_status = ? WHERE fid = 1",
        *[HOSTILE] * 2,
    )
    change(gpkg, "UPDATE anomalies SET scene = ?", HOSTILE)
    change(gpkg, "UPDATE scenes SET scene = ?, path = ?", HOSTILE, HOSTILE)
    page = enter(gpkg)
    press(page, "k")
    assert page.title() == "anomalies.gpkg · satae review"
    assert (
        page.evaluate("document.querySelectorAll('img:not(.thumb img, #chip-image), [onerror]').length") == 0
    )
    for place in ("#place", "#label", "#status", "#bands .band", "#baseline .more", "#remarks"):
        wanted = HOSTILE.partition(";")[0]  # a path is split there
        assert wanted in page.locator(place).first.text_content()
    expected(page, "#note").to_have_value(HOSTILE)


def test_inline_code_would_not_run(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    blocked = page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (e) => done(e.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "document.title = 'run'";
          document.body.append(script);
          setTimeout(() => done(document.title), 1000);
        })"""
    )
    assert blocked == "script-src-elem" and "run" not in page.title()
    assert len(enter.faults) == 1 and "Content Security Policy" in enter.faults.pop()  # type: ignore[attr-defined]


def test_without_the_link_there_is_no_result(enter: Open, gpkg: Path, browser: Any) -> None:
    page = enter(gpkg)
    assert page.url.endswith("/") and "#" not in page.url  # the token has left the address
    context = browser.new_context()
    stranger = context.new_page()
    stranger.goto(page.url)
    expected(stranger, "#gate-text").to_contain_text("This address has no token: open the whole link")
    expected(stranger, ".row").to_have_count(0)
    assert [b for b in stranger.locator("button").all() if b.is_visible()] == []
    stranger.goto(page.url + "#old")  # the page is told of it as a change of its address
    expected(stranger, "#gate-text").to_contain_text("open the one that satae review printed last")
    context.close()


def test_the_page_comes_back_after_a_reload(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    press(page, "a")
    eventually(lambda: opinions(gpkg)[0][0], "accepted")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    expected(page, "#rank").to_have_text("Rank 2")
    expected(page, "#count").to_have_text("1 of 6 reviewed")


def test_single_keys_can_be_switched_off(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    press(page, "?")
    page.uncheck("#single-keys")
    press(page, "Escape a j")
    expected(page, "#rank").to_have_text("Rank 1")
    assert opinions(gpkg)[0][0] == "unreviewed"
    page.click("#accept")
    eventually(lambda: opinions(gpkg)[0][0], "accepted")


def test_a_click_on_an_outline_chooses_it(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    press(page, "j j j f")
    page.wait_for_timeout(500)
    box = page.locator("#map").bounding_box()
    scale = min(box["width"] - 32, box["height"] - 32) / 320  # the whole scene, with its padding
    x = box["x"] + box["width"] / 2 + (60 - 160) * scale  # rank 2 covers columns 56 to 64, rows 16 to 24
    y = box["y"] + box["height"] / 2 + (20 - 160) * scale
    page.mouse.click(x, y)
    expected(page, "#rank").to_have_text("Rank 2")


def test_pictures_lie_where_the_outlines_are(enter: Open, gpkg: Path) -> None:
    """Regions are brighter than their ground; the inside of the chosen outline is drawn so on the map."""
    page = enter(gpkg)
    page.click("#heat")
    page.wait_for_load_state("networkidle")
    colours = page.evaluate(
        """() => {
          const map = document.querySelector("#map canvas");
          const ratio = map.width / map.clientWidth;
          const at = (x, y) => [...map.getContext("2d").getImageData(ratio * x, ratio * y, 1, 1).data];
          const [x, y] = [map.clientWidth / 2, map.clientHeight / 2];
          return [at(x + 8, y + 8), at(x + 130, y + 130)];
        }"""
    )
    (inside, outside) = (sum(colour[:3]) for colour in colours)
    assert inside > 700 > 500 > outside > 0


def test_of_many_regions_only_those_in_sight_are_in_the_page(enter: Open, tmp_path: Path) -> None:
    page = enter(result(tmp_path / "many", number=2000))
    assert 10 < page.locator(".row").count() < 40
    page.locator("#list").focus()
    press(page, "End")
    expected(page, "#rank").to_have_text("Rank 2000")
    expected(page, "#list").to_have_attribute("aria-activedescendant", "row-2000")
    expected(page, "#row-2000").to_be_visible()
    expected(page, "#row-2000").to_have_attribute("aria-posinset", "2000")
    press(page, "Home")
    expected(page, "#row-1").to_be_visible()
    assert page.locator(".row").count() < 40


@pytest.mark.parametrize("missing", [["scene.tif"], ["scene.tif", "anomalies_heatmap.tif"]])
def test_without_rasters_there_are_outlines(enter: Open, gpkg: Path, missing: list[str]) -> None:
    for name in missing:
        (gpkg.parent / name).unlink()
    page = enter(gpkg)
    expected(page, "#remarks li").to_have_count(len(missing))
    assert page.is_visible("#legend") == (len(missing) == 1)
    press(page, "a")
    eventually(lambda: opinions(gpkg)[0][0], "accepted")


def test_a_server_that_ended_is_told(enter: Open, gpkg: Path, browser: Any) -> None:
    with serving(gpkg) as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.keys.link)
        page.wait_for_selector("html[data-ready]")
        server.stop()
        page.wait_for_timeout(1000)
        press(page, "a")
        said(
            page,
            f"satae review cannot be reached; start it again with --port {server.keys.port} and open its new link; "
            "saving 1, keep this page open",
        )
        expected(page, "#row-1").to_have_attribute("data-waits", "true")
        expected(page, "#count").to_have_text("0 of 6 reviewed")
        assert opinions(gpkg)[0][0] == "unreviewed"
        context.close()
