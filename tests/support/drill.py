"""What processes of a pool do in tests that are about processes: as little as can be, for each loads this anew."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# as it was when this module was loaded
SHOWN = os.environ.get("CUDA_VISIBLE_DEVICES")


def shown(task: str) -> Any:
    """Which devices this process is shown; of the task 'kill' it dies at the first attempt."""
    if task.startswith("kill") and not Path(task[5:]).exists():
        Path(task[5:]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return SHOWN


@dataclass(frozen=True)
class Drill:
    """A task that is to 'kill' its process, or 'once', to be a 'bug', 'bad' input or a 'full' disk, or 'fine'.

    Two that 'meet ...' end when both are at work.
    """

    what: str
    count: str  # a file with a letter for each attempt

    @property
    def id(self) -> str:
        return self.what

    @property
    def target(self) -> str:
        return self.count


def attempted(task: Drill) -> int:
    """The number of this process, unless something else is to happen."""
    what = task.what
    with Path(task.count).open("a") as file:
        file.write("x")
    if what == "kill" or (what == "once" and len(Path(task.count).read_text()) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if what.startswith("meet"):
        end = time.monotonic() + 60
        while len(list(Path(task.count).parent.glob("meet*"))) < 2:
            if time.monotonic() > end:
                raise TimeoutError(what)
            time.sleep(0.05)
    if what == "bug":
        raise ValueError("a bug")
    if what in ("bad", "full"):
        from satae.errors import OutputError, SceneError

        raise SceneError("no image") if what == "bad" else OutputError("No space left on device")
    return os.getpid()


def stuck(task: str) -> Any:
    """Do not come back from C, as a library that waits for itself; a task `held ...` holds the interpreter too."""
    import ctypes

    from satae.batch import guard, places

    guard.GRACE = 0.5
    name = task.removeprefix("held ")
    if name != task:
        # a second in the place of ten, where no thread gets to tidy up before
        guard.arm(signal.SIGHUP)
    # a part that must be gone at the end
    with places.part(Path(name).parent, "stuck"):
        Path(name).write_text(str(os.getpid()))
        library = ctypes.PyDLL(None) if name != task else ctypes.CDLL(None)
        mutex = ctypes.create_string_buffer(256)
        # the second time it waits for ever, and no signal wakes it
        for _ in range(2):
            library.pthread_mutex_lock(mutex)
