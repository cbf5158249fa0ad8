"""A reviewer in a process of its own, who decides as fast as it can and says what was acknowledged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Decides as fast as it can through the store of `satae review`, and says what it was told to be stored.
REVIEWER = """
import sys
from pathlib import Path
from satae.errors import SataeError
from satae.review.store import Opinion, Review

path, stop = map(Path, sys.argv[1:])
review, number = Review(path), 0
ranks = {row["fid"]: row["rank"] for row in review.regions}
print("ready", flush=True)
while not stop.exists():
    for fid, entry in review.changes(0)[1].items():
        number += 1
        try:
            review.decide(fid, Opinion("accepted", "ship", str(number)), seen=entry.revision)
            print(ranks[fid], number, flush=True)
        except SataeError as error:
            print("refused", error, flush=True)
review.close()
"""


@contextmanager
def reviewing(out: Path, stop: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", REVIEWER, str(out), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def told(lines: list[str]) -> dict[int, int]:
    """The last decision that was acknowledged, by rank."""
    return {
        int(rank): int(number) for rank, number in (line.split() for line in lines if "refused" not in line)
    }
