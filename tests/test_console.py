"""What is said while a command works: no control characters, plain lines off a terminal, nothing when quiet."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from time import monotonic, sleep

import pytest

from satae.console import SILENT, Steps, clock, printable, set_up


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


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds


def steps(time: Time, **how: object) -> Steps:
    """Steps that look at the time only when the work says something."""
    return Steps(now=time, beat=0, **how)  # type: ignore[arg-type]


def terminal(time: Time) -> Steps:
    """Steps on a terminal."""
    shown = steps(time)
    shown.live = True
    return shown


def test_a_stage_off_a_terminal_is_one_plain_line_at_the_end(capsys) -> None:
    time = Time()
    with steps(time).stage("tile x", 200, "px", brief=0) as bar:
        bar.add(50)
        bar.add(150)
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "\x1b" not in err and "\r" not in err
    assert err.startswith("tile x [####################] 100 %")


def test_a_stage_on_a_terminal_rewrites_its_line(capsys) -> None:
    time = Time()
    with terminal(time).stage("tile x", 200, "px", brief=0) as bar:
        time.pass_(1)
        bar.update(50, "loss 1")
    err = capsys.readouterr().err
    assert "\r\x1b[2Ktile x [#####...............]  25 %" in err and "loss 1" in err and err.endswith("\n")


def test_a_quiet_stage_says_nothing(capsys) -> None:
    time = Time()
    with steps(time, quiet=True).stage("tile x", brief=0) as bar:
        time.pass_(100)
        bar.add(1)
    with SILENT.under("other").stage("export", brief=0):
        pass
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("place", [steps, terminal])
def test_a_stage_ends_without_a_claim_where_the_work_failed(capsys, place) -> None:
    time = Time()
    with pytest.raises(ValueError), place(time).stage("tile x", 200, "px", brief=0) as bar:
        time.pass_(30)
        bar.add(1)
        raise ValueError
    assert "100 %" not in capsys.readouterr().err


def test_a_stage_leaves_a_line_only_where_it_took_two_seconds(capsys) -> None:
    time = Time()
    every = steps(time)
    for name, seconds in (("export", 1.9), ("calibrate", 2.0)):
        with every.stage(name):
            time.pass_(seconds)
    assert capsys.readouterr().err == "calibrate  0:02 elapsed\n"


def test_a_brief_stage_on_a_terminal_is_shown_and_taken_back(capsys) -> None:
    time = Time()
    with terminal(time).stage("export"):
        time.pass_(1)
    assert capsys.readouterr().err == "\r\x1b[2Kexport  0:00 elapsed\r\x1b[2K"


def test_plain_lines_are_at_least_ten_seconds_apart(capsys) -> None:
    time = Time()
    with steps(time).stage("train", 100, "step") as bar:
        for _ in range(100):
            time.pass_(0.5)
            bar.add(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6, "at 2, 12, 22, 32 and 42 seconds, and the end"
    assert " 100 %" in lines[-1] and lines[-1].endswith("0:50 elapsed")


def test_no_time_left_is_told_before_two_seconds_and_a_thousandth_of_the_work() -> None:
    time = Time()
    with steps(time).stage("train", 10_000, "step") as bar:
        time.pass_(1.9)
        bar.update(500)
        assert bar.left() is None and "left" not in str(bar)
    with steps(time).stage("train", 10_000, "step") as bar:
        time.pass_(60)
        bar.update(9)
        assert bar.left() is None and "1:00 elapsed" in str(bar)
        bar.update(10)
        assert bar.left() is not None


def test_the_time_left_follows_from_the_pace_of_late() -> None:
    """A first step that takes a minute says nothing of the thousand that take a tenth of a second."""
    time = Time()
    with steps(time).stage("train", 1000, "step") as bar:
        time.pass_(60)
        bar.update(1)
        for done in range(2, 502):
            time.pass_(0.1)
            bar.update(done)
        assert bar.left() == pytest.approx(49.9, rel=0.02) and "0:50 left" in str(bar)


def test_work_that_stands_still_has_more_and_more_time_left() -> None:
    time = Time()
    with steps(time).stage("score", 100, "px") as bar:
        time.pass_(10)
        bar.update(50)
        before = bar.left()
        time.pass_(100)
        assert before is not None and (after := bar.left()) is not None and after > 5 * before


def test_a_title_cannot_smuggle_control_characters_into_the_terminal(capsys) -> None:
    with steps(Time()).stage("tile \x1b[2Jscene", brief=0):
        pass
    assert capsys.readouterr().err == "tile \\x1b[2Jscene  0:00 elapsed\n"


def test_parts_of_something_else_are_named_after_it(capsys) -> None:
    time = Time()
    with steps(time).under("baseline rx").stage("export"):
        time.pass_(5)
    assert capsys.readouterr().err.startswith("baseline rx: export  0:05")


def test_work_that_says_nothing_is_told_of_all_the_same(capsys) -> None:
    """By a thread that looks at the clock; here one by which a second is an hour."""
    with Steps(now=lambda: 3600 * monotonic(), beat=0.01).stage("export"):
        sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 3 and all(re.fullmatch(r"export  [0-9:]+ elapsed", line) for line in lines)


def test_a_rate_is_told_when_the_time_left_is_and_at_the_end() -> None:
    time = Time()
    with steps(time).stage("score scene", 10_000, "px") as bar:
        assert str(bar).endswith("   0 %  0:00 elapsed")
        time.pass_(1)
        bar.update(5_000)
        assert "/s" not in str(bar)
        time.pass_(1)
        assert "  2.5 kpx/s  0:02 left" in str(bar)
        bar.update(10_000)
        assert str(bar).endswith(" 100 %  5.0 kpx/s  0:02 elapsed")


def test_a_rate_that_would_read_as_none_is_not_told() -> None:
    time = Time()
    with steps(time).stage("compare", 4, "scene") as bar:
        time.pass_(30)
        bar.update(1)
        assert str(bar) == "compare [#####...............]  25 %  1:30 left"


SPEAKS = """
import logging, os, sys, warnings
from satae.console import keep_stderr
keep_stderr(libraries={libraries})
os.write(2, b"libtiff\\n")
warnings.warn("pyogrio")
logging.getLogger("foreign").warning("rasterio")
print("satae \\u2014", file=sys.stderr)
"""


@pytest.mark.parametrize(("libraries", "heard"), [(False, set()), (True, {"libtiff", "pyogrio"})])
def test_what_libraries_print_is_seen_on_request_alone(libraries: bool, heard: set[str]) -> None:
    program = SPEAKS.format(libraries=libraries)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8").stderr
    assert "satae" in said and {w for w in ("libtiff", "pyogrio", "rasterio") if w in said} == heard
