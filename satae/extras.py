"""What goes with a result and is not the result: pictures, a report, styles. A fault in one is told of, and is no end.

What was scored for hours is kept whatever becomes of its decoration; the command then ends with a code of its own.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType

from satae.errors import OutputError

log = logging.getLogger(__name__)
_faults: ContextVar[list[str] | None] = ContextVar("faults", default=None)


@contextmanager
def faults() -> Iterator[list[str]]:
    """The faults of extras inside the block, a sentence each, filled in as they come."""
    found: list[str] = []
    token = _faults.set(found)
    try:
        yield found
    finally:
        _faults.reset(token)


class Extra:
    """A block that may fail without the result: its fault is a warning of one line that names `what`.

    Of a block that is entered again and again the first fault is told; `failed` says whether there was one. An output
    that cannot be written (OSError, OutputError) is let through: a full disk is no fault of the decoration.
    """

    def __init__(self, what: str) -> None:
        self.what, self.failed = what, False

    def __enter__(self) -> Extra:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # nor is an interrupt a fault of what it interrupts
        if not isinstance(error, Exception) or isinstance(error, OSError | OutputError):
            return False
        if not self.failed:
            fault = f"{self.what} could not be made: {_reason(error)}; what was scored is kept"
            found = _faults.get()
            # layers are written once more where somebody reviewed meanwhile, and what goes with them too
            if found is None or fault not in found:
                log.warning("%s", fault)
            if found is not None and fault not in found:
                found.append(fault)
        self.failed = True
        return True


def _reason(error: Exception) -> str:
    """An error in one line, with the place where it came up, for whoever is to mend it."""
    told = " ".join(str(error).split())[:200]
    places = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    # the last line of ours, not one of a library; no folders, for a line that is passed on names no user
    own = [place for place in places if Path(__file__).parent in place[0].parents]
    path, line = (own or places)[-1]
    where = f"{path.name}:{line}"
    return f"{told} ({type(error).__name__} at {where})" if told else f"{type(error).__name__} at {where}"
