"""The finished folders of a run, which is what a result of all is made of, and whether there is one already."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyproj

from satae.batch import parts, places, plan, store
from satae.batch.store import Summary
from satae.errors import OutputError, ResultError
from satae.report import html
from satae.report.backdrop import beside
from satae.scoring.record import HEATMAP, SceneRecord

if TYPE_CHECKING:
    from satae.scoring.run import Result

NAME, ABOUT = "anomalies.gpkg", "collect.json"  # the result, and what it says of itself
CATALOGUE = "catalog.json"
AT_ONCE = 50  # scenes that are held together


@dataclass(frozen=True)
class Collection:
    """What was put together, of how many scenes; `missing` ones lack a finished folder that counts, of any model.

    `tiles` tells whether all tiles are in it, `report` is None where it could not be made, `carried` is the number of
    decisions that were taken over, `doubt` a note on what of the numbers the calibration is too small for.
    """

    out: Path
    scenes: int
    anomalies: int
    missing: int
    tiles: bool
    report: Path | None
    catalogue: Path
    carried: int
    faults: tuple[str, ...] = ()
    doubt: str = ""


@dataclass(frozen=True)
class RunOutput:
    """What a run left beside its folders: the result of one scene, or the collection of several; by which `rule`.

    One that was there already has neither `rule` nor what was said of a scene that is `alone`.
    """

    found: SceneFolders
    rule: str = ""
    alone: Result | None = None
    collection: Collection | None = None
    is_new: bool = True


class SceneFolders:
    """The finished scenes of a run, in the order of its plans, read anew each time that they are gone through.

    Each is there once a model: `count` scenes have so many `results`. Of scenes with and without a CRS the fewer are
    `left_out`, by name: one result has one CRS or none. `foreign` are the names of those in the result that are unlike
    what their model was trained on. Raises ResultError where there is no scene.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.parts = out, parts.of(out)
        # a first time through, small files only, for what must be known before any row is written
        known, results, digests = Counter[str | None](), [0, 0], (hashlib.sha256(), hashlib.sha256())
        foreign: tuple[list[str], list[str]] = ([], [])
        self.missing = self.parts.entries
        for own, of in self._finished():
            self.missing += len(own) < of
            # those of one scene have one CRS
            known.update([found.crs for found in own[:1]])
            for found in own:
                results[found.crs is not None] += 1
                digests[found.crs is not None].update(found.folder.name.encode())
                if store.is_foreign(found):
                    foreign[found.crs is not None].append(found.row["scene"])
        if not known:
            raise ResultError(f"{out} has no finished scene to collect; score some with `satae run`")
        tied = known.total() - known[None]
        self.is_tied, self.count = tied >= known[None], max(tied, known[None])
        self.results, self.digest = results[self.is_tied], digests[self.is_tied].hexdigest()
        self.foreign = tuple(foreign[self.is_tied])
        # names are gone through once more only where some are left out
        apart = self._finished() if self.count < known.total() else iter(())
        self.left_out = tuple(
            own[0].row["scene"] for own, _ in apart if own and (own[0].crs is not None) != self.is_tied
        )
        ones = [crs for crs in known if (crs is not None) == self.is_tied]
        self.crs = ones[0] if len(ones) == 1 else pyproj.CRS.from_epsg(4326).to_wkt()

    @property
    def is_whole(self) -> bool:
        """Whether all that was asked for is in a result of them."""
        return not (self.missing or self.left_out or self.parts.absent or self.parts.others)

    @property
    def is_alone(self) -> bool:
        """Whether the run is of one scene, for however many models."""
        return self.count == 1 and self.is_whole and len(self.parts.plans) == 1

    def __iter__(self) -> Iterator[Summary]:
        return (
            found for own, _ in self._finished() for found in own if (found.crs is not None) == self.is_tied
        )

    def _finished(self) -> Iterator[tuple[list[Summary], int]]:
        """What is finished of each scene, and how much there should be."""
        for lines in plan.entries(self.parts.plans):
            every = [places.folder_of(self.out, line.name, line.key) for line in lines]
            yield [store.summary(p) for p in every if (p / store.ABOUT).is_file()], len(every)

    def records(self) -> Iterator[list[SceneRecord]]:
        """The records, so many at once."""
        every = (_within(store.read(found), self.out) for found in self)
        while some := list(islice(every, AT_ONCE)):
            yield some


def is_current(out: Path, found: SceneFolders) -> bool:
    """Whether there is a result of just these scenes."""
    about = _about(out)
    if about.get("results") != found.digest or not ("counts" in about or found.is_alone):
        return False
    return all((out / name).exists() for name in about["files"])


def existing(found: SceneFolders) -> RunOutput:
    """The result that is there already, with what was said when it was made."""
    about, report = _about(found.out), html.path_of(found.out / NAME)
    if "counts" not in about:
        return RunOutput(found, is_new=False)
    said = about["counts"] | {"missing": found.missing, "catalogue": found.out / CATALOGUE}
    made = Collection(found.out / NAME, report=report if report.name in about["files"] else None, **said)
    return RunOutput(found, collection=made, is_new=False)


def check_target(out: Path, *others: Path) -> None:
    """OutputError where somebody else's file lies in the place of the result, its report or `others`."""
    target, ours = out / NAME, bool(files(out))
    for path in (target, *others):
        if path.exists() and not ours:
            raise OutputError(f"{path} exists and is not of this run; remove it, or choose another --out")
    html.check_target(html.path_of(target))


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
