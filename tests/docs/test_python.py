"""The sessions of docs/python.md are typed here, on a small scene, and print what the page shows."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from sessions import like

from satae.demo import run as demo
from satae.demo import synthetic

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
BLOCK = re.compile(r"^```pycon\n(.*?)^```$", re.M | re.S)


class Checker(doctest.OutputChecker):
    """Any number stands for any other."""

    def check_output(self, want: str, got: str, flags: int) -> bool:
        pattern = "\n".join(like(re.sub(r" +", " ", line)) for line in want.splitlines())
        return want == got or re.fullmatch(pattern + "\n?", re.sub(r" +", " ", got)) is not None


def failures(text: str) -> int:
    """How many lines of a page's sessions print something else."""
    test = doctest.DocTestParser().get_doctest("\n".join(BLOCK.findall(text)), {}, "page", None, 0)
    return doctest.DocTestRunner(Checker(), verbose=False).run(test).failed


def test_the_sessions_of_the_page_print_what_it_shows(here: Path) -> None:
    demo.write(synthetic.scene(height=192, width=224, seed=2), here / "scene.tif")
    assert failures(PAGE.read_text(encoding="utf-8")) == 0


@pytest.mark.parametrize(("wanted", "failed"), [("[2, 'a']", 0), ("[2, 'b']", 1), ("2", 1)])
def test_another_output_is_noticed(wanted: str, failed: int) -> None:
    assert failures(f"```pycon\n>>> [1, 'a']\n{wanted}\n\n```\n") == failed
