"""A scene to be scored, as plain values that pickle: what is asked of it, and what it is scored with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from satae.batch import places
from satae.batch.key import content, file_hash
from satae.scene.scene import Limits
from satae.scoring.rule import Far, Rule


@dataclass(frozen=True)
class Request:
    """What is asked of a scene, as far as it changes what comes out; `satae score` has options of the same names."""

    bands: tuple[int | str, ...] | None = None
    limits: Limits = field(default_factory=Limits)
    gsd: float | None = None
    rule: Rule = field(default_factory=Far)
    min_area_m2: float | None = None
    chips: int = 100
    force_domain: bool = False
    baseline: Path | None = None

    def hash(self) -> str:
        """All of it as text, with what the files hold that it names."""
        named = [p for p in (self.limits.aoi, self.limits.mask) if p is not None]
        held = content(named).digest if named else ""
        judge = "" if self.baseline is None else file_hash(self.baseline)
        return f"{self!r} {held} {judge}"


@dataclass(frozen=True)
class Means:
    """What scenes are scored with, which changes nothing of what comes out: the model's file, device and threads.

    `side` is the longer side of an overview, in cells; `created` the time to record. What lies on a server is fetched
    into `cache` where the `network` is allowed.
    """

    out: Path
    model: Path
    sha256: str
    device: str = "cpu"
    threads: int = 1
    side: int = 250
    created: str = "1970-01-01T00:00:00Z"
    network: bool = False
    cache: Path | None = None


@dataclass(frozen=True)
class Task:
    """A scene to be scored, or a block of rows of one that is split into `blocks`: plain values that pickle."""

    name: str
    key: str
    paths: tuple[str, ...]  # or addresses
    asked: Request
    means: Means
    size: int = 0  # bytes of its files
    blocks: int = 1
    block: int | None = None  # None is all of it

    @property
    def id(self) -> str:
        """What no other task of a run goes by."""
        return self.key if self.block is None else f"{self.key}-{self.block}-of-{self.blocks}"

    @property
    def place(self) -> Path:
        """Where the finished folder of the scene is to lie."""
        return places.folder_of(self.means.out, self.name, self.key)

    @property
    def target(self) -> Path:
        """Where that of this task is to lie."""
        if self.block is None:
            return self.place
        return places.blocks_of(self.means.out, self.key) / f"{self.block}-of-{self.blocks}"

    @property
    def parts(self) -> list[Task]:
        """The blocks of a scene that is split."""
        if self.blocks == 1 or self.block is not None:
            return []
        return [replace(self, block=i) for i in range(self.blocks)]
