"""The finished folders of a run, which is what a result of all is made of, and whether there is one already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyproj

from satae.batch import places, plan, store
from satae.batch.store import Summary
from satae.errors import ConfigError, ResultError
from satae.scoring.backdrop import beside
from satae.scoring.record import HEATMAP, SceneRecord

NAME, ABOUT = "anomalies.gpkg", "collect.json"  # the result, and what it says of itself
AT_ONCE = 50  # scenes that are held together


class SceneFolders:
    """The finished scenes of a run, in the order of its plans, read anew each time that they are gone through.

    Raises ResultError where there is none, ConfigError where some have a CRS and others have not.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.plans, self.missing = out, plan.current(out), 0
        # a first time through, small files only, for what must be known before any row is written
        digest, known, self.count = hashlib.sha256(), set[str | None](), 0
        for found in self:
            digest.update(found.folder.name.encode())
            known.add(found.crs)
            self.count += 1
        self.missing = sum(1 for _ in plan.lines(self.plans)) - self.count
        if not self.count:
            raise ResultError(f"{out} has no finished scene to collect; score some with `satae run`")
        if None in known and len(known) > 1:
            raise ConfigError("scenes with and without a CRS cannot share one result; run them apart")
        self.digest = digest.hexdigest()
        self.crs = known.pop() if len(known) == 1 else pyproj.CRS.from_epsg(4326).to_wkt()

    def __iter__(self) -> Iterator[Summary]:
        for line in plan.lines(self.plans):
            folder = places.folder_of(self.out, line.name, line.key)
            if (folder / store.ABOUT).is_file():
                yield store.summary(folder)

    def records(self) -> Iterator[list[SceneRecord]]:
        """The records, so many at once."""
        every = (_within(store.read(found), self.out) for found in self)
        while some := list(islice(every, AT_ONCE)):
            yield some


def is_current(out: Path, found: SceneFolders) -> bool:
    """Whether there is a result of just these scenes."""
    about = _about(out)
    return about.get("results") == found.digest and all((out / name).exists() for name in about["files"])


def files(out: Path) -> list[str]:
    """What an earlier collection of the run wrote, which may be replaced; nothing where there is none."""
    found: list[str] = _about(out).get("files", [])
    return found


def _within(record: SceneRecord, out: Path) -> SceneRecord:
    """The record with its heatmap as the result refers to it: from the folder of the run on."""
    path = (record.folder / HEATMAP).relative_to(out).as_posix()
    drawn = beside(record.layer.backdrop, out / NAME)
    return replace(record, layer=replace(record.layer, heatmap=path, backdrop=drawn))


def _about(out: Path) -> dict[str, Any]:
    """What an earlier collection says of itself; nothing where there is none."""
    try:
        found: dict[str, Any] = json.loads((out / ABOUT).read_bytes())
    except (OSError, ValueError):
        return {}
    return found
