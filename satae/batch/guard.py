"""What keeps a process that was started for work from outliving the one that started it.

On Linux the kernel sends SIGTERM when the parent dies; everywhere a thread looks for it. Both lead to the same end: the
scene is dropped, its folder is removed, and within ten seconds the process is gone whatever it was doing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

from satae.batch import places

# seconds to tidy up in
GRACE = 8.0
# seconds between two looks
LOOK = 0.5
PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """End this process soon after its parent; to be called first of all in its main thread."""
    if sys.platform == "linux":
        # of the thread that started it: pools do that in their main thread
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # it went before the kernel was asked
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), name="satae watchdog", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    # which has no such signal, and where a parent's number does not change
    if sys.platform != "win32":
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    # a library that does not come back from what it computes
    places.drop()
    os._exit(1)
