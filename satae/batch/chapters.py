"""What of very many scenes is shown: pictures of the first regions, and the scenes that hold them, for the report."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from satae.batch import store
from satae.batch.store import Summary
from satae.extras import Extra
from satae.gis.columns import LAYERS, Region
from satae.gis.geopackage import connect
from satae.report import chips
from satae.report.page import NAMED, OUTLINED, Chapter
from satae.scoring.record import SceneRecord

# what of a region is said by all scenes together, or by people
SAID = ("rank", "feedback", *(name for name in LAYERS["anomalies"] if name.startswith("review_")))

Row = Mapping[str, Any]


def choose(path: Path, found: Iterable[Summary], pictures: int, drawn: Path) -> list[Chapter]:
    """The scenes of the first regions in a GeoPackage, best first, as chapters of a report, and some without any.

    Chips of the first `pictures` regions are drawn to the folder `drawn`, which is made, and named in the file.
    """
    with closing(connect(path)) as database:
        rows = _first(database, max(pictures, OUTLINED))
        order = {scene: i for i, scene in enumerate(dict.fromkeys(row["scene"] for row in rows.values()))}
        chosen: dict[str, SceneRecord] = {}
        drawing, names = Extra("pictures of regions"), dict[int, str]()
        spare = max(0, NAMED - len(order))
        for summary in found:
            scene = summary.row["scene"]
            if scene not in order and spare <= 0:
                continue
            # scenes without a region among the first are shown too while there is room
            spare -= scene not in order
            record = store.read(summary)
            kept = [r for r in record.layer.regions if r.anomaly_id in rows]
            regions = [_said(r, rows[r.anomaly_id]) for r in kept]
            for i, region in enumerate(regions):
                if region.rank > pictures:
                    continue
                with drawing:
                    regions[i] = _drawn(record, region, drawn)
                    names[rows[region.anomaly_id]["fid"]] = str(regions[i].chip)
            if order.get(scene, NAMED) < NAMED or scene not in order:
                chosen[scene] = replace(record, layer=replace(record.layer, regions=regions))
        if names:
            chips.seal(drawn)
            # by number and not by name: no index is on names
            sql = "UPDATE anomalies SET chip = ? WHERE fid = ?"
            database.execute("BEGIN")
            database.executemany(sql, [(chip, fid) for fid, chip in names.items() if chip != "None"])
            database.execute("COMMIT")
    ranked = sorted(chosen, key=lambda scene: order.get(scene, len(order)))
    return [_chapter(chosen[scene]) for scene in ranked]


def _first(database: sqlite3.Connection, number: int) -> dict[str, Row]:
    """What the file says of the first regions, by their names, in the order of ranks."""
    columns = ("fid", "scene", "anomaly_id", *SAID)
    sql = f"SELECT {', '.join(columns)} FROM anomalies WHERE rank <= ? ORDER BY rank"
    found = (dict(zip(columns, row, strict=True)) for row in database.execute(sql, (number,)))
    return {row["anomaly_id"]: row for row in found}


def _said(region: Region, row: Row) -> Region:
    said = {name: row[name] for name in SAID if row[name] is not None}
    return replace(region, **said)


def _drawn(record: SceneRecord, region: Region, folder: Path) -> Region:
    """The region with the name of its chip, where what it is drawn from was kept."""
    number = next(i for i, r in enumerate(record.layer.regions) if r.anomaly_id == region.anomaly_id)
    look = record.look(number)
    if look is None:
        return region
    folder.mkdir(exist_ok=True)
    name = chips.file_name(region.anomaly_id)
    chips.write(folder / name, chips.draw(look))
    return replace(region, chip=f"{folder.name}/{name}")


def _chapter(record: SceneRecord) -> Chapter:
    return Chapter(record.layer, record.files, record.view, record.threshold, record.smallest, record.remarks)
