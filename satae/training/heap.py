"""Memory that was freed and is not given back: what C libraries keep for another time."""

from __future__ import annotations

import contextlib
import ctypes


def trim() -> None:
    """Give freed memory back to the system, where the C library is glibc.

    It keeps blocks under 32 MB that lie between others, which after training is as much as all that is in use.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
