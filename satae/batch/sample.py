"""Which scenes of a list are learned from: a bounded number, chosen by a hash of their names, so always the same."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from satae import __version__
from satae.batch.manifest import Entry
from satae.batch.sets import Member, Sets
from satae.batch.task import Request
from satae.config import Recipe
from satae.console import Steps, quantity
from satae.errors import OutputError, SceneError
from satae.publish import write_bytes
from satae.tiles.cut import Cut
from satae.tiles.store import Record, TileSet

MODEL, TILES, RUN, ABOUT = "model.onnx", "tiles", Path("runs", "model"), "learned.json"
SCENES = 16  # that are learned from, at the most
MOST = 1000  # tiles of each, where nothing else is said
# what one model needs alike in all that it learns from
ALIKE = ("bands", "dtype", "scales", "offsets", "wavelengths")

Row = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sample:
    """What was taken of a list of `total` scenes: sets of `most` tiles at most, and why others could not be used."""

    total: int
    most: int
    sets: list[TileSet]
    failures: dict[str, str]


@dataclass(frozen=True)
class Lesson:
    """Which scenes are learned from, each with what is asked of it, and how."""

    out: Path
    scenes: tuple[Member, ...]
    recipe: Recipe
    key: str  # of all that the model follows from
    how: Cut
    device: str = "auto"
    quiet: bool = False
    network: bool = False
    cache: Path | None = None

    @property
    def places(self) -> list[Path]:
        """What is written, as paths in the folder of the run."""
        return [Path(MODEL), RUN, *(Path(TILES, scene.name) for scene in self.scenes)]


def choose(entries: Iterable[Entry], asked_of: Callable[[Row], Request]) -> tuple[list[Member], int]:
    """The scenes of a list that are learned from, by name, and how many are listed; no more are held at any time."""
    total = 0

    def counted() -> Iterator[Entry]:
        nonlocal total
        for entry in entries:
            total += 1
            yield entry

    # a hash spreads over a list that is sorted by date or place
    chosen = heapq.nsmallest(SCENES, counted(), key=lambda e: hashlib.sha256(e.name.encode()).digest())
    named = sorted(chosen, key=lambda e: e.name)
    return [Member(e.paths, e.name, _absolute(e.request(asked_of))) for e in named], total


def cut_of(recipe: Recipe, number: int, workers: int) -> Cut:
    """How so many scenes are cut to learn from: of several a part, or a list of large ones would fill the disk."""
    sample = None if number == 1 else recipe.train.sample or MOST
    return Cut(workers=workers, sample=sample)


def take(
    scenes: Sequence[Member],
    total: int,
    folder: Path,
    recipe: Recipe,
    workers: int,
    overwrite: bool,
    steps: Steps,
) -> Sample:
    """The tile sets of scenes that were chosen of `total`, below a folder; those that are there stay.

    A scene that does not fit most of the others is left out. Raises OutputError where something is in the way,
    SceneError where no scene can be used, or no more than half of them fit each other.
    """
    most = recipe.train.sample or MOST
    made, failures = dict[str, TileSet](), dict[str, str]()
    sets = Sets(folder, Cut(workers=workers, sample=most), overwrite, steps=steps)
    sets.check(scenes)
    for scene in scenes:
        try:
            made[scene.name] = sets.make(scene)
        except SceneError as error:
            failures[scene.name] = str(error)
    if not made:
        raise SceneError(
            f"none of {quantity(len(scenes), 'scene')} can be learned from: {next(iter(failures.values()))}"
        )
    fitting, others = alike(scenes, made)
    return Sample(total, most, fitting, failures | others)


def alike(scenes: Sequence[Member], made: Mapping[str, TileSet]) -> tuple[list[TileSet], dict[str, str]]:
    """Of the tile sets of scenes those that one model can learn from, and by name what is wrong with the others.

    More than half must fit each other, or nobody knows which are meant: SceneError then.
    """
    groups = list[list[str]]()
    # those that know their wavelengths first, for the others fit any
    for name in sorted(made, key=lambda n: made[n].record.wavelengths is None):
        for group in groups:
            if not _difference(made[name].record, made[group[0]].record):
                group.append(name)
                break
        else:
            groups.append([name])
    most = max(groups, key=len)
    first, paths = made[most[0]].record, {scene.name: ";".join(scene.paths) for scene in scenes}
    if 2 * len(most) <= len(made):
        own, theirs = (next(n for n in made if (n in most) is belongs) for belongs in (False, True))
        raise SceneError(
            f"{paths[own]} has {_difference(made[own].record, first)} as {paths[theirs]} has; one model learns from "
            "scenes that are alike, and no more than half of these are: list those that belong together"
        )
    others = {
        name: f"{paths[name]} has {_difference(tiles.record, first)} as most scenes of the list have; it is left out"
        for name, tiles in made.items()
        if name not in most
    }
    return [tiles for name, tiles in made.items() if name in most], others


def _difference(own: Record, first: Record) -> str:
    """What a tile set has that another has not, nothing where they fit."""
    for key in ALIKE:
        has, wanted = getattr(own, key), getattr(first, key)
        # sets of older versions do not know their wavelengths
        if has == wanted or (key == "wavelengths" and None in (has, wanted)):
            continue
        if isinstance(has, list) and len(has) != len(wanted):
            return f"{quantity(len(has), key.removesuffix('s'))} and not {len(wanted)}"
        if isinstance(has, list):
            # of hundreds of bands the first that differs says enough
            number = next(i for i, pair in enumerate(zip(has, wanted, strict=True)) if pair[0] != pair[1])
            which = f"{key.removesuffix('s')} {has[number]} and not {wanted[number]}"
            return which if key == "bands" else f"{which} in its band {number + 1}"
        return f"{key} {has} and not {wanted}"
    return ""


def lesson(
    scenes: Sequence[Member],
    out: Path,
    recipe: Recipe,
    *,
    device: str,
    workers: int,
    quiet: bool,
    network: bool = False,
    cache: Path | None = None,
) -> Lesson:
    """The lesson of some scenes."""
    how = cut_of(recipe, len(scenes), workers)
    digest = hashlib.sha256(f"{__version__} {recipe.model_dump_json()}".encode())
    for scene in scenes:
        digest.update(scene.key(how).encode())
    return Lesson(out, tuple(scenes), recipe, digest.hexdigest(), how, device, quiet, network, cache)


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
    state = State.read(given.out)
    return state.done and state.key == given.key and (given.out / MODEL).is_file()


@dataclass(frozen=True)
class State:
    """What was done before: of which lesson, the places that may be replaced, and whether it is over."""

    key: str = ""
    ours: tuple[str, ...] = ()
    done: bool = False

    @classmethod
    def read(cls, out: Path) -> State:
        """The state in the folder of a run."""
        try:
            found: dict[str, Any] = json.loads((out / ABOUT).read_bytes())
        except FileNotFoundError:
            return cls()
        return cls(found["key"], tuple(found["ours"]), found["done"])

    def write(self, out: Path) -> State:
        """Put it into the folder of a run."""
        write_bytes(out / ABOUT, json.dumps(asdict(self)).encode())
        return self


def _absolute(asked: Request) -> Request:
    """The same asked from whatever folder."""
    limits = asked.limits
    aoi, mask = (p.absolute() if p else None for p in (limits.aoi, limits.mask))
    return replace(asked, limits=replace(limits, aoi=aoi, mask=mask))
