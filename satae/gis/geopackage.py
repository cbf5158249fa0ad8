"""GeoPackages by SQLite alone: the rows of a layer, and what lies in a file that satae did not write.

GDAL reads none of it: where it closes a file, this process loses the locks that it holds on that file. A file may
come from strangers: only tables are read, never views, and neither time nor memory follows what it claims.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from satae.gis import qgis
from satae.gis.columns import LAYERS

PATIENCE = 3.0  # seconds to wait for another program's transaction to end
OFTEN = 0.0005  # seconds between two tries
LONGEST = 60.0  # seconds that reading a file may take
LARGEST = 2**26  # bytes of one value
STEPS = 100_000  # of SQLite's machine, between two looks at the clock
MAGIC = b"SQLite format 3\0"
REGIONS, BEFORE = "anomalies", "reviewed_before"  # layers
OWN = (*LAYERS, BEFORE)
# of `satae series`: its regions, and the table of what the first of them showed on each date
CHANGES, COURSES = "changes", "courses"
# by what a layer is known as one of satae's, of whatever version
KNOWN = {
    "anomalies": {"anomaly_id", "scene", "score", "review_status"},
    "tiles": {"scene", "row", "col", "score", "valid_fraction"},
    "scenes": {"scene", "path", "bands", "model_sha256"},
    BEFORE: {"anomaly_id", "scene", "review_status"},
}
# tables of every GeoPackage that GDAL writes, whatever is in it
SYSTEM = {
    *("gpkg_contents", "gpkg_geometry_columns", "gpkg_spatial_ref_sys", "gpkg_extensions", "gpkg_ogr_contents"),
    *("gpkg_tile_matrix", "gpkg_tile_matrix_set", "layer_styles", "qgis_projects", "satae_labels"),
}  # fmt: skip
ENVELOPES = (0, 32, 48, 48, 64)  # bytes behind the header of a geometry, by kind


def is_database(path: Path) -> bool:
    """Whether a file is there and begins as databases of SQLite do."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another under the same name; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def connect(path: Path, mode: str = "rw", patience: float = PATIENCE) -> sqlite3.Connection:
    """A connection, `mode` "ro" or "rw", whose triggers find the functions that GDAL's R-tree triggers call."""
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=patience, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
    try:
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
        database.text_factory = lambda text: text.decode(errors="replace")
        for name, side in (("ST_MinX", 0), ("ST_MinY", 1), ("ST_MaxX", 2), ("ST_MaxY", 3)):
            database.create_function(name, 1, lambda blob, side=side: _bound(blob, side), deterministic=True)
        database.create_function("ST_IsEmpty", 1, lambda blob: polygon(blob) is None, deterministic=True)
    except BaseException:
        database.close()
        raise
    return database


def begin(database: sqlite3.Connection, kind: str, patience: float) -> None:
    """Begin a transaction, with a view of the file or its write lock taken, and wait for so many seconds for it.

    SQLite waits by sleeping for up to 0.1 s, and never meets the pauses of somebody who writes without end.
    """
    end = time.monotonic() + patience
    while True:
        try:
            database.execute(f"BEGIN {kind}")
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return
        except sqlite3.OperationalError as error:
            if database.in_transaction:
                database.rollback()
            if error_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(OFTEN)


def error_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def limit(database: sqlite3.Connection, seconds: float) -> None:
    """Interrupt what the connection is asked from now on when so many seconds are over: a trigger need never end."""
    end = time.monotonic() + seconds
    database.set_progress_handler(lambda: time.monotonic() > end, STEPS)


def _bound(blob: Any, side: int) -> float | None:
    shape = polygon(blob)
    return None if shape is None else float(shapely.bounds(shape)[side])


def polygon(blob: Any) -> Any:
    """A shape from a geometry of a GeoPackage, None where it is missing, damaged, empty or not finite."""
    if not isinstance(blob, bytes) or len(blob) < 8 or blob[:2] != b"GP":
        return None
    kind = blob[3] >> 1 & 7
    if kind >= len(ENVELOPES):
        return None
    shape = shapely.from_wkb(blob[8 + ENVELOPES[kind] :], on_invalid="ignore")
    return shape if shape is not None and np.isfinite(shapely.bounds(shape)).all() else None


def tables(database: sqlite3.Connection) -> set[str]:
    """The names of all tables; views are none."""
    return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def regions_in(database: sqlite3.Connection) -> str:
    """The name of the layer of regions: that of `satae series` where there is no other."""
    there = tables(database)
    return CHANGES if CHANGES in there and REGIONS not in there else REGIONS


def columns(database: sqlite3.Connection, table: str) -> dict[str, tuple[str, int]]:
    """Type and place in the primary key of each column that is stored."""
    return {row[1]: (row[2], row[5]) for row in database.execute(f"PRAGMA table_info({quote(table)})")}


