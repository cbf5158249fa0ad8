"""Reads the regions of a finished GeoPackage, and writes what reviewers decide into that file at once.

Plain SQLite: a decision is one short transaction beside whoever else has the file open. It draws nothing and
serves nothing.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from satae.errors import OutputError, ResultError
from satae.gis.columns import LAYERS, REVIEW_STATUSES

Row = dict[str, Any]
Columns = dict[str, type]
Placer = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

PATIENCE = 3.0  # seconds to wait for another program's transaction to end
LONGEST_NOTE = 2000
LONGEST_LABEL = 40
NEEDED = ("fid", "geom", "anomaly_id", "rank", "scene", "score", "review_status", "review_note")
UNSHOWN = ("feedback", "signature", "review_status", "review_label", "review_note")
MEASURED: Columns = {"fid": int} | {n: c.python for n, c in LAYERS["anomalies"].items() if n not in UNSHOWN}
TOLD: Columns = {
    name: LAYERS["scenes"][name].python
    for name in ("scene", "path", "crs", "gsd_m", "bands", "threshold", "rule", "domain", "domain_note")
}
ENVELOPES = (0, 32, 48, 48, 64)  # bytes behind the header of a GeoPackage geometry, by kind
READ = (
    "SELECT fid, coalesce(review_status, 'unreviewed'), coalesce(review_label, ''), coalesce(review_note, '')"
    " FROM anomalies"
)
WRITE = "UPDATE anomalies SET review_status = ?, review_label = ?, review_note = ? WHERE fid = ?"
TOUCH = (
    "UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    " WHERE table_name = 'anomalies'"
)


class LockedError(ResultError):
    """Another program keeps the file to itself; nothing was written."""


class ConflictError(ResultError):
    """The region was changed since it was looked at; nothing was written."""


@dataclass(frozen=True)
class Opinion:
    """What a reviewer says of one region. One that is read may hold whatever other programs wrote."""

    status: str = REVIEW_STATUSES[0]
    label: str = ""
    note: str = ""

    def check(self) -> Opinion:
        """Check the opinion and give it back; ResultError where satae would not write it."""
        if self.status not in REVIEW_STATUSES:
            raise ResultError(f"{self.status!r} is no status; there are {', '.join(REVIEW_STATUSES)}")
        if len(self.label) > LONGEST_LABEL or not (self.label == "" or self.label.isprintable()):
            raise ResultError(f"a label is one line of at most {LONGEST_LABEL} characters")
        if len(self.note) > LONGEST_NOTE or "\0" in self.note:
            raise ResultError(f"a note is text of at most {LONGEST_NOTE} characters")
        return self


@dataclass(frozen=True)
class Entry:
    """An opinion and its revision, a number that grows with every change of any region, whoever made it."""

    opinion: Opinion
    revision: int


class Review:
    """The layer `anomalies` of one GeoPackage, open for review.

    All methods may be called from any thread. Raises ResultError where the file is no result of satae, is
    locked, or was replaced; OutputError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._entries: dict[int, Entry] = {}
        self._revision, self._version = 0, -1
        check_file(path)
        self._identity = _identity(path)
        self._database = _connected(path)
        try:
            with self._transaction("IMMEDIATE"):
                self._prepare()
        except BaseException:
            self._database.close()
            raise
        self.changes(0)

    def close(self) -> None:
        """Let go of the file, and leave it in one piece where nobody else has it open."""
        with self._lock:
            with suppress(sqlite3.Error):  # QGIS turns to a log beside the file, and back when it closes last
                self._database.execute("PRAGMA busy_timeout = 0")
                self._database.execute("PRAGMA journal_mode = DELETE").fetchall()
            self._database.close()

    def changes(self, since: int) -> tuple[int, dict[int, Entry]]:
        """The latest revision, and the regions that changed after revision `since`, by fid.

        Changes by other programs are among them. A region that is no longer in the file is not.
        """
        with self._lock, self._transaction("DEFERRED"):
            version = self._database.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                rows = self._database.execute(READ).fetchall()
                self._take_in(rows)
                gone = self._entries.keys() - {row[0] for row in rows}
                for fid in gone:
                    del self._entries[fid]
                self._version = version
            return self._revision, {f: e for f, e in self._entries.items() if e.revision > since}

    def decide(self, fid: int, opinion: Opinion, *, seen: int) -> Entry:
        """Write an opinion; it is on disk when this returns.

        `seen` is the revision that the reviewer looked at: ConflictError where the region has changed since.
        """
        opinion.check()
        if fid not in self._entries:
            raise ResultError(f"there is no region {fid}")
        with self._lock:
            with self._transaction("IMMEDIATE"):
                rows = self._database.execute(f"{READ} WHERE fid = ?", (fid,)).fetchall()
                if not rows:
                    raise ConflictError(f"{self._name(fid)} is no longer in the file")
                self._take_in(rows)
                if self._entries[fid].revision != seen:
                    raise ConflictError(f"{self._name(fid)} was changed elsewhere; look again, then decide")
                self._database.execute(WRITE, (opinion.status, opinion.label, opinion.note, fid))
                self._database.execute(TOUCH)
            self._revision += 1
            self._entries[fid] = Entry(opinion, self._revision)
            return self._entries[fid]

    def entry(self, fid: int) -> Entry:
        """The latest that is known of a region."""
        return self._entries[fid]

    @cached_property
    def regions(self) -> list[Row]:
        """What was measured of each region (MEASURED, None where unknown), in the order of their ranks."""
        with self._lock, self._transaction("DEFERRED"):
            rows = self._rows("anomalies", MEASURED)
        for row in rows:
            row["band_shares"] = _shares(row["band_shares"])
        return sorted(rows, key=lambda r: (r["rank"] is None, r["rank"] or 0, r["fid"]))

    @cached_property
    def scenes(self) -> list[Row]:
        """What is known of each scene (TOLD, None where unknown), those of the regions without a row too."""
        with self._lock, self._transaction("DEFERRED"):
            known = "scenes" in self._tables()
            rows = self._rows("scenes", TOLD) if known else []
        names = {row["scene"] for row in rows}
        missing = dict.fromkeys(r["scene"] for r in self.regions if r["scene"] not in names)
        return rows + [dict.fromkeys(TOLD) | {"scene": name} for name in missing]

    @cached_property
    def polygons(self) -> dict[int, Any]:
        """The outline of each region by fid, in the layer's CRS; not of those whose geometry is unreadable."""
        with self._lock, self._transaction("DEFERRED"):
            rows = self._database.execute("SELECT fid, geom FROM anomalies").fetchall()
        shapes = [polygon(blob) for _, blob in rows]
        return {fid: shape for (fid, _), shape in zip(rows, shapes, strict=True) if shape is not None}

    @cached_property
    def crs(self) -> pyproj.CRS | None:
        """The CRS of the layer `anomalies`, None where it has none."""
        sql = (
            "SELECT definition FROM gpkg_geometry_columns JOIN gpkg_spatial_ref_sys USING (srs_id)"
            " WHERE table_name = 'anomalies' AND srs_id NOT IN (0, -1, 99999)"
        )
        with self._lock, self._transaction("DEFERRED"):
            found = self._database.execute(sql).fetchone()
        return known_crs(found[0] if found else None)

    def _name(self, fid: int) -> str:
        rank = next((r["rank"] for r in self.__dict__.get("regions", []) if r["fid"] == fid), None)
        return f"region {fid}" if rank is None else f"rank {rank}"

    def _prepare(self) -> None:
        """Check that this is a result of satae; add the column of labels that older ones lack."""
        columns = self._columns("anomalies") if "anomalies" in self._tables() else {}
        missing = [name for name in NEEDED if name not in columns]
        if not missing and columns["fid"] != ("INTEGER", 1):
            raise ResultError(
                f"{self.path} has a layer anomalies without integer ids; make it with `satae score`"
            )
        if missing:
            what = "layer anomalies" if not columns else f"column {missing[0]} in its layer anomalies"
            raise ResultError(f"{self.path} has no {what}; make it with `satae score`")
        if "review_label" not in columns:
            self._database.execute("ALTER TABLE anomalies ADD COLUMN review_label TEXT")
            self._database.execute(TOUCH)

    def _tables(self) -> set[str]:
        sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {name for (name,) in self._database.execute(sql)}

    def _columns(self, table: str) -> dict[str, tuple[str, int]]:
        """Type and place in the primary key of each column."""
        return {row[1]: (row[2], row[5]) for row in self._database.execute(f"PRAGMA table_info({table})")}

    def _rows(self, table: str, columns: Columns) -> list[Row]:
        """Rows of a table with just these columns, None where a value is missing or of another type."""
        there = self._columns(table)
        chosen = ", ".join(name if name in there else "NULL" for name in columns)
        found = self._database.execute(f"SELECT {chosen} FROM {table}").fetchall()
        return [{n: _typed(v, columns[n]) for n, v in zip(columns, row, strict=True)} for row in found]

    def _take_in(self, rows: list[Any]) -> None:
        """Give what other programs changed a revision of its own."""
        for fid, *texts in rows:
            opinion = Opinion(*map(str, texts))
            old = self._entries.get(fid)
            if old is None or old.opinion != opinion:
                self._revision += 1
                self._entries[fid] = Entry(opinion, self._revision)

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        """All or nothing, in the file that was opened and is still there; SQLite's faults in words."""
        self._check_place()
        try:
            self._database.execute(f"BEGIN {kind}")
            try:
                yield
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.rollback()
        except sqlite3.Error as error:
            raise _explained(self.path, error) from error
        self._check_place()

    def _check_place(self) -> None:
        if _identity(self.path) != self._identity:
            raise ResultError(f"{self.path} was moved or replaced; run `satae review` again")


