"""What a run is to do: a line of JSON an entry in a file, and of what is left to do no more than size and place.

The file replaces that of the run before in one step, and says later what belongs to the result.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from satae.batch import places
from satae.batch.key import Content, content, key_of
from satae.batch.manifest import Entry
from satae.batch.shard import Shard
from satae.errors import OutputError, ResultError
from satae.gis.geopackage import identity
from satae.gis.kinds import name_of
from satae.publish import publish, staging

NAME = "plan"
AT_ONCE = 512  # entries whose files are looked at together
THREADS = 8  # that wait for file systems


@dataclass(frozen=True)
class Line:
    """An entry that has its key; where several models score it, once for each `kind` of thing that they look for."""

    name: str
    key: str
    paths: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    size: int
    kind: str = ""

    @classmethod
    def of(cls, text: bytes) -> Line:
        """A line of the file."""
        said: dict[str, Any] = json.loads(text)
        options = tuple((k, v) for k, v in said.get("options", {}).items())
        return cls(
            said["name"], said["key"], tuple(said["paths"]), options, said["size"], said.get("kind", "")
        )

    @property
    def text(self) -> bytes:
        """The line as the file has it."""
        said = {"name": self.name, "key": self.key, "paths": self.paths, "size": self.size}
        said |= {"options": dict(self.options)} if self.options else {}
        said |= {"kind": self.kind} if self.kind else {}
        return json.dumps(said).encode() + b"\n"


@dataclass(frozen=True)
class Plan:
    """A plan that was made: how many lines it has, and (bytes, place in the file) of what is to be done.

    `fresh` tells whether it differs from the plan of the run before. `done` have a finished folder, `refused` are
    entries that were found to be no input that can be used, and hold that still.
    """

    path: Path
    file: tuple[int, int] | None  # which one the path meant
    total: int
    done: int
    refused: int
    fresh: bool
    sizes: array[int]
    offsets: array[int]

    @property
    def size(self) -> int:
        """Bytes of all that is to be done."""
        return sum(self.sizes)

    def to_do(self) -> Iterator[Line]:
        """What is to be done, the largest first: a large one that begins last would be waited for alone."""
        # of equal size in the order of the list
        order = sorted(range(len(self.sizes)), key=lambda i: (-self.sizes[i], i))
        with self.path.open("rb") as file:
            if identity(self.path) != self.file:
                raise OutputError(
                    f"{self.path} was replaced: another satae runs in {self.path.parent}; wait for it to end, or give "
                    "each a part with --shard"
                )
            for i in order:
                file.seek(self.offsets[i])
                yield Line.of(file.readline())


def make(
    out: Path,
    shard: Shard,
    entries: Iterable[Entry],
    asked: Callable[[tuple[tuple[str, str], ...]], str],
    models: Mapping[str, str],
    refused: Mapping[str, Any],
    add: Callable[[int], None] = lambda number: None,
) -> Plan:
    """Write the plan of a run and say what is to be done.

    `asked` gives what the options of a row come to, as text; `models` are hashes by what each looks for, by which an
    entry has a line for each; `refused` has the keys of what is not tried again;
    `add` is told how many entries were looked at.
    """
    target, counts = path_of(out, shard), {"total": 0, "done": 0, "refused": 0}
    sizes, offsets, digest = array("q"), array("q"), hashlib.sha256()
    with staging(target) as folder, ThreadPoolExecutor(THREADS) as threads:
        draft = folder / target.name
        with draft.open("wb") as file:
            own = (e for e in entries if shard.holds(e.name))
            while some := list(islice(own, AT_ONCE)):
                # on a network file system each look waits; a few threads wait together
                looks = threads.map(lambda e: _look(out, e, e.request(asked), models), some)
                for line, there in chain.from_iterable(looks):
                    counts["total"] += 1
                    if there:
                        counts["done"] += 1
                    elif line.key in refused:
                        counts["refused"] += 1
                    else:
                        sizes.append(line.size)
                        offsets.append(file.tell())
                    # all of it, for the index and the result are of all entries
                    file.write(line.text)
                    digest.update(line.text)
                add(len(some))
        fresh = not target.exists() or _digest(target) != digest.hexdigest()
        if fresh:
            publish(draft, target)
        else:
            target.touch()  # the newest says which plans belong together
    return Plan(
        target, identity(target), counts["total"], counts["done"], counts["refused"], fresh, sizes, offsets
    )


def path_of(out: Path, shard: Shard) -> Path:
    """Where the plan of a shard lies."""
    return out / f"{NAME}{shard.mark}.jsonl"


def newest(out: Path) -> Path | None:
    """The plan that was made last, None where there is none."""
    return max(out.glob(f"{NAME}*.jsonl"), key=lambda p: p.stat().st_mtime_ns, default=None)


def siblings(planned: Path) -> Iterator[tuple[Path, Shard]]:
    """A plan and those of the other parts of its run, there or not; all of a run that has no parts is one."""
    # a run in 4 parts after one in 8 leaves plans of those behind, which count no more
    _, of, count = planned.stem.partition("-of-")
    for shard in (Shard(i, int(count)) for i in range(int(count))) if of else (Shard(),):
        yield path_of(planned.parent, shard), shard


def current(out: Path) -> list[Path]:
    """The plans that belong together: the newest one, and those of the other shards of its run."""
    last = newest(out)
    return [] if last is None else [path for path, _ in siblings(last) if path.exists()]


def lines(paths: Sequence[Path]) -> Iterator[Line]:
    """The entries of plans, in their order; ResultError where one is damaged."""
    for path in paths:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                try:
                    line = Line.of(text)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    again = "type its `satae run` with the scenes again, which writes it anew"
                    raise ResultError(f"{path} is damaged in line {number}; {again}") from error
                yield line


def entries(paths: Sequence[Path]) -> Iterator[list[Line]]:
    """The lines of plans in their order, those of one entry together: it has one for each model."""
    for path in paths:
        own = list[Line]()
        for line in lines([path]):
            if own and line.kind == own[0].kind:
                yield own
                own = []
            own.append(line)
        if own:
            yield own


def _look(out: Path, entry: Entry, asked: str, models: Mapping[str, str]) -> list[tuple[Line, bool]]:
    holds: Content = content(entry.paths)
    found = []
    for kind, model in models.items():
        name = name_of(entry.name, kind, next(iter(models)))
        key = key_of(name, holds, model, asked)
        line = Line(name, key, entry.paths, entry.options, holds.size, kind)
        found.append((line, places.folder_of(out, name, key).is_dir()))
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