def quote(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def features(database: sqlite3.Connection) -> list[str]:
    """The names of the layers of geometries that are tables."""
    found = database.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'features'").fetchall()
    there = tables(database)
    return [str(name) for (name,) in found if name in there]


def rows(
    database: sqlite3.Connection, layer: str, wanted: Sequence[str], where: str = ""
) -> tuple[dict[str, list[Any]], list[Any]]:
    """Those of the wanted columns that a layer has, and its shapes, None where they are unreadable.

    `where` is a condition on its rows in SQL, of columns that it has.
    """
    there = columns(database, layer)
    chosen = [name for name in wanted if name in there]
    sql = "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?"
    geometry = next((name for (name,) in database.execute(sql, (layer,)) if name in there), None)
    asked = ", ".join([quote(geometry) if geometry else "NULL", *map(quote, chosen)])
    sql = f"SELECT {asked} FROM {quote(layer)}" + (f" WHERE {where}" if where else "")
    found = list(zip(*database.execute(sql), strict=True))
    blobs, *texts = found or [()] * (1 + len(chosen))
    return dict(zip(chosen, map(list, texts), strict=True)), [polygon(blob) for blob in blobs]


def places(database: sqlite3.Connection, layer: str) -> list[tuple[int, str, Any]]:
    """(fid, scene, outline) of each region of a layer, None where the outline is unreadable."""
    found, shapes = rows(database, layer, ["fid", "scene"])
    return [
        (fid, str(scene), shape)
        for fid, scene, shape in zip(found["fid"], found["scene"], shapes, strict=True)
    ]


def crs(database: sqlite3.Connection, layer: str) -> pyproj.CRS | None:
    """The CRS of a layer, None where it has none or PROJ does not know it."""
    sql = (
        "SELECT definition FROM gpkg_geometry_columns JOIN gpkg_spatial_ref_sys USING (srs_id)"
        " WHERE table_name = ? AND srs_id NOT IN (0, -1, 99999)"
    )
    found = database.execute(sql, (layer,)).fetchone()
    return known_crs(found[0] if found else None)


def known_crs(text: str | None) -> pyproj.CRS | None:
    """A CRS from its WKT, None where there is none or PROJ does not know it."""
    try:
        return pyproj.CRS.from_wkt(text) if text else None
    except pyproj.exceptions.CRSError:
        return None


def foreign(database: sqlite3.Connection) -> list[str]:
    """What satae did not write, in words: layers and other tables, then styles and projects that others stored."""
    sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
    names = [str(name) for (name,) in database.execute(sql)]
    known = {*SYSTEM, *OWN}
    found = [n for n in names if n.lower() not in known and not n.lower().startswith(("sqlite_", "rtree_"))]
    if "layer_styles" in names:
        there = columns(database, "layer_styles")
        chosen = (name if name in there else "NULL" for name in ("f_table_name", "styleName", "description"))
        styles = database.execute(f"SELECT {', '.join(chosen)} FROM layer_styles").fetchall()
        found += [
            f"style {style} of {layer}"
            for layer, style, about in styles
            if not qgis.is_ours(layer, style, about)
        ]
    if "qgis_projects" in names:
        there = columns(database, "qgis_projects")
        chosen = (name if name in there else "NULL" for name in ("name", "metadata"))
        projects = database.execute(f"SELECT {', '.join(chosen)} FROM qgis_projects").fetchall()
        found += [f"project {name}" for name, about in projects if not qgis.project_is_ours(about)]
    return found


def clash(database: sqlite3.Connection) -> str | None:
    """The first name of a layer of satae's that something else goes by, None where there is none."""
    there = tables(database)
    sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
    return next(
        (
            name
            for (name,) in database.execute(sql).fetchall()
            if name.lower() in OWN
            and not (name in there and KNOWN.get(name, {""}) <= set(columns(database, name)))
        ),
        None,
    )


def drop(database: sqlite3.Connection, layer: str) -> None:
    """Remove a layer and its index of places, where it is there."""
    sql = "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?"
    for (column,) in database.execute(sql, (layer,)).fetchall():
        database.execute(f"DROP TABLE IF EXISTS {quote(f'rtree_{layer}_{column}')}")
    for table in ("gpkg_extensions", "gpkg_ogr_contents", "gpkg_geometry_columns", "gpkg_contents"):
        if table in tables(database):
            database.execute(f"DELETE FROM {table} WHERE table_name = ?", (layer,))
    database.execute(f"DROP TABLE IF EXISTS {quote(layer)}")


def of_kind(value: Any, kind: type) -> Any:
    """A value if it is of its column's type, which SQLite does not enforce, and finite."""
    if kind is float and isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, kind) else None
