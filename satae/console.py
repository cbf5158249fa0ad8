"""What a command says while it works: a bar on a terminal, plain lines otherwise, all on stderr."""

from __future__ import annotations

import logging
import os
import sys
import time
from types import TracebackType

EVERY = 10.0  # seconds between plain lines


class Bar:
    """Progress towards a total, with rate and time left.

    `unit` names what is counted; `note` is shown behind the numbers. On a terminal one line is rewritten,
    elsewhere a line is printed every ten seconds and at the end; `quiet` prints nothing.
    """

    def __init__(self, title: str, total: float, unit: str, *, quiet: bool = False) -> None:
        self.title, self.total, self.unit, self.quiet = title, total, unit, quiet
        self.done, self.note = 0.0, ""
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.started = self.printed = time.monotonic()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if self.quiet:
            return
        if kind is None:
            self._print()
        if self.live:
            sys.stderr.write("\n")

    def add(self, amount: float) -> None:
        """So much more is done."""
        self.update(self.done + amount)

    def update(self, done: float, note: str | None = None) -> None:
        """So much is done; `note` stays until it is replaced."""
        self.done = done
        self.note = self.note if note is None else note
        if not self.quiet and time.monotonic() - self.printed >= (0.1 if self.live else EVERY):
            self._print()

    def _print(self) -> None:
        now = time.monotonic()
        self.printed = now
        line = self._line(now - self.started)
        sys.stderr.write(f"\r\x1b[2K{line}" if self.live else f"{line}\n")
        sys.stderr.flush()

    def _line(self, elapsed: float) -> str:
        rate = self.done / elapsed if elapsed > 0 else 0.0
        share = min(1.0, self.done / self.total) if self.total else 1.0
        left = (self.total - self.done) / rate if rate > 0 else 0.0
        width = 20
        drawn = "#" * round(share * width)
        times = f"{clock(elapsed)} elapsed" if share >= 1 else f"{clock(left)} left"
        return (
            f"{self.title} [{drawn:.<{width}}] {100 * share:3.0f} %  {_short(rate)} {self.unit}/s  {times}"
            f"{'  ' + self.note if self.note else ''}"
        )


class Steps:
    """What a command says its progress by; it says nothing where it is `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def bar(self, title: str, total: float, unit: str) -> Bar:
        """The bar of a part of the work."""
        return Bar(title, total, unit, quiet=self.quiet)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _short(value: float) -> str:
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f} {letter}"
    return f"{value:.1f} "


class _Lines(logging.Formatter):
    """`warning: text`, with control characters of foreign text made visible."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(f"{record.levelname.lower()}: {record.getMessage()}").replace("\n", "\\n")


def printable(text: str) -> str:
    """`text` without the control characters that a file name or tag could smuggle into a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def set_up(verbosity: int) -> None:
    """Send satae's log to stderr: warnings, with -v information too, with -q errors only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger("satae")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel({-1: logging.ERROR, 0: logging.WARNING}.get(max(-1, verbosity), logging.INFO))


def counted(number: int, thing: str) -> str:
    """A number with its noun, such as '2 anomalies'."""
    many = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:,} {thing if number == 1 else many}"
