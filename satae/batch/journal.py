"""The journal of a run: a line of JSON for everything that was tried, appended in one write.

A kill leaves at most one torn line, the last. Whoever writes next ends it, and readers pass over it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from satae.batch.shard import Shard
from satae.errors import OutputError

NAME = "journal"
DONE, FAILED, AGAIN, DROPPED = "done", "failed", "again", "dropped"
BLOCK = "block"  # of a scene that is split is done
REFUSED = 2  # exit code of input that no other try would make better


class Journal:
    """An open journal; each shard has its own, for appending is not safe across machines."""

    def __init__(self, out: Path, shard: Shard) -> None:
        self.path = out / f"{NAME}{shard.mark}.jsonl"
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            if _is_torn(self.path):
                os.write(self._file, b"\n")  # what was torn is a line of its own
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error

    def add(self, state: str, **said: Any) -> None:
        """Append a line; OutputError where the disk does not take it."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        # in one write, so that no other process of this machine writes between
        line = json.dumps({"time": stamp, "state": state, **said}, ensure_ascii=False)
        try:
            os.write(self._file, f"{line}\n".encode())
        except OSError as error:
            raise OutputError(f"{self.path} could not be written: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def _is_torn(path: Path) -> bool:
    """Whether the last line has no end."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def lines(out: Path) -> Iterator[dict[str, Any]]:
    """All lines of all journals of a run that are whole, those of each in their order."""
    for path in sorted(out.glob(f"{NAME}*.jsonl")):
        with path.open("rb") as file:
            for text in file:
                with suppress(ValueError):
                    if isinstance(said := json.loads(text), dict):
                        yield said


def failures(out: Path) -> dict[str, dict[str, Any]]:
    """The last line of each scene that failed and was not scored since, by key."""
    found: dict[str, dict[str, Any]] = {}
    for said in lines(out):
        key = str(said.get("key"))
        if said.get("state") == FAILED:
            found[key] = said
        elif said.get("state") == DONE:
            found.pop(key, None)
    return found
