"""The review's page for everyone: small screens, contrast, focus, words for who does not see."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import Open, eventually, expected, press, said
from results import change, opinions, result


@pytest.mark.parametrize("size", [(1366, 768), (1024, 768), (390, 844)])
def test_all_that_decides_fits_on_the_screen(enter: Open, gpkg: Path, size: tuple[int, int]) -> None:
    page = enter(gpkg, size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for place in ("#accept", "#reject", "#undo", "#previous", "#next", "#map", "#count"):
        box = page.locator(place).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0] and box["y"] + box["height"] <= size[1], (
            place
        )
        if place.startswith(("#acc", "#rej", "#und", "#pre", "#nex")):
            assert box["height"] >= 40 and page.eval_on_selector(
                place, "e => e.scrollWidth <= e.clientWidth"
            ), place
    if size[0] < 1080:
        page.click("#drawer")
        page.click("#row-3")
        expected(page, "#rank").to_have_text("Rank 3")
        expected(page, "#list").to_be_hidden()
    page.click("#accept")
    eventually(lambda: sum(o[0] == "accepted" for o in opinions(gpkg)), 1)


CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const grounds = (e) => (e ? [...grounds(e.parentElement), getComputedStyle(e).backgroundColor] : ["white"]);
  const texts = [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() &&
    e.id !== "said" && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return texts.map((e) => {
    const below = grounds(e);
    const [a, b] = [light(over(below)), light(over([...below, getComputedStyle(e).color]))];
    return [e.outerHTML.slice(0, 60), Math.max(a, b) / Math.min(a, b)];
  });
}"""


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_text_has_the_contrast_of_wcag_aa(enter: Open, gpkg: Path, theme: str) -> None:
    change(gpkg, "UPDATE anomalies SET review_status = 'accepted', review_label = 'ship' WHERE fid = 1")
    change(gpkg, "UPDATE anomalies SET review_status = 'rejected' WHERE fid = 2")
    page = enter(gpkg)
    while theme not in page.inner_text("#theme"):
        page.click("#theme")
    for keys in ("k", "j", "j", "?"):
        press(page, keys)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 40 and [entry for entry in found if entry[1] < 4.5] == []


def test_focus_is_seen_wherever_it_goes(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    seen = set()
    for _ in range(40):
        press(page, "Tab")
        name, outline = page.evaluate(
            """() => {
              const e = document.activeElement;
              if (e === document.body) return ["body", "solid"];
              const marked = e.id === "list" ? document.querySelector(".row[aria-selected=true]") : e;
              return [e.id || e.textContent, getComputedStyle(marked).outlineStyle];
            }"""
        )
        seen.add(name)
        assert outline == "solid", name
    assert {"map", "list", "note", "accept", "reject", "undo", "by-status", "theme"} <= seen


def test_decisions_are_told_to_who_does_not_see(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    expected(page, "#said").to_have_attribute("aria-live", "polite")
    press(page, "a")
    said(page, "Rank 1 accepted")
    names = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea")]
          .filter((e) => e.checkVisibility())
          .map((e) => e.ariaLabel || (e.labels?.[0] ?? e).textContent.trim())"""
    )
    assert all(names)
    expected(page, "#row-1").to_contain_text("accepted")


def test_on_a_phone_chips_lie_over_the_page_until_one_is_chosen(enter: Open, tmp_path: Path) -> None:
    page = enter(result(tmp_path / "out", number=20), (390, 844))
    page.click("#drawer")
    page.click("#grid")
    one, two = (page.locator(f"#row-{fid}").bounding_box() for fid in (1, 2))
    assert one["y"] == two["y"] and two["x"] + two["width"] <= 390
    page.click("#row-2")
    expected(page, "#rank").to_have_text("Rank 2")
    expected(page, "#list").to_be_hidden()
    for place in ("#map", "#actions", "#accept"):
        box = page.locator(place).bounding_box()
        assert box["x"] >= 0 and box["width"] >= 60 and box["x"] + box["width"] <= 390, place
    page.click("#accept")
    expected(page, "#count").to_have_text("1 of 20 reviewed")
