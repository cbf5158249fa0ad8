"""What tests do on a page of `satae review` in a real browser."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

Page = Any
Open = Callable[..., Page]


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def eventually(found: Callable[[], Any], wanted: Any) -> None:
    """Wait for what takes a moment; the last look is the one that counts."""
    until = time.monotonic() + 10
    while found() != wanted and time.monotonic() < until:
        time.sleep(0.05)
    assert found() == wanted


def rank(page: Page) -> str:
    return page.inner_text("#rank")


def expected(page: Page, place: str) -> Any:
    """What is waited for at a place of the page."""
    return importlib.import_module("playwright.sync_api").expect(page.locator(place))


def said(page: Page, text: str) -> None:
    expected(page, "#said").to_contain_text(text)
