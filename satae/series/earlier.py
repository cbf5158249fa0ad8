"""Decisions on an older result that a new one takes the place of: regions are known again by where they lie."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from satae.console import quantity
from satae.errors import OutputError
from satae.gis import geopackage
from satae.gis.geopackage import BEFORE, CHANGES
from satae.gis.matching import same_regions
from satae.later import Later

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
else:
    geopandas, pd = Later("geopandas"), Later("pandas")

SAID = ("review_status", "review_label", "review_note", "review_by", "review_time")
UNTOUCHED = ("unreviewed", "", "")


def carry(out: Path, frame: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """The layer of changes with the decisions of the file that is there, those that found no region, and a line.

    The second is None where there are none. Raises OutputError where the older file cannot be read.
    """
    old = _decided(out)
    if old is None or not len(old):
        return frame, None, ()
    # of dates that lie on another grid the new result may have another CRS
    if (old.crs is None) == (frame.crs is None) and old.crs != frame.crs:
        old = old.to_crs(frame.crs)
    pairs = same_regions(old.geometry.to_numpy(), frame.geometry.to_numpy())
    frame = frame.copy()
    for one, other in pairs:
        frame.loc[frame.index[other], list(SAID)] = old.iloc[one][list(SAID)].to_list()
    # who decided has seen something there, though it is no longer reported
    left = old.drop(index=[old.index[one] for one, _ in pairs])
    said = f"{quantity(len(pairs), 'reviewed region')} carried over from the older {out.name}"
    if len(left):
        said += f"; {len(left)} that changed no more are in its layer {BEFORE}"
    return frame, left if len(left) else None, (said,)


def _decided(out: Path) -> Any:
    """The rows that somebody decided on, of older results before it too; None where there is no older result."""
    if not geopackage.is_database(out):
        return None
    try:
        with closing(geopackage.connect(out, "ro")) as database:
            there = geopackage.tables(database)
            frames = [_rows(database, layer) for layer in (CHANGES, BEFORE) if layer in there]
    except sqlite3.Error as error:
        raise OutputError(
            f"{out} holds decisions that cannot be read ({error}); move it away, or choose another --out"
        ) from error
    return pd.concat(frames, ignore_index=True) if frames else None


def _rows(database: sqlite3.Connection, layer: str) -> Any:
    values, shapes = geopackage.rows(database, layer, ["change_id", *SAID])
    crs = geopackage.crs(database, layer)
    table = pd.DataFrame(
        {name: values.get(name, [""] * len(shapes)) for name in ("change_id", *SAID)}
    ).fillna("")
    geometry = np.empty(len(shapes), object)
    geometry[:] = shapes
    # opinions alone: rows that nobody touched have nothing to carry
    frame = geopandas.GeoDataFrame(table, geometry=geometry, crs=crs)
    decided = ~frame[list(SAID[:3])].apply(tuple, axis=1).isin([UNTOUCHED]) if len(frame) else []
    return frame[decided] if len(frame) else frame
