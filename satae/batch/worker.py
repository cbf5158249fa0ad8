"""A process that was spawned for work: takes a task, says how it went, takes the next; dies with who started it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from satae import interrupts
from satae.batch import guard, places
from satae.console import keep_stderr
from satae.errors import SataeError

try:
    import resource
# Windows
except ImportError:
    resource = None  # type: ignore[assignment]

# exit code of what is none of the user's doing
BUG = 1
# warnings of a task that are kept
MOST = 20


class MeansError(SataeError):
    """What every task needs cannot be used, such as the model: no other task would do better."""


@dataclass(frozen=True)
class Outcome:
    """How a task went: the exit code that the command would have, and why; what it took, `peak` in bytes.

    `value` is what the function gave, `notes` are warnings. `fatal` says that no other task would do better,
    `worker` who it was on a cluster.
    """

    code: int
    reason: str = ""
    value: Any = None
    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    host: str = ""
    process: int = 0
    notes: tuple[str, ...] = ()
    fatal: bool = False
    worker: str = ""


def serve(function: str, line: Connection, parent: int) -> None:
    """Work until the line ends: `function` is `module:name`, which is given each task that comes."""
    # first of all: from here on it cannot be left alone
    guard.die_with(parent)
    interrupts.listen()
    keep_stderr(libraries=False)
    # processes share a terminal, and lines of several would mix: warnings go to the journal
    notes = _Notes()
    logging.getLogger("satae").addHandler(notes)
    # Ctrl-C is sent to all processes of a terminal; which of them come to their ends is told by the first one
    with interrupts.tidying(), contextlib.suppress(KeyboardInterrupt, EOFError, BrokenPipeError, OSError):
        while (task := line.recv()) is not None:
            line.send(attempt(function_of(function), task, notes))
            _keep()
    # without the ends of libraries, which may wait for threads that compute
    os._exit(interrupts.exit_code())


def _keep() -> None:
    """Leave what is alive now out of all later looks for circles."""
    # between tasks that is libraries and the model, at which each look took as long as a small scene
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def function_of(name: str) -> Callable[[Any], Any]:
    """The function that `module:name` means: who only hands out tasks does not load what does them."""
    module, _, attribute = name.partition(":")
    found: Callable[[Any], Any] = getattr(importlib.import_module(module), attribute)
    return found


def attempt(
    function: Callable[[Any], Any], task: Any, notes: _Notes | None = None, worker: str = ""
) -> Outcome:
    """What comes of a task; no failure but an interrupt leaves this."""
    started, cpu = time.monotonic(), time.process_time()
    _forget_peak()
    code, reason, value, fatal = 0, "", None, False
    try:
        value = function(task)
    except MeansError as error:
        # must stand before its base class
        code, reason, fatal = error.exit_code, _line(str(error)), True
    except SataeError as error:
        code, reason = error.exit_code, _line(str(error))
    except MemoryError:
        # another process may have more: it is tried again, with others at rest
        code, reason = BUG, "memory was used up"
    except Exception as error:
        code, reason = BUG, _line(f"{type(error).__name__}: {error} ({_place(error)})")
    return Outcome(
        code, reason, value, time.monotonic() - started, time.process_time() - cpu, _peak(), places.host(),
        os.getpid(), () if notes is None else notes.taken(), fatal, worker,
    )  # fmt: skip


class _Notes(logging.Handler):
    """Keeps warnings, to be told by who started this process."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.kept) < MOST:
            self.kept.append(_line(record.getMessage()))

    def taken(self) -> tuple[str, ...]:
        """What was kept since the last call."""
        found, self.kept = tuple(self.kept), []
        return found


def _line(text: str) -> str:
    return " ".join(text.split())


def _place(error: Exception) -> str:
    """Where an error came up, in a file of this package where one was passed."""
    # a line for the journal; who wants all of it runs the scene alone
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "satae" in Path(f.filename).parts] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def _forget_peak() -> None:
    """Let the peak of memory begin anew, where the kernel does that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Bytes that were held at most since then."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    # since the process began, where nothing better is known
    if resource is None:
        return 0
    scale = 1 if os.uname().sysname == "Darwin" else 1 << 10
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * scale
