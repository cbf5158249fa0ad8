"""One result of all finished scenes: a GeoPackage, a report and a STAC catalogue. Rows pass through and are not held.

Scenes are read a few at a time; ranks over all of them are made by SQLite in the file. What was decided on an earlier
result, and what others put into it, is taken over as `satae score` does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satae import extras
from satae.batch import catalogue, chapters, store
from satae.batch.folders import ABOUT, NAME, Collection, SceneFolders, check_target, files
from satae.console import Bar, Steps
from satae.decisions import earlier
from satae.decisions.decisions import carry
from satae.decisions.earlier import Earlier
from satae.extras import Extra
from satae.formats import gpkg
from satae.gis import layers
from satae.gis.columns import Tiles, values
from satae.gis.geopackage import connect
from satae.gis.layers import SceneLayer
from satae.inference.runtime import Model
from satae.later import Later
from satae.publish import check_target as check_writable
from satae.publish import publish_all, staging
from satae.report import chips, html, page
from satae.scoring.support import of_kinds

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Later("pandas")

# rows of tiles in all: a layer of more opens in no program
TILES = 2_000_000
# heatmaps in the project for QGIS
SHOWN = 50
RANKS = """UPDATE anomalies SET rank = found.place FROM (SELECT fid AS number, row_number() OVER (
ORDER BY -(score + coalesce(feedback, 0)), -peak, anomaly_id) AS place FROM anomalies) AS found
WHERE fid = found.number"""


def collect(
    found: SceneFolders, models: Sequence[Model], asked: str, pictures: int, created: str, steps: Steps
) -> Collection:
    """Put all finished scenes together, in place of an earlier collection.

    `asked` is a sentence on the rule, `pictures` the number of chips. Raises OutputError where something that
    `satae run` did not write is in the way.
    """
    out, target = found.out, found.out / NAME
    check_target(out)
    check_writable(target, overwrite=True)
    with extras.faults() as faults, staging(target) as folder, Earlier(target) as before:
        before.check(found.crs)
        making = _Making(found, folder, before, created)

        def make() -> None:
            for stale in folder.iterdir():
                _remove(stale)
            with steps.stage("collect", found.results, "scene") as bar:
                making.layers(bar)
            with steps.stage("write chips, report and catalogue"):
                making.extras(models, asked, pictures)

        make()
        with before.hold(overwrite=True):
            # nobody writes from here on; once more, if somebody decided while all that was made
            if before.is_stale:
                make()
            making.publish()
    report = html.path_of(target)
    return Collection(
        target, found.count, making.draft.counts["anomalies"], found.missing, making.whole,
        report if report.name in making.names else None, out / catalogue.NAME, making.carried, tuple(faults),
        "\n".join(making.doubts),
    )  # fmt: skip


class _Making:
    """The parts of a collection, in a staging folder, until they take their places together."""

    def __init__(self, found: SceneFolders, folder: Path, before: Earlier, created: str) -> None:
        self.found, self.folder, self.before, self.created = found, folder, before, created
        self.target, self.whole, self.carried = found.out / NAME, True, 0
        self.pictures = folder / chips.folder_of(self.target).name
        self.names, self.doubts = list[str](), list[str]()

    def layers(self, bar: Bar) -> None:
        """The GeoPackage, with ranks and decisions."""
        self.whole, self.carried, own, foreign = True, 0, self.before.look(), self.before.foreign()
        if foreign:
            self.before.copy(self.folder / NAME)
        self.draft = gpkg.Draft(self.folder / NAME, NAME, self.created)
        shown, rows = list[SceneLayer](), 0
        lost: Any = None if own is None else own.frame
        for some in self.found.records():
            batch = [r.layer for r in some]
            rows += sum(len(s.tiles.corners) for s in batch)
            # their columns are there, but not the rows of these: who wants them has them a scene
            if rows > TILES:
                self.whole, batch = False, [_without_tiles(s) for s in batch]
            if own is not None and len(own):
                batch, (carried,) = carry([own], batch)
                # what no scene has taken over is kept apart at the end
                lost = lost[lost.index.isin(carried.lost.index)]
            self._add(batch)
            shown += batch[: SHOWN - len(shown)]
            bar.add(len(some))
        if own is not None:
            self.carried = len(own) - len(lost)
            if len(lost):
                earlier.keep(self.folder / NAME, NAME, lost, self.created)
        with closing(connect(self.folder / NAME)) as database:
            database.execute(RANKS)
        self.draft.finish(lambda: gpkg.project(NAME, shown))

    def _add(self, batch: Sequence[SceneLayer]) -> None:
        """Append some scenes to all layers."""
        for layer, frames in {
            "anomalies": [layers.anomalies(batch)],
            "tiles": layers.tiles(batch),
            "scenes": layers.footprints(batch),
        }.items():
            held, rows = [], 0
            for frame in frames:
                # a few scenes may share a CRS that not all do
                held.append(frame if frame.crs == self.found.crs else frame.to_crs(self.found.crs))
                rows += len(frame)
                # every append is a transaction on disk, so small frames go together
                if rows >= layers.CHUNK:
                    self.draft.add(layer, _joined(held))
                    held, rows = [], 0
            if held:
                self.draft.add(layer, _joined(held))

    def extras(self, models: Sequence[Model], asked: str, pictures: int) -> None:
        """Chips, report and catalogue, as far as they can be made."""
        chosen = chapters.choose(self.folder / NAME, self.found, pictures, self.pictures)
        with Extra("the report"):
            whole = page.Whole(self.draft.counts["anomalies"], self.found.count)
            report = self.folder / html.path_of(self.target).name
            self.doubts = of_kinds((each.row["kind"], store.doubt(each)) for each in self.found)
            page.write(report, self.target, chosen, models, asked, self.folder, whole, doubts=self.doubts)
        catalogue.write(self.folder, self.found)

    def publish(self) -> None:
        """Give all of it its place; what an earlier collection had and this one has not goes."""
        out, known = self.found.out, {*files(self.found.out)}
        made = [self.pictures, self.folder / html.path_of(self.target).name]
        made += [self.folder / catalogue.ITEMS, self.folder / catalogue.NAME]
        made = [p for p in made if p.exists()]
        self.names = [p.name for p in made]
        about = self.folder / ABOUT
        counts = {"scenes": self.found.count, "anomalies": self.draft.counts["anomalies"]}
        counts |= {"tiles": self.whole, "carried": self.carried}
        said = {
            "results": self.found.digest,
            "files": [*self.names, NAME],
            "counts": counts | {"doubt": "\n".join(self.doubts)},
        }
        about.write_text(json.dumps(said), encoding="utf-8")
        gone = [out / name for name in sorted(known - {*self.names, NAME}) if (out / name).exists()]
        publish_all([(p, out / p.name) for p in (*made, about, self.folder / NAME)], gone)


def _joined(frames: list[Any]) -> Any:
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _without_tiles(layer: SceneLayer) -> SceneLayer:
    none = {name: column[:0] for name, column in values(layer.tiles).items()}
    return replace(layer, tiles=Tiles(**none, corners=layer.tiles.corners[:0]))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
