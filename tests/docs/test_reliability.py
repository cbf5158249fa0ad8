"""The page on reliability names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:\w+/)?test_\w+\.py)(?:::(\w+))?`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 30
    missing = [f"{file}::{test}" for file, test in named if not _holds(TESTS / file, test)]
    assert missing == []


def _holds(file: Path, test: str) -> bool:
    return file.is_file() and f"def {test}" in file.read_text(encoding="utf-8")