def check_file(path: Path) -> None:
    """Raise ResultError where `path` is no GeoPackage, OutputError where it cannot be written."""
    if path.suffix.lower() != ".gpkg":
        raise ResultError(
            f"{path} is no GeoPackage (.gpkg); make one with `satae score --out anomalies.gpkg`"
        )
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}") from error
    if head != b"SQLite format 3\0":
        raise ResultError(f"{path} is no GeoPackage; make one with `satae score --out anomalies.gpkg`")
    for place in (path, path.absolute().parent):  # SQLite keeps its journal beside the file
        if not os.access(place, os.W_OK):
            raise OutputError(f"{place} is read-only, so decisions could not be kept; copy the result first")


def known_crs(text: str | None) -> pyproj.CRS | None:
    """A CRS from its WKT, None where there is none or PROJ does not know it."""
    try:
        return pyproj.CRS.from_wkt(text) if text else None
    except pyproj.exceptions.CRSError:
        return None


def polygon(blob: Any) -> Any:
    """A shape from a geometry of a GeoPackage, None where it is missing, damaged, empty or not finite."""
    if not isinstance(blob, bytes) or len(blob) < 8 or blob[:2] != b"GP":
        return None
    kind = blob[3] >> 1 & 7
    if kind >= len(ENVELOPES):
        return None
    shape = shapely.from_wkb(blob[8 + ENVELOPES[kind] :], on_invalid="ignore")
    return shape if shape is not None and np.isfinite(shapely.bounds(shape)).all() else None


