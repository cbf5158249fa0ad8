"""What waits while the server of a review is away goes over to its next run; what the page says to type is whole."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from browsing import Page, eventually, expected, press, said, serving
from results import change, make_areas, opinions, result

from satae.review.remedies import remedies
from satae.review.server import PORTS, own_port
from satae.review.store import Review


@contextmanager
def away(browser: Any, gpkg: Path) -> Iterator[tuple[Page, int]]:
    """A page with decisions on three of its regions, one taken back, whose server has ended; and the server's port."""
    with closing(browser.new_context(viewport={"width": 1366, "height": 768})) as context:
        with serving(gpkg) as server:
            page = context.new_page()
            page.goto(server.keys.link)
            page.wait_for_selector("html[data-ready]")
        press(page, "a r 2 s a u")
        expected(page, "#saving").to_have_text("saving 5")
        assert {status for status, _, _ in opinions(gpkg)} == {"unreviewed"}
        yield page, server.keys.port


DECIDED = [("accepted", "", ""), ("rejected", "", ""), ("unsure", "roof", ""), ("unreviewed", "", "")]


@pytest.mark.parametrize("how", ["in the old tab", "in a new tab", "in the old tab after a reload"])
def test_what_waited_is_stored_by_the_next_run(browser: Any, gpkg: Path, how: str) -> None:
    with away(browser, gpkg) as (page, port), serving(gpkg, port=port) as server:
        said(page, "it saves the 5 that wait")
        if "reload" in how:
            page.once("dialog", lambda dialog: dialog.accept())
            page.reload()
            expected(page, "#gate-text").to_contain_text("the link is of another run")
        other = page.context.new_page() if "new" in how else page
        other.goto(server.keys.link)  # in the old tab only the fragment changes
        eventually(lambda: opinions(gpkg)[:4], DECIDED)
        expected(other, "#count").to_have_text("3 of 6 reviewed")
        expected(other, "#saving").to_be_hidden()
        eventually(lambda: other.evaluate("localStorage.length"), 0)


def test_what_the_file_says_otherwise_now_is_a_conflict(browser: Any, gpkg: Path) -> None:
    with away(browser, gpkg) as (page, port):
        # somebody else decided on the first; the second was stored, and its answer lost
        for fid, status in ((1, "unsure"), (2, "rejected")):
            change(gpkg, "UPDATE anomalies SET review_status = ? WHERE fid = ?", status, fid)
        with serving(gpkg, port=port) as server:
            page.goto(server.keys.link)
            said(page, "Not kept: rank 1 was changed elsewhere; look again, then decide")
            eventually(lambda: opinions(gpkg)[:4], [("unsure", "", ""), *DECIDED[1:]])
            expected(page, "#saving").to_be_hidden()


def test_another_result_on_the_port_gets_nothing(browser: Any, gpkg: Path, tmp_path: Path) -> None:
    with away(browser, gpkg) as (page, port):
        other = result(tmp_path / "other")
        with serving(other, port=port) as server:
            page.goto(server.keys.link)
            page.wait_for_url(f"http://127.0.0.1:{port}/")
            page.wait_for_selector("html[data-ready]")
            expected(page, "#count").to_have_text("0 of 6 reviewed")
            page.wait_for_timeout(300)
            assert {status for status, _, _ in opinions(other)} == {"unreviewed"}
            assert page.evaluate("localStorage.length") == 1  # they still wait for their own


