"""What a command says while it works: a bar on a terminal, plain lines otherwise, all on stderr.

A tool is handed `Steps` and opens a stage for each part of its work; it prints nothing itself.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from satae import interrupts

EVERY = 10.0  # seconds between plain lines
LIVELY = 0.1  # seconds between two states of a line that is rewritten
BEAT = 0.5  # seconds after which a line is looked at again, whether or not the work says anything
BRIEF = 2.0  # seconds that need no line
SURE = 0.001  # share of the work from which on the time left can be told
RECENT = 15.0  # seconds whose progress tells the time left
SLOWEST = 0.05  # units a second that are worth a number
WIDTH = 20  # characters of a bar

Clock = Callable[[], float]


class Bar:
    """How far a stage is: `done` of `total`, counted in `unit`, with rate and time left; `note` stands behind them.

    Without a total there is only the time that it has taken. `changed` is called at every change.
    """

    def __init__(
        self, title: str, total: float, unit: str, now: Clock, changed: Callable[[Bar], None] | None = None
    ) -> None:
        self.title, self.total, self.unit, self.now, self.changed = title, total, unit, now, changed
        self.done, self.note = 0.0, ""
        self.started = now()
        self.trail = deque([(self.started, 0.0)])  # (time, done) over the last RECENT seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return self.now() - self.started

    def add(self, amount: float) -> None:
        """Say that so much more is done."""
        self.update(self.done + amount)

    def update(self, done: float, note: str | None = None) -> None:
        """Say how much is done; `note` stays until it is replaced. Here an interrupt that was put off arrives."""
        interrupts.check()
        self.done = done
        self.note = self.note if note is None else note
        moment = self.now()
        # a point now and then, not at every call: updates come by the thousand
        if moment - self.trail[-1][0] >= LIVELY:
            self.trail.append((moment, done))
        while len(self.trail) > 1 and moment - self.trail[1][0] >= RECENT:
            self.trail.popleft()
        if self.changed is not None:
            self.changed(self)

    def left(self) -> float | None:
        """Seconds until the end at the pace of the last ones; None while too little is done to tell."""
        # the pace of the last seconds, for a stage may begin slowly: compiling, first reads
        since, before = self.trail[0]
        passed, done = self.now() - since, self.done - before
        # an estimate from a thousandth of the work would say seven hours, and be believed
        if self.elapsed < BRIEF or self.done < SURE * self.total or done <= 0 or passed <= 0:
            return None
        return max(0.0, self.total - self.done) * passed / done

    def __str__(self) -> str:
        behind = f"  {self.note}" if self.note else ""
        if not self.total:
            return f"{self.title}  {clock(self.elapsed)} elapsed{behind}"
        share, left = min(1.0, self.done / self.total), self.left()
        drawn = "#" * round(share * WIDTH)
        rate = self.done / self.elapsed if self.elapsed > 0 else 0.0
        # a rate is told where the time left can be, and at the end; a very small one would be shown as 0.0
        tells = rate >= SLOWEST and (share >= 1 or left is not None)
        pace = f"  {_short(rate)}{self.unit}/s" if tells else ""
        times = f"{clock(self.elapsed)} elapsed" if share >= 1 or left is None else f"{clock(left)} left"
        return f"{self.title} [{drawn:.<{WIDTH}}] {100 * share:3.0f} %{pace}  {times}{behind}"


class Steps:
    """The stages of a command, one after the other, each with a line on stderr that says how far it is.

    On a terminal the line is rewritten, and taken back where the stage was brief. Elsewhere one is printed at most
    every ten seconds, and one at the end of a stage that was not brief. `quiet` says nothing. `now` is the clock;
    a `beat` of 0 looks at a line only when the work says something.
    """

    def __init__(
        self, *, quiet: bool = False, above: str = "", now: Clock = time.monotonic, beat: float = BEAT
    ) -> None:
        self.quiet, self.above, self.now, self.beat = quiet, above, now, beat
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.told = now() - EVERY  # when the line of a stage that goes on was last printed
        self.lock = threading.RLock()

    def under(self, title: str) -> Steps:
        """Steps of what is done as a part of something else, whose title goes before those of its stages."""
        return Steps(quiet=self.quiet, above=f"{self.above}{title}: ", now=self.now, beat=self.beat)

    @contextmanager
    def stage(self, title: str, total: float = 0.0, unit: str = "", *, brief: float = BRIEF) -> Iterator[Bar]:
        """The bar of a stage, which leaves a line where it takes `brief` seconds; 0 for one that always does."""
        interrupts.check()
        bar = Bar(self.above + title, total, unit, self.now, None if self.quiet else self._tell)
        if self.quiet:
            yield bar
            return
        if self.live:
            self._print(bar)
        with self._watched(bar):
            try:
                yield bar
            except BaseException:
                self._write("\n" if self.live else "")
                raise
        if bar.elapsed >= brief:
            self._print(bar)
            self._write("\n" if self.live else "")
        elif self.live:
            self._write("\r\x1b[2K")

    @contextmanager
    def _watched(self, bar: Bar) -> Iterator[None]:
        """Tell of the bar every `beat` too, from a thread of its own, until the stage is over."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(self.beat):
                self._tell(bar)

        watching = threading.Thread(target=watch, name="satae progress", daemon=True)
        if self.beat:
            watching.start()
        try:
            yield
        finally:
            over.set()
            if self.beat:
                watching.join()

    def _tell(self, bar: Bar) -> None:
        """Print the bar where it is time to."""
        with self.lock:
            silent = self.now() - self.told
            if silent >= (LIVELY if self.live else EVERY) and (self.live or bar.elapsed >= BRIEF):
                self.told = self.now()
                self._print(bar)

    def _print(self, bar: Bar) -> None:
        with self.lock:
            line = printable(str(bar))  # its title may be that of a file
            self._write(f"\r\x1b[2K{line}" if self.live else f"{line}\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


SILENT = Steps(quiet=True)


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
        text = printable(record.getMessage()).replace("\n", "\\n")
        return f"{tint(f'{record.levelname.lower()}:', 'yellow')} {text}"


COLOURS = {
    "bold": 1,
    "red": 31,
    "yellow": 33,
    "cyan": 36,
}  # of the terminal's own palette, so legible on any ground


def tint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text in one of COLOURS where `stream`, by default stderr, is a terminal that shows them; else as it is."""
    stream = stream or sys.stderr
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


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


def keep_stderr(*, libraries: bool) -> None:
    """Keep stderr to this program: what C libraries print there, and Python's warnings, are seen only on request.

    Else libtiff prints lines of its own on a full disk, and warnings begin with the path of a library.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # else Python prints what no handler takes
    if libraries or sys.warnoptions:
        return
    warnings.simplefilter("ignore")
    with suppress(OSError, ValueError):  # where it is closed there is nothing to keep
        sys.stderr.flush()
        own = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        encoding = sys.stderr.encoding
        sys.stderr = os.fdopen(own, "w", buffering=1, encoding=encoding, errors="backslashreplace")


@contextmanager
def stderr_for_children() -> Iterator[None]:
    """A process that is started meanwhile has the stderr of this program, not the one that libraries were left with."""
    try:
        own = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        own = 2
    if own == 2:
        yield
        return
    nowhere = os.dup(2)
    os.dup2(own, 2)
    try:
        yield
    finally:
        os.dup2(nowhere, 2)
        os.close(nowhere)


def round_up(number: float) -> float:
    """A positive number to plan with, never less than is needed: two digits, rounded up."""
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    # what has two digits already stays as it is; the text takes the rounding of the product away
    return float(f"{math.ceil(number / step - 1e-9) * step:.2g}")


def quantity(number: int, thing: str) -> str:
    """A number with its noun, such as '2 anomalies'."""
    many = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:,} {thing if number == 1 else many}"
