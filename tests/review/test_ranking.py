"""The page's list in the order that decisions give it, by the same rule as `satae score --feedback`."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import Open, Page, eventually, expected, press, said
from results import change, make_areas, opinions, result
from rows import grid, layer

from satae.decisions import decisions
from satae.decisions.preference import chances, prefer
from satae.gis.columns import by_rank
from satae.review import ranking
from satae.review.ranking import ranking_of
from satae.review.store import Review

LOOKS = {fid: [1.0 if fid % 2 else -1.0, 0.1 * fid, 5.0 - fid % 3] for fid in range(1, 13)}


def signed(tmp_path: Path) -> Path:
    """Twelve regions, of which the odd ones look bright and the even ones dark."""
    path = result(tmp_path / "out", number=12)
    for fid, look in LOOKS.items():
        change(path, "UPDATE anomalies SET signature = ? WHERE fid = ?", json.dumps(look), fid)
    return path


def decide(path: Path, **fids: list[int]) -> None:
    for status, chosen in fids.items():
        for fid in chosen:
            change(path, "UPDATE anomalies SET review_status = ? WHERE fid = ?", status, fid)


def fids(page: Page) -> list[int]:
    return list(page.evaluate("[...document.querySelectorAll('.row')].map((e) => Number(e.dataset.fid))"))


def test_it_is_the_order_of_score_with_feedback(tmp_path: Path) -> None:
    path = signed(tmp_path)
    decide(path, accepted=[2, 4], rejected=[1, 3, 5], unsure=[6])
    review = Review(path)
    found = ranking_of(review)
    review.close()
    (like,) = layer(grid()).regions
    rows = [
        replace(like, anomaly_id=str(fid), score=9.0 - (fid - 1) / 10, signature=json.dumps(look))
        for fid, look in LOOKS.items()
    ]
    moved, told = prefer(rows, decisions.read(path))
    assert (found.accepted, found.rejected, found.older, found.unused) == (2, 3, 0, 0) and told.accepted == 2
    assert [found.regions[fid][0] for fid in LOOKS] == pytest.approx([r.feedback for r in moved], abs=1e-4)
    ours = sorted(LOOKS, key=lambda fid: -(9.0 - (fid - 1) / 10 + found.regions[fid][0]))
    assert ours == [int(row.anomaly_id) for row in by_rank(moved)] != list(LOOKS)
    looks = np.array(list(LOOKS.values()))
    chance = chances(looks[[0, 1, 2, 3, 4]], np.array([False, True, False, True, False]), looks)
    assert [found.regions[fid][1] for fid in LOOKS] == pytest.approx(chance, abs=1e-4)


def test_decisions_on_areas_order_areas_alone(tmp_path: Path) -> None:
    path = signed(tmp_path)
    make_areas(path, 2, 4, 7, 8)
    decide(path, accepted=[2], rejected=[7])
    review = Review(path)
    found = ranking_of(review)
    review.close()
    assert (found.accepted, found.rejected) == (1, 1)
    # of objects nothing is known: as likely as not
    assert {fid for fid, said in found.regions.items() if said == (0, 0.5)} == {*LOOKS} - {2, 4, 7, 8}
    assert found.regions[2][0] > 0 > found.regions[7][0] and len(found.regions) == 12


def test_what_it_cannot_use_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = signed(tmp_path)
    decide(path, accepted=[1, 2, 3], rejected=[4, 5])
    for fid, text in ((1, "[1, 2]"), (2, "no list"), (7, "[1e999, 2, 3]")):
        change(path, "UPDATE anomalies SET signature = ? WHERE fid = ?", text, fid)
    monkeypatch.setattr(ranking, "LATEST", 2)
    review = Review(path)
    found = ranking_of(review)
    assert (found.accepted + found.rejected, found.older, found.unused) == (2, 1, 2)
    assert set(found.regions) == set(range(3, 13)) - {7}
    change(path, "UPDATE anomalies SET review_status = 'unreviewed'")
    assert ranking_of(review).regions == {} and ranking_of(review).accepted == 0
    review.close()


def test_the_page_ranks_again_by_what_was_decided(enter: Open, tmp_path: Path) -> None:
    path = signed(tmp_path)
    page = enter(path)
    press(page, "p")
    said(page, "Accept or reject some regions first")
    expected(page, "#by-order").to_have_value("")
    press(page, "r a r a")  # 1 and 3 are no anomalies, 2 and 4 are
    expected(page, "#count").to_have_text("4 of 12 reviewed")
    press(page, "p")
    eventually(lambda: page.input_value("#by-order"), "learned")
    expected(page, "#said").to_contain_text("Ranked by 2 accepted and 2 rejected: ")
    order = fids(page)
    mean: dict[int, Any] = {
        kind: np.mean([order.index(f) for f in LOOKS if f % 2 == kind]) for kind in (0, 1)
    }
    assert mean[0] < mean[1] and order != list(LOOKS)
    first = next(fid for fid in order if fid > 4)
    expected(page, "#rank").to_have_text(f"Rank {first}")  # what is unreviewed, from above
    expected(page, "#ranked").to_have_text("by 4 decisions")
    press(page, "a")
    expected(page, "#ranked").to_have_text("by 4 decisions, 1 since")
    eventually(lambda: opinions(path)[first - 1][0], "accepted")
    page.click("#again")
    expected(page, "#ranked").to_have_text("by 5 decisions")
    page.select_option("#by-order", "")
    expected(page, "#ranking").to_be_hidden()
    eventually(lambda: fids(page), list(LOOKS))


def test_uncertain_is_what_is_as_likely_accepted_as_not(enter: Open, tmp_path: Path) -> None:
    path = signed(tmp_path)
    decide(path, accepted=[2, 4], rejected=[1, 3])
    page = enter(path)
    page.select_option("#by-order", "doubt")
    eventually(lambda: fids(page) != list(LOOKS), True)
    review = Review(path)
    found = ranking_of(review).regions
    review.close()
    doubts = [abs(found[fid][1] - 0.5) for fid in fids(page)]
    assert doubts == sorted(doubts) and doubts[-1] > doubts[0] + 0.05


def test_a_result_without_signatures_says_so(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    press(page, "a")
    expected(page, "#count").to_have_text("1 of 6 reviewed")
    press(page, "p")
    said(page, "This result does not say what regions look like")


def test_it_goes_by_the_regions_that_the_page_knows(tmp_path: Path) -> None:
    path = signed(tmp_path)
    decide(path, accepted=[2, 4], rejected=[1, 3])
    review = Review(path)
    shutil.copy(path, tmp_path / "newer.gpkg")
    change(tmp_path / "newer.gpkg", "UPDATE anomalies SET fid = 100 - fid")
    os.replace(tmp_path / "newer.gpkg", path)  # as `satae score --overwrite` does meanwhile
    found = ranking_of(review)
    review.close()
    again = Review(path)
    wanted = ranking_of(again)
    again.close()
    assert found.regions == {100 - fid: told for fid, told in wanted.regions.items()}
    assert set(found.regions) == set(LOOKS)
