"""A page of `satae review` in a real browser, whose faults and requests to elsewhere fail the test.

Skipped where there is no playwright or no Chromium.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browsing import Open, Page, serving

CHROMIUM = os.environ.get("SATAE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run"
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium: install the package chromium, or name it in SATAE_CHROMIUM")
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield made
        made.close()


@pytest.fixture
def enter(browser: Any) -> Iterator[Open]:
    """Open the page of a result; a fault in it or a request to elsewhere fails the test."""
    context = browser.new_context(viewport={"width": 1366, "height": 768}, reduced_motion="reduce")
    context.set_default_timeout(15_000)
    faults: list[str] = []
    links: list[str] = []
    servers = ExitStack()

    def look(page: Page) -> None:
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console", lambda m: m.type == "error" and "status of" not in m.text and faults.append(m.text)
        )
        page.on("request", lambda r: r.url.startswith(tuple(links)) or faults.append(f"request to {r.url}"))

    def start(path: Path | None, size: tuple[int, int] = (1366, 768)) -> Page:
        if path is not None:
            server = servers.enter_context(serving(path))
            links.append(f"http://127.0.0.1:{server.keys.port}/")
            start.link = server.keys.link  # type: ignore[attr-defined]
        page = context.new_page()
        page.set_viewport_size({"width": size[0], "height": size[1]})
        look(page)
        page.goto(start.link)  # type: ignore[attr-defined]
        page.wait_for_selector("html[data-ready]")
        return page

    start.faults = faults  # type: ignore[attr-defined]
    with servers:
        yield start
        context.close()
    assert faults == []
