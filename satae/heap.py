"""Memory that was freed and is not given back: what C libraries keep for another time."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def trim() -> None:
    """Let go of what is only held in circles, and give freed memory back to the system where the C library is glibc.

    That keeps blocks under 32 MB that lie between others, which after training is as much as all that is in use.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
