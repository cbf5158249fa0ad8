"""The words of a report are those of the glossary, and each is explained where the report is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from satae.report import words

GLOSSARY = Path(__file__).resolve().parents[2] / "docs" / "glossary.md"


def terms() -> set[str]:
    rows = re.findall(r"^\| (.+?) \|", GLOSSARY.read_text(encoding="utf-8"), re.M)
    return {term.strip(" `-") for row in rows for term in row.split(",")}


@pytest.mark.parametrize("word", words.WORDS)
def test_each_word_is_in_the_glossary_too(word: str) -> None:
    assert word.partition(" (")[0] in terms()


@pytest.mark.parametrize("option", ["far", "fdr"])
def test_a_word_names_the_option_that_asks_for_it(option: str) -> None:
    (word,) = [w for w in words.WORDS if w.endswith(f"({option})")]
    assert word.partition(" (")[0] in terms() and option in terms()
