"""The review's page loses nothing: what waits for the file is not counted, and nobody leaves it unasked."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from browsing import Open, Page, eventually, expected, press, said, serving
from results import change, opinions, result

from satae.review import store
from satae.review.server import ready


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program writes, and keeps the file to itself."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        yield
        writer.execute("ROLLBACK")


def leave(page: Page) -> list[str]:
    """Close the tab; what the browser asks is answered by staying. Gives the kinds of what it asked."""
    asked: list[str] = []

    def stay(dialog: Page) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.once("dialog", stay)
    page.close(run_before_unload=True)
    until = time.monotonic() + 5
    while not asked and not page.is_closed() and time.monotonic() < until:
        page.context.cookies()  # lets events come in
        time.sleep(0.05)
    return asked


def decided(path: Path) -> int:
    return sum(status == "accepted" for status, _, _ in opinions(path))


@pytest.mark.parametrize(
    ("patience", "held"), [(0.1, 1.0), pytest.param(store.PATIENCE, 10.0, marks=pytest.mark.slow)]
)
def test_decisions_under_a_lock_are_not_counted_and_all_are_stored_after_it(
    enter: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float, held: float
) -> None:
    monkeypatch.setattr(store, "PATIENCE", patience)
    path = result(tmp_path / "out", number=20)
    page = enter(path)
    with locked(path):
        until = time.monotonic() + held
        press(page, "a " * 20)
        said(page, "Waiting: anomalies.gpkg is locked by another program")
        expected(page, "#count").to_have_text("0 of 20 reviewed")
        expected(page, "#saving").to_have_text("saving 20")
        assert page.locator(".row[data-waits=true]").count() == page.locator(".row").count() > 5
        assert set(page.locator(".row .mark").all_inner_texts()) == {"○"}
        expected(page, "#closing").to_contain_text("Saving 20: keep this page open")
        assert leave(page) == ["beforeunload"]  # and the reader stays
        page.wait_for_timeout(max(0.0, 1000 * (until - time.monotonic())))
    eventually(lambda: decided(path), 20)
    expected(page, "#count").to_have_text("20 of 20 reviewed")
    expected(page, "#saving").to_be_hidden()
    assert set(page.locator(".row .mark").all_inner_texts()) == {"✓"}
    assert leave(page) == [] and page.is_closed()


def test_what_a_closed_tab_left_is_stored_by_the_next_page_of_the_run(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    beside = enter(None)  # a window that is open sends its own
    with locked(gpkg):
        press(page, "a r s a")
        expected(page, "#saving").to_have_text("saving 4")
        page.on("dialog", lambda dialog: dialog.accept())
        page.close(run_before_unload=True)
        press(beside, "End a")
        expected(beside, "#saving").to_have_text("saving 1")
    again = enter(None)
    eventually(
        lambda: [status for status, _, _ in opinions(gpkg)],
        ["accepted", "rejected", "unsure", "accepted", "unreviewed", "accepted"],
    )
    eventually(lambda: again.evaluate("localStorage.length"), 0)


def test_a_note_that_is_being_written_is_kept_or_asked_for(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    press(page, "n")
    page.keyboard.type("half a se")
    assert leave(page) in ([], ["beforeunload"])
    eventually(lambda: opinions(gpkg)[0], ("unreviewed", "", "half a se"))


def test_a_write_whose_answer_was_lost_is_no_conflict(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    lost: list[str] = []

    def lose(route: Page) -> None:
        if lost:
            return route.continue_()
        lost.append(route.request.url)
        route.fetch()  # the server stores it, and nobody hears of it
        return route.abort()

    page.route("**/regions/1", lose)
    press(page, "a 2")
    expected(page, "#count").to_have_text("1 of 6 reviewed")
    eventually(lambda: opinions(gpkg)[:2], [("accepted", "", ""), ("unreviewed", "roof", "")])
    assert len(lost) == 1 and enter.faults.pop().endswith("net::ERR_FAILED")  # type: ignore[attr-defined]


def test_two_reviews_of_one_file_and_a_writer_beside_them_lose_nothing(enter: Open, tmp_path: Path) -> None:
    """Two servers, as two analysts start them, and a third program that writes another layer meanwhile."""
    path = result(tmp_path / "out", number=12)
    one = enter(path)
    with serving(path) as server:
        two = one.context.browser.new_context().new_page()
        two.goto(server.keys.link)
        two.wait_for_selector("html[data-ready]")
        two.fill("#by-area", "6500")  # ranks 7 to 12
        two.locator("#list").focus()
        for _ in range(6):
            press(one, "a")
            press(two, "r")
            change(path, "UPDATE tiles SET score = score + 1")
        eventually(lambda: decided(path), 6)
        eventually(lambda: sum(o[0] == "rejected" for o in opinions(path)), 6)
        for page in (one, two):
            expected(page, "#count").to_have_text("12 of 12 reviewed")
        two.context.close()


@pytest.mark.parametrize("filtered", [True, False])
def test_at_the_end_no_key_overturns_the_last_decision(enter: Open, gpkg: Path, filtered: bool) -> None:
    page = enter(gpkg)
    if filtered:
        page.select_option("#by-status", "unreviewed")
        page.locator("#list").focus()
    press(page, "a 1 a r 2 a a a")  # six decisions
    eventually(lambda: [o[0] for o in opinions(gpkg)], ["accepted"] * 2 + ["rejected"] + ["accepted"] * 3)
    expected(page, "#closing-title").to_have_text("All 6 regions are reviewed")
    before = opinions(gpkg)
    press(page, "r a j r k a 3 n r Delete")
    page.wait_for_timeout(300)
    expected(page, "#actions").to_be_hidden()
    expected(page, "#rank").to_be_hidden()
    assert opinions(gpkg) == before
    expected(page, "#closing-stored").to_have_text("All that was decided is stored in anomalies.gpkg.")
    counts = page.locator("#closing-counts div").all_inner_texts()
    assert [text.split() for text in counts] == [
        ["accepted", "5"],
        ["rejected", "1"],
        ["ship", "1"],
        ["roof", "1"],
    ]
    press(page, "u")  # but undo goes back to it
    eventually(lambda: opinions(gpkg)[5][0], "unreviewed")
    expected(page, "#rank").to_have_text("Rank 6")
    expected(page, "#actions").to_be_visible()


def test_on_goes_to_what_is_unreviewed_and_through_what_is_not_one_by_one(enter: Open, gpkg: Path) -> None:
    change(gpkg, "UPDATE anomalies SET review_status = 'rejected' WHERE fid IN (2, 3, 6)")
    page = enter(gpkg)
    press(page, "a")
    expected(page, "#rank").to_have_text("Rank 4")  # over those that are reviewed
    press(page, "k k r")  # who looks at what is decided goes through it
    expected(page, "#rank").to_have_text("Rank 3")
    press(page, "j a a")
    expected(page, "#closing-title").to_have_text("All 6 regions are reviewed")
    page.click("#look-again")
    expected(page, "#rank").to_have_text("Rank 1")


def test_an_end_of_the_list_is_not_an_end_of_the_review(enter: Open, gpkg: Path) -> None:
    page = enter(gpkg)
    page.fill("#by-score", "8.65")  # ranks 1 to 4
    page.locator("#list").focus()
    press(page, "a a a a")
    title = "Nothing unreviewed passes the filter; 2 of 6 are left outside"
    expected(page, "#closing-title").to_have_text(title)
    page.click("#show-all")
    expected(page, "#rank").to_have_text("Rank 5")


def test_an_empty_result_has_no_buttons_and_names_the_remedy(enter: Open, tmp_path: Path) -> None:
    page = enter(result(tmp_path / "out", number=0))
    expected(page, "#closing-title").to_have_text("No regions to review")
    expected(page, "#closing-stored").to_contain_text("none from a heat of 3.50 on (far 10)")
    expected(page, "#closing-next code").to_contain_text("--top 20 --out")
    buttons = [
        b.get_attribute("id") for b in page.locator("#detail button, #side button").all() if b.is_visible()
    ]
    assert buttons == []
    press(page, "a r u j k 1 n f")


def test_a_link_without_token_is_told_by_the_server_too(gpkg: Path) -> None:
    with closing(store.Review(gpkg)) as opened:
        server = ready(opened, ("ship",))
        scope = {"type": "http", "path": "/session", "method": "POST"}
        host = f"127.0.0.1:{server.keys.port}".encode()
        headers = [(b"host", host), (b"origin", b"http://" + host), (b"content-length", b"0")]
        guard = server._server.config.app
        assert guard._fault(scope | {"headers": headers}) == (
            401, "this address has no token; open the whole link that satae review printed"
        )  # fmt: skip
        server._listener.close()