def outlines(shapes: dict[int, Any], place: Placer) -> dict[int, list[list[list[list[float]]]]]:
    """Polygons, rings and positions of each shape as GeoJSON nests them.

    `place` moves positions (n, 2); polygons that it moves to where nothing is are left out.
    """
    found: dict[int, list[list[list[list[float]]]]] = {fid: [] for fid in shapes}
    parts, of_shape = shapely.get_parts(list(shapes.values()), return_index=True)
    polygons = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    parts, of_shape = parts[polygons], of_shape[polygons]
    rings, of_part = shapely.get_rings(parts, return_index=True)
    xy, of_ring = shapely.get_coordinates(rings, return_index=True)
    moved = place(xy).round(6)
    lost = set(of_part[of_ring[~np.isfinite(moved).all(axis=1)]].tolist())
    ends = np.searchsorted(of_ring, np.arange(len(rings) + 1)).tolist()
    fids, positions = list(shapes), moved.tolist()
    made: dict[int, list[list[list[float]]]] = {}
    for ring, part in enumerate(of_part.tolist()):
        made.setdefault(part, []).append(positions[ends[ring] : ends[ring + 1]])
    for part, lines in made.items():
        if part not in lost:
            found[fids[of_shape[part]]].append(lines)
    return found


def label_names(text: str) -> tuple[str, ...]:
    """Up to nine names between commas; ResultError where they are not."""
    names = tuple(name.strip() for name in text.split(","))
    if not 1 <= len(names) <= 9 or len(set(names)) < len(names) or "" in names:
        raise ResultError(f"--labels {text} is not a list of one to nine different names such as ship,roof")
    for name in names:
        replace(Opinion(), label=name).check()
    return names


def _connected(path: Path) -> sqlite3.Connection:
    """A connection whose triggers find the functions that GDAL's R-tree triggers call."""
    try:
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        database.execute("PRAGMA synchronous = FULL")
        database.text_factory = lambda text: text.decode(errors="replace")
    except sqlite3.Error as error:
        raise _explained(path, error) from error
    for name, side in (("ST_MinX", 0), ("ST_MinY", 1), ("ST_MaxX", 2), ("ST_MaxY", 3)):
        database.create_function(name, 1, lambda blob, side=side: _bound(blob, side), deterministic=True)
    database.create_function("ST_IsEmpty", 1, lambda blob: polygon(blob) is None, deterministic=True)
    return database


def _bound(blob: Any, side: int) -> float | None:
    shape = polygon(blob)
    return None if shape is None else float(shapely.bounds(shape)[side])


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another under the same name; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _explained(path: Path, error: sqlite3.Error) -> ResultError | OutputError:
    code = getattr(error, "sqlite_errorcode", None) or 0
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockedError(
            f"{path.name} is locked by another program; save or end the edits in QGIS, then retry"
        )
    if code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY):
        return OutputError(f"{path.name} could not be written: {error}")
    return ResultError(f"{path.name} cannot be used: {error}")


def _typed(value: Any, kind: type) -> Any:
    """A value if it is of its column's type, which SQLite does not enforce, and finite."""
    if kind is float and isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, kind) else None


def _shares(text: Any) -> dict[str, float]:
    """What each band adds to the error; none where the column does not hold that."""
    try:
        content = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    numbers = {k: v for k, v in content.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {k: float(v) for k, v in numbers.items() if math.isfinite(v)}