def test_a_result_has_the_same_port_each_time_and_another_where_that_is_taken(
    gpkg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(gpkg, port=None) as server, serving(gpkg, port=None) as beside:
        first = server.keys.port
        assert first in PORTS and beside.keys.port != first
    monkeypatch.chdir(gpkg.parent)
    for again in (gpkg, Path(gpkg.name)):
        with serving(again, port=None) as server:
            assert server.keys.port == first
    assert len({own_port(tmp_path / f"{i}.gpkg") for i in range(20)}) > 15


def test_what_waited_in_a_closed_tab_is_stored_by_a_plain_restart(browser: Any, gpkg: Path) -> None:
    with closing(browser.new_context()) as context:
        with serving(gpkg, port=None) as server:
            page = context.new_page()
            page.goto(server.keys.link)
            page.wait_for_selector("html[data-ready]")
        press(page, "a r 2 s a u")
        expected(page, "#saving").to_have_text("saving 5")
        page.close()
        with serving(gpkg, port=None) as server:
            page = context.new_page()
            page.goto(server.keys.link)
            eventually(lambda: opinions(gpkg)[:4], DECIDED)


def commands(path: Path, when: str) -> list[list[str]]:
    with closing(Review(path)) as opened:
        return [shlex.split(told["text"]) for told in remedies(opened)[when]]


def test_commands_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = result(tmp_path / "a folder", number=2)
    scene, out, model = str(path.with_name("scene.tif")), str(path), path.with_name("own.onnx")
    place = ["--out", out, "--overwrite"]
    assert commands(path, "empty") == [
        ["satae", "score", scene, "--model", "MODEL", "--top", "20", *place]
    ]  # which model it was is not known
    model.write_bytes(b"a model")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    change(path, "UPDATE scenes SET model_sha256 = ?, rule = 'top 5', domain = 'foreign'", digest)
    given = ["--model", str(model)]
    assert commands(path, "empty") == [["satae", "score", scene, *given, "--top", "20", *place]]
    assert commands(path, "done") == [
        ["satae", "score", scene, *given, "--top", "5", "--feedback", out, *place],
        ["satae", "train", "--feedback", out, "--out", str(model), "--overwrite"],
    ]
    change(path, "UPDATE scenes SET rule = 'far 10'")
    assert "--force-domain" in commands(path, "done")[0]
    monkeypatch.chdir(path.parent)
    model.rename("model.onnx")
    assert commands(Path(path.name), "done")[1] == [
        "satae", "train", "--feedback", "anomalies.gpkg", "--overwrite"
    ]  # fmt: skip


def test_commands_of_two_kinds_name_both_models_and_the_scene_once(tmp_path: Path) -> None:
    path = result(tmp_path / "out", number=2)
    make_areas(path, 2)
    scene, out = str(path.with_name("scene.tif")), str(path)
    names = {kind: path.with_name(f"{kind}.onnx") for kind in ("object", "area")}
    for kind, model in names.items():
        model.write_bytes(kind.encode())
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        change(path, "UPDATE scenes SET model_sha256 = ? WHERE kind = ?", digest, kind)
    given = ["--model", str(names["object"]), "--model", str(names["area"])]
    score, *train = commands(path, "done")
    assert score == ["satae", "score", scene, *given, "--feedback", out, "--out", out, "--overwrite"]
    assert train == [
        [
            "satae",
            "train",
            "--feedback",
            out,
            "--set",
            f"target.kind={kind}",
            "--out",
            str(model),
            "--overwrite",
        ]
        for kind, model in names.items()
    ]


def test_an_empty_result_says_why_and_what_was_hottest(enter: Any, tmp_path: Path) -> None:
    path = result(tmp_path / "out", number=0)
    with rasterio.open(path.with_name("anomalies_heatmap.tif")) as file:
        highest = np.nanmax(file.read(1))
    change(path, "UPDATE scenes SET domain = 'foreign', domain_note = 'errors are 4 times those of training'")
    page = enter(path)
    told = expected(page, "#closing-stored")
    told.to_contain_text("for it is foreign to the model: errors are 4 times those of training")
    told.to_contain_text(f"its hottest pixel has {highest:.2f}")


def test_what_is_undone_is_said(enter: Any, gpkg: Path) -> None:
    page = enter(gpkg)
    press(page, "1 u")
    said(page, "Rank 1 is without label again")
    press(page, "a u")
    said(page, "Rank 1 is unreviewed again")
