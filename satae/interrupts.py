"""What Ctrl-C, a termination request and a closed terminal do: they end the run at once, and nothing is half done.

Where nothing needs tidying up the process ends on the spot, for an exception may be lost in an import or become
another one. Else KeyboardInterrupt goes its way. A signal that comes while a module is imported, or whose exception is
swallowed, is heeded at the next `check`; one that comes while outputs are put in place, after they are.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
BASE = 128  # to which the number of the signal is added, as shells have it: 130 after Ctrl-C
SAID = "interrupted; nothing was replaced"
PLACED = "interrupted; what was finished is in place"
AGAIN = 2.0  # seconds in which a second signal is the first one again, such as that of a shell and of its terminal


class _State:
    """What was asked for, and what must not be left as it is: one a process, as its signals are."""

    def __init__(self) -> None:
        self.asked: float | None = None  # when it was last asked to end
        self.number = int(signal.SIGINT)  # by which signal at first
        self.untidy = 0  # blocks that would leave something behind
        self.closed = 0  # blocks that nothing may interrupt
        self.placed = False  # an output is in its place, and the next `check` has not been reached


_state = _State()


def listen() -> None:
    """Heed SIGINT, SIGTERM and SIGHUP, where they were not switched off for this process as `nohup` and shells do."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)


def dismiss() -> None:
    """Heed no signal any more: the command is over, and how it ended is settled."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def is_pending() -> bool:
    """Whether this process was asked to end."""
    return _state.asked is not None


def exit_code() -> int:
    """What a process ends with that was asked to end: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return BASE + _state.number


def check() -> None:
    """Raise KeyboardInterrupt where one was asked for and did not arrive; to be called where work may end."""
    _state.placed = False
    if is_pending() and not _state.closed:
        raise KeyboardInterrupt


def note_place() -> None:
    """An output took its place: what else belongs to it follows before a signal is heeded again."""
    _state.placed = True


def check_at_first() -> None:
    """`check`, but not where a part of the outputs is in its place already."""
    if not _state.placed:
        check()


@contextmanager
def tidying() -> Iterator[None]:
    """A block that removes at its end what it leaves on the way, which an exception must reach."""
    _state.untidy += 1
    try:
        yield
    finally:
        _state.untidy -= 1


@contextmanager
def shield() -> Iterator[None]:
    """A short block that nothing interrupts; a signal is raised at the next `check`."""
    _state.closed += 1
    try:
        yield
    finally:
        _state.closed -= 1


def _hear(number: int, frame: FrameType | None) -> None:
    """Handle a signal; see the module."""
    now, before = time.monotonic(), _state.asked
    again = before is not None and now - before < AGAIN
    _state.asked = now
    if before is None:
        _state.number = number
    if _state.closed or (_state.placed and before is None):
        return
    if not _state.untidy:
        # no exception, which an import or a callback from C might swallow or turn into another one
        # where Python's stderr is, for 2 is kept from libraries (`console.keep_stderr`)
        with suppress(OSError, ValueError, AttributeError):  # where there is no stderr, or no longer
            os.write(sys.stderr.fileno(), f"{PLACED if _state.placed else SAID}\n".encode())
        os._exit(exit_code())
    # while it tidies up after the first, or in the middle of an import, which would fail for another reason then
    if again or _imports(frame):
        return
    raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported in this frame or above."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
