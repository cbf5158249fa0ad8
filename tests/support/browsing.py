"""What tests do on a page of `satae review` in a real browser."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from satae.review.guard import HOST
from satae.review.server import Server, ready
from satae.review.store import Review

Page = Any
Open = Callable[..., Page]


@contextmanager
def serving(
    path: Path,
    reviewer: str = "",
    labels: tuple[str, ...] = ("ship", "roof", "cloud"),
    link: str = "",
    host: str = HOST,
    port: int | None = 0,
) -> Iterator[Server]:
    """The review of a result, served by a thread of its own."""
    opened = Review(path, reviewer)
    server = ready(opened, labels, port, link, host)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
        opened.close()


PATIENCE = 30.0  # seconds; a machine at work is slow now and then, and only what fails waits as long


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def eventually(found: Callable[[], Any], wanted: Any) -> None:
    """Wait for what takes a moment; the last look is the one that counts."""
    until = time.monotonic() + PATIENCE
    while (last := found()) != wanted and time.monotonic() < until:
        time.sleep(0.05)
    assert last == wanted, f"{last}, and not {wanted}"


def expected(page: Page, place: str) -> Any:
    """What is waited for at a place of the page."""
    expect = importlib.import_module("playwright.sync_api").expect
    expect.set_options(timeout=1000 * PATIENCE)
    return expect(page.locator(place))


def said(page: Page, text: str) -> None:
    expected(page, "#said").to_contain_text(text)
