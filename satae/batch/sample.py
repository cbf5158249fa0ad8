"""Which scenes of a list are learned from: a bounded number, chosen by a hash of their names, so always the same."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from satae import __version__
from satae.batch.key import content
from satae.batch.manifest import Entry
from satae.batch.task import Request
from satae.config import Recipe
from satae.errors import OutputError
from satae.publish import write_bytes

MODEL, TILES, RUN, ABOUT = "model.onnx", "tiles", Path("runs", "model"), "learned.json"
SCENES = 16  # that are learned from, at the most


@dataclass(frozen=True)
class Lesson:
    """Which scenes are learned from, each with what is asked of it, and how."""

    out: Path
    scenes: tuple[tuple[tuple[Path, ...], str, Request], ...]
    recipe: Recipe
    key: str  # of all that the model follows from
    device: str = "auto"
    workers: int = 1
    quiet: bool = False

    @property
    def places(self) -> list[Path]:
        """What is written, as paths in the folder of the run."""
        return [Path(MODEL), RUN, *(Path(TILES, name) for _, name, _ in self.scenes)]


def lesson(
    entries: Iterable[Entry],
    out: Path,
    asked_of: Callable[[tuple[tuple[str, str], ...]], Request],
    recipe: Recipe,
    *,
    device: str,
    workers: int,
    quiet: bool,
) -> Lesson:
    """The lesson of a list of scenes, of which no more than SCENES are held at any time."""
    # a hash spreads over a list that is sorted by date or place
    chosen = heapq.nsmallest(SCENES, entries, key=lambda e: hashlib.sha256(e.name.encode()).digest())
    digest, scenes = hashlib.sha256(f"{__version__} {recipe.model_dump_json()}".encode()), []
    for entry in sorted(chosen, key=lambda e: e.name):
        paths, asked = tuple(map(Path, entry.paths)), _absolute(asked_of(entry.options))
        digest.update(f"{entry.name} {content(paths).digest} {asked.hash()}".encode())
        scenes.append((paths, entry.name, asked))
    return Lesson(out, tuple(scenes), recipe, digest.hexdigest(), device, workers, quiet)


def check_places(given: Lesson) -> None:
    """OutputError where something is in the way that this run did not make."""
    ours = State.read(given.out).ours
    for place in given.places:
        if str(place) not in ours and (given.out / place).exists():
            raise OutputError(
                f"{given.out / place} is there and not of this run; choose another --out, or pass a model by --model"
            )


def is_done(given: Lesson) -> bool:
    """Whether the model of this very lesson is there."""
    return (
        (given.out / MODEL).is_file()
        and State.read(given.out).key == given.key
        and State.read(given.out).done
    )


@dataclass(frozen=True)
class State:
    """What was done before: of which lesson, the scenes that are cut, all that may be replaced, whether it is over."""

    key: str = ""
    cut: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    done: bool = False

    @classmethod
    def read(cls, out: Path) -> State:
        """The state in the folder of a run."""
        try:
            found: dict[str, Any] = json.loads((out / ABOUT).read_bytes())
        except FileNotFoundError:
            return cls()
        return cls(found["key"], tuple(found["cut"]), tuple(found["ours"]), found["done"])

    def write(self, out: Path) -> State:
        """Put it into the folder of a run."""
        write_bytes(out / ABOUT, json.dumps(asdict(self)).encode())
        return self


def _absolute(asked: Request) -> Request:
    """The same asked from whatever folder."""
    limits = asked.limits
    aoi, mask = (p.absolute() if p else None for p in (limits.aoi, limits.mask))
    return replace(asked, limits=replace(limits, aoi=aoi, mask=mask))
