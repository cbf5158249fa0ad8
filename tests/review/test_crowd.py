"""Very many outlines at once are drawn another way: what they say, and what the filter hides, is the same."""

from __future__ import annotations

from pathlib import Path

from browsing import Open, Page, eventually, expected, press
from results import result

GREEN, PINK = [0x35, 0xE0, 0x8D], [0xFF, 0x2D, 0x96]  # accepted, and a score over 6


def drawn(page: Page, fid: int) -> list[int] | None:
    """The colour that covers most of the map around a region of the first row; None where nothing does."""
    code = """(col) => {
      const crowd = document.querySelector(".crowd canvas");
      if (!crowd) return null;
      const map = document.querySelector("#map");
      const ratio = crowd.width / map.clientWidth;
      const scale = Math.min(map.clientWidth - 32, map.clientHeight - 32) / 320;
      const at = (value, size) => ratio * (size / 2 + (value - 160) * scale);
      const size = Math.ceil(ratio * 12 * scale);
      const box = [at(col - 2, map.clientWidth), at(14, map.clientHeight), size, size];
      const { data } = crowd.getContext("2d").getImageData(...box);
      let best = 3;
      for (let i = 3; i < data.length; i += 4) if (data[i] > data[best]) best = i;
      return data[best] ? [...data.slice(best - 3, best)] : null;
    }"""
    found = page.evaluate(code, 16 + 40 * ((fid - 1) % 7))
    return None if found is None else list(found)


def near(found: list[int] | None, wanted: list[int]) -> bool:
    return found is not None and max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 12


def test_the_whole_scene_of_a_crowd_has_the_colours_and_the_gaps_of_the_list(
    enter: Open, tmp_path: Path
) -> None:
    page = enter(result(tmp_path / "out", number=1200))
    expected(page, ".crowd").to_have_count(0)
    page.fill("#by-score", "8.65")  # ranks 1 to 4; others lie below and beside them
    page.locator("#list").focus()
    press(page, "f")
    eventually(lambda: [near(drawn(page, fid), PINK) for fid in (2, 3, 4)], [True] * 3)
    assert drawn(page, 5) is None and drawn(page, 6) is None
    press(page, "j a f")
    eventually(lambda: near(drawn(page, 2), GREEN), True)
    assert near(drawn(page, 3), PINK)
    press(page, "o")
    expected(page, ".crowd").to_have_count(0)
    press(page, "o")
    expected(page, ".crowd").to_have_count(1)
    press(page, "f")  # back to the region, where each outline is drawn with care
    expected(page, ".crowd").to_have_count(0)


def test_a_click_finds_a_region_of_a_crowd(enter: Open, tmp_path: Path) -> None:
    page = enter(result(tmp_path / "out", number=1200))
    page.fill("#by-score", "8.65")
    page.locator("#list").focus()
    press(page, "f")
    eventually(lambda: near(drawn(page, 3), PINK), True)
    box = page.locator("#map").bounding_box()
    scale = min(box["width"] - 32, box["height"] - 32) / 320
    x, y = (
        box["x"] + box["width"] / 2 + (100 - 160) * scale,
        box["y"] + box["height"] / 2 + (20 - 160) * scale,
    )
    page.mouse.click(x, y)
    expected(page, "#rank").to_have_text("Rank 3")
