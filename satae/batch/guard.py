"""What keeps a process that was started for work from outliving the one that started it.

Three steps, each for where the one before does not come through. A thread looks whether the parent is there, and sends
SIGTERM: the scene is dropped and its folder removed. After GRACE seconds it ends the process, as where a library does
not come back from what it computes. Where that library holds the interpreter no thread gets to run: on Linux the kernel
arms a timer when the parent dies, and ends the process ten seconds later, whatever it is doing.
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
        arm(signal.SIGUSR1)
    # it went before the kernel was asked
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), name="satae watchdog", daemon=True).start()


def arm(number: int) -> None:
    """Let the kernel end this process as many seconds after its parent as the signal `number` has for a number.

    The kernel's signal is handled by `alarm` of the C library itself, which is told that number: seconds until SIGALRM,
    by whose default a process ends. No Python is in this, for that may wait for ever. SIGUSR1 is 10.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
        library.signal.restype = ctypes.c_void_p
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number, signal.SIGALRM})
        library.signal(number, ctypes.cast(library.alarm, ctypes.c_void_p))
        # of the thread that started it: pools do that in their main thread
        library.prctl(PR_SET_PDEATHSIG, number)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    # which has no such signal, and where a parent's number does not change
    if sys.platform != "win32":
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    places.drop()
    os._exit(1)
