"""Options under headings: all of them, each once, and no heading for what there is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import typer
from commands import typed

from satae.cli import app
from satae.cli.grouping import HEADINGS, REST, groups


def leaves(command: Any, *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield above, command
    for name, child in (below or {}).items():
        yield from leaves(child, *above, name)


LEAVES = dict(leaves(typer.main.get_command(app.app)))


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_help_has_every_option_once_under_a_heading(words: tuple[str, ...]) -> None:
    text = typed(*words, "-h").stdout.partition("Examples:")[2]
    options = [p for p in LEAVES[words].params if p.param_type_name == "option"]
    for option in options:
        assert len(re.findall(rf"^  {max(option.opts, key=len)}\b(?!-)", text, re.M)) == 1, option.opts
    headings = [h for h in re.findall(r"^([A-Z]\w+):$", text, re.M) if h not in ("Arguments",)]
    wanted = [h for h in (*HEADINGS, REST) if h in headings]
    assert headings == wanted and text == typed(*words, "--help").stdout.partition("Examples:")[2]


def test_headings_are_of_options_that_there_are_and_each_has_one_heading() -> None:
    there = {name.lstrip("-") for command in LEAVES.values() for p in command.params for name in p.opts}
    named = [name for names in HEADINGS.values() for name in names]
    assert set(named) <= there and len(named) == len(set(named))


def test_what_is_reported_stands_together_in_score_and_run() -> None:
    for name in ("score", "run"):
        found = {p.opts[0] for p in groups(LEAVES[(name,)].params)["Detection"]}
        assert {"--far", "--fdr", "--top", "--threshold", "--min-area"} <= found


@pytest.mark.parametrize("words", [(), ("bench",), ("info",), ("score",)], ids=" ".join)
def test_headings_are_bold_on_a_terminal_alone(words: tuple[str, ...]) -> None:
    def shown(**given: str) -> str:
        """What the help page prints to a terminal."""
        script = [sys.executable, "-m", "satae", *words, "--help"]
        ours, theirs = os.openpty()
        env = (
            {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
            | {"TERM": "xterm"}
            | given
        )
        done = subprocess.Popen(script, stdout=theirs, stderr=subprocess.DEVNULL, env=env)
        os.close(theirs)
        said = b""
        with suppress(OSError):  # EIO: the other side is closed
            while part := os.read(ours, 65536):
                said += part
        os.close(ours)
        assert done.wait() == 0
        return said.decode().replace("\r\n", "\n")

    pytest.importorskip("pty")  # no terminals of this kind on Windows
    bold = re.findall(r"^\x1b\[1m(\w+)\x1b\[0m:$", shown(), re.M)
    plain = shown(NO_COLOR="1")
    assert bold and bold == re.findall(r"^([A-Z]\w+):$", plain, re.M)
    assert "\x1b" not in plain and "\x1b" not in typed(*words, "--help").stdout


def test_the_first_page_of_help_leads_to_the_glossary() -> None:
    assert "docs/glossary.md" in typed("-h").stdout
