"""What is said while a command works: no control characters, plain lines off a terminal, nothing when quiet."""

from __future__ import annotations

import logging

import pytest

from satae.console import Bar, clock, printable, set_up


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Häfen, 10 m²", "Häfen, 10 m²"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b\u202e\ud800", r"\x9b\x202e\xd800"),
        ("a\rb\tc", r"a\x0db\x09c"),
    ],
)
def test_only_printable_characters_are_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3725, "1:02:05")])
def test_times_are_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(("verbosity", "levels"), [(-1, {"error"}), (0, {"error", "warning"}),
                                                   (1, {"error", "warning", "info"})])  # fmt: skip
def test_the_log_goes_to_stderr_one_line_a_message(capsys, verbosity: int, levels: set[str]) -> None:
    log = logging.getLogger("satae")
    before = log.handlers, log.propagate, log.level
    try:
        set_up(verbosity)
        for name in ("info", "warning", "error"):
            getattr(logging.getLogger("satae.test"), name)("file %s", "a\nerror: b\x1b")
    finally:
        log.handlers, log.propagate = before[:2]
        log.setLevel(before[2])
    out, err = capsys.readouterr()
    assert out == "" and set(err.splitlines()) == {rf"{name}: file a\nerror: b\x1b" for name in levels}


def test_a_bar_off_a_terminal_is_one_plain_line_at_the_end(capsys) -> None:
    with Bar("tile x", 200, "px") as bar:
        bar.add(50)
        bar.add(150)
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "\x1b" not in err and "\r" not in err
    assert err.startswith("tile x [####################] 100 %")


def test_a_bar_on_a_terminal_rewrites_its_line(capsys, monkeypatch) -> None:
    bar = Bar("tile x", 200, "px")
    bar.live, bar.printed = True, 0
    with bar:
        bar.update(50, "loss 1")
    err = capsys.readouterr().err
    assert (
        err.startswith("\r\x1b[2Ktile x [#####...............]  25 %")
        and "loss 1" in err
        and err.endswith("\n")
    )


def test_a_quiet_bar_says_nothing(capsys) -> None:
    with Bar("tile x", 0, "px", quiet=True) as bar:
        bar.add(1)
    assert capsys.readouterr() == ("", "")


def test_a_bar_ends_without_a_claim_where_the_work_failed(capsys) -> None:
    with pytest.raises(ValueError), Bar("tile x", 200, "px") as bar:
        bar.add(1)
        raise ValueError
    assert "100 %" not in capsys.readouterr().err
