"""Scenes that arrive while satae runs: those that are complete are scored, what was found is told once a region.

Complete is a file whose size and time of change stay the same for a while: who writes does not say when it is over.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from satae import interrupts
from satae.batch import places, plan, store
from satae.batch.key import stamps
from satae.batch.manifest import Entry
from satae.batch.shard import Shard
from satae.errors import ConfigError, ResultError

TOLD = "told.jsonl"
# seconds between two looks, and without a change until a file counts as complete
LOOK, REST = 5.0, 10.0
# more than clocks of machines differ by
OLD = 600.0
# seconds that a command may take for one region
PATIENCE = 300.0

log = logging.getLogger(__name__)


@dataclass
class Arrivals:
    """Which entries are complete: those whose files have not changed for `rest` seconds, or not for `OLD` by their
    own time, as where satae begins after them."""

    rest: float = REST
    looks: int = 0
    _seen: dict[str, tuple[object, float]] = field(default_factory=dict)
    _complete: dict[str, object] = field(default_factory=dict)

    def are_new(self, entries: Iterable[Entry]) -> bool:
        """Look at all entries, and say whether others are complete now than at the last look."""
        moment, clock = time.monotonic(), time.time()
        seen, complete = dict[str, tuple[object, float]](), dict[str, object]()
        for entry in entries:
            found = stamps(entry.paths)
            before, since = self._seen.get(entry.name, (None, moment))
            # a file that was changed begins anew
            since = since if found == before else moment
            seen[entry.name] = found, since
            newest = max((stamp for _, _, stamp in found), default=0) / 1e9
            if found and (moment - since >= self.rest or clock - newest > OLD):
                complete[entry.name] = found
        # what is gone is forgotten
        different = complete != self._complete or not self.looks
        self._seen, self._complete, self.looks = seen, complete, self.looks + 1
        return different

    def complete(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Those that were complete at the last look."""
        return (entry for entry in entries if entry.name in self._complete)


class Teller:
    """Passes each region to a command, as JSON on stdin, once: which were told stands in a file of the run."""

    def __init__(self, out: Path, command: str) -> None:
        self.out, self.path, self.words = out, out / TOLD, shlex.split(command)
        if not self.words:
            raise ConfigError("--on-anomaly names no command")
        # before hours of scoring
        if shutil.which(self.words[0]) is None:
            raise ConfigError(f"--on-anomaly {command}: there is no program {self.words[0]}; give its path")
        # whether some are to be told of again, and how many the command failed on the last time
        self.failed, self.failures = True, 0
        self.done = {said["scene"] for said in self._said() if "scene" in said}
        self.told = {said["region"] for said in self._said() if "region" in said}

    def tell(self, shard: Shard) -> int:
        """Tell of all regions of finished scenes that were not told of; how many there were.

        One on which the command fails is told of again the next time.
        """
        count, self.failed, self.failures = 0, False, 0
        for line in plan.lines([plan.path_of(self.out, shard)]):
            folder = places.folder_of(self.out, line.name, line.key)
            if folder.name in self.done or not (folder / store.ABOUT).is_file():
                continue
            try:
                about, regions = store.summary(folder), store.regions(folder)
            except ResultError as error:
                log.warning("%s", error)
                continue
            whole = True
            for region in regions:
                name = f"{folder.name} {region['anomaly_id']}"
                if name in self.told:
                    continue
                interrupts.check()
                place = {
                    "path": about.row["path"],
                    "folder": str(folder),
                    "lonlat": store.lonlat(about, region),
                }
                if self._call({**region, **place}):
                    # before the next one: after a kill none is told twice but the one at hand
                    self._note(region=name)
                    self.told.add(name)
                    count += 1
                else:
                    whole, self.failed = False, True
                    self.failures += 1
            if whole:
                self._note(scene=folder.name)
                self.done.add(folder.name)
                self.told -= {f"{folder.name} {region['anomaly_id']}" for region in regions}
        return count

    def _call(self, said: dict[str, Any]) -> bool:
        text = json.dumps(said, ensure_ascii=False)
        try:
            done = subprocess.run(
                self.words, input=text, text=True, capture_output=True, timeout=PATIENCE, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("--on-anomaly: %s", error)
            return False
        if done.returncode:
            why = " ".join(done.stderr.split())[-200:]
            log.warning(
                "--on-anomaly: %s ended with %d%s", self.words[0], done.returncode, f": {why}" if why else ""
            )
        return done.returncode == 0

    def _said(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        for text in self.path.read_bytes().splitlines():
            try:
                said = json.loads(text)
            except ValueError:
                # torn by a kill
                continue
            yield said

    def _note(self, **said: str) -> None:
        with self.path.open("ab") as file:
            # what was torn before is a line of its own
            file.write(b"\n" * bool(file.tell() and not _ends(self.path)) + json.dumps(said).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _ends(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def pauses(seconds: float = LOOK) -> Iterator[None]:
    """Go on for ever, with a pause before each turn but the first, until this process is interrupted."""
    yield
    while True:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            interrupts.check()
            time.sleep(min(left, 0.2))
        yield
