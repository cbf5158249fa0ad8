"""Tile sets of scenes that a list names: what was cut before is known by a hash, and left as it is.

Beside the sets lies `sets.jsonl`, a line a set with that hash: of its scene, of what in it counts, of how it was cut.
A set that goes by the name of a scene and is known by nothing is somebody else's, and stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from satae import __version__
from satae.batch import local
from satae.batch.key import content
from satae.batch.task import Request
from satae.console import SILENT, Steps
from satae.errors import OutputError, TilesError
from satae.publish import check_target
from satae.scene.describe import describe
from satae.tiles.cut import Cut, cut
from satae.tiles.store import TileSet, load

KNOWN = "sets.jsonl"


@dataclass(frozen=True)
class Member:
    """A scene of a list: its files, its name, and what is asked of it, of which bands and limits count here."""

    paths: tuple[str, ...]  # or addresses
    name: str
    asked: Request

    def key(self, how: Cut | None) -> str:
        """What its tile set is known by: what the files hold, which pixels count, and how it is cut."""
        # a threshold has no part in it, and neither has the number of threads
        counts = Request(self.asked.bands, self.asked.limits, self.asked.gsd).hash()
        cut_as = None if how is None else replace(how, workers=1)
        text = json.dumps([__version__, self.name, content(self.paths).digest, counts, repr(cut_as)])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Sets:
    """The tile sets below a folder, all cut in one way. `overwrite` replaces what is in the way, not what is known."""

    folder: Path
    how: Cut
    overwrite: bool = False
    network: bool = False
    cache: Path | None = None
    steps: Steps = SILENT
    known: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # lines are added and never changed: the last word on a name counts, and a kill tears but the last line
        with suppress(OSError):
            for text in (self.folder / KNOWN).read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    said = json.loads(text)
                    self.known[said["name"]] = said["key"]

    def check(self, members: Iterable[Member]) -> None:
        """OutputError where something is in the way that is not to be replaced; before anything is cut."""
        for member in members:
            if not self.holds(member):
                check_target(self.folder / member.name, overwrite=self.overwrite)

    def holds(self, member: Member) -> bool:
        """Whether the tile set of a scene is there, as it would be cut now."""
        place = self.folder / member.name
        if not place.is_dir() or self.known.get(member.name) != member.key(self.how):
            return False
        # another command may have cut it anew, in another way
        try:
            record = load(place).record
        except TilesError:
            return False
        how = self.how
        return (record.size, record.overlap, record.min_valid) == (how.size, how.overlap, how.min_valid)

    def make(self, member: Member) -> TileSet:
        """The tile set of a scene; raises what `describe` and `cut` do."""
        place = self.folder / member.name
        if self.holds(member):
            return load(place)
        key, asked = member.key(self.how), member.asked
        # noted before it is there, for then a kill leaves no set that is known by nothing; of a set that is replaced
        # the old one would go by the new key
        self._note(member.name, "" if place.exists() else key)
        paths = local.files(
            member.paths, asked.bands, network=self.network, cache=self.cache, steps=self.steps
        )
        scene = describe(paths, bands=asked.bands, limits=asked.limits, gsd=asked.gsd)
        made = cut(replace(scene, name=member.name), place, self.how, self.steps, brief=0)
        self._note(member.name, key)
        return made

    def _note(self, name: str, key: str) -> None:
        if self.known.get(name, "") == key:
            return
        self.known[name] = key
        try:
            with (self.folder / KNOWN).open("ab") as file:
                # at the beginning, for the line before may be torn
                file.write(b"\n" + json.dumps({"name": name, "key": key}).encode())
        except OSError as error:
            raise OutputError(f"{self.folder / KNOWN} cannot be written: {error.strerror}") from error
