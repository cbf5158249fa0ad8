"""Reads the regions of a finished GeoPackage, and writes what reviewers decide into that file at once.

Plain SQLite: a decision is one short transaction beside whoever else has the file open. Where a new result has taken
the place of the one that was opened, decisions go into the new one. It draws nothing and serves nothing.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyproj

from satae.errors import OutputError, ResultError
from satae.gis import geopackage
from satae.gis.geopackage import CHANGES, COURSES, identity
from satae.gis.matching import found_again
from satae.review.columns import (
    COURSE,
    LATER,
    MEASURED,
    NEEDED,
    OF_CHANGES,
    READ,
    TOLD,
    TOUCH,
    WRITE,
    Columns,
)
from satae.review.opinions import Entry, Opinion, label_names

Row = dict[str, Any]

PATIENCE = geopackage.PATIENCE  # seconds to wait for another program's transaction to end
LONGEST = 20.0  # seconds that one of ours may take, with whatever triggers the file has
TIMES = 5  # that a file may be replaced while one decision is stored


class LockedError(ResultError):
    """Another program keeps the file to itself; nothing was written."""


class ConflictError(ResultError):
    """The region was changed since it was looked at; nothing was written."""


class Review:
    """The layer `anomalies`, or `changes` of a series, of one GeoPackage, open for review.

    Regions go by the fids of the file that was opened, also where `satae score` has replaced it since: those of the
    new file are found by where they lie. All methods may be called from any thread. Raises ResultError where the
    file is no result of satae, is locked, or was moved; OutputError where it cannot be written.
    """

    def __init__(self, path: Path, reviewer: str = "") -> None:
        self.path, self.reviewer = path, reviewer
        self._lock = threading.Lock()
        self._entries: dict[int, Entry] = {}
        self._revision, self._version = 0, -1
        # fid in the file that is there, by the fid in the first one
        self._moved: dict[int, int] | None = None
        check_file(path)
        self._identity = identity(path)
        self._database = self._connected()
        try:
            with self._transaction("IMMEDIATE"):
                self.layer = geopackage.regions_in(self._database)
                self._prepare(self._database)
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
                rows = self._first_fids(self._database.execute(self._sql(READ)).fetchall())
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
                now = fid if self._moved is None else self._moved.get(fid)
                rows = self._database.execute(f"{self._sql(READ)} WHERE fid = ?", (now,)).fetchall()
                if not rows:
                    raise ConflictError(f"{self._name(fid)} is no longer in the file")
                self._take_in([(fid, *rows[0][1:])])
                if self._entries[fid].revision != seen:
                    raise ConflictError(f"{self._name(fid)} was changed elsewhere; look again, then decide")
                who = self._store(now, opinion, self._name(fid))
            self._revision += 1
            self._entries[fid] = Entry(opinion, self._revision, *who)
            return self._entries[fid]

    def _store(self, fid: Any, opinion: Opinion, name: str) -> tuple[str, str]:
        """Write a row and read it back; ResultError where the file made something else of it. Gives who and when."""
        # a region that is as nobody had looked at it was decided by nobody
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        who = (self.reviewer, now) if opinion != Opinion() else ("", "")
        said, before = (opinion.status, opinion.label, opinion.note, *who), self._database.total_changes
        self._database.execute(self._sql(WRITE), (*said, fid))
        self._database.execute(self._sql(TOUCH))
        found = self._database.execute(f"{self._sql(READ)} WHERE fid = ?", (fid,)).fetchall()
        if [row[1:] for row in found] != [said]:
            raise ResultError(
                f"{self.path.name} keeps something else than the decision on {name}: a trigger or a type of the file "
                "changes it; nothing was stored"
            )
        if self._database.total_changes - before != 2:
            self._version = -1  # a trigger changed more than the row and the date: all is read again
        return who

    def entry(self, fid: int) -> Entry:
        """The latest that is known of a region."""
        return self._entries[fid]

    def labels(self, given: tuple[str, ...] | None, usual: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the keys: those that are given, which the file remembers, else what it does, else the usual."""
        with self._lock, self._transaction("IMMEDIATE" if given else "DEFERRED"):
            if given:
                self._database.execute("CREATE TABLE IF NOT EXISTS satae_labels (name TEXT NOT NULL)")
                self._database.execute("DELETE FROM satae_labels")
                self._database.executemany("INSERT INTO satae_labels VALUES (?)", [(name,) for name in given])
                return given
            if "satae_labels" not in geopackage.tables(self._database):
                return usual
            found = self._database.execute("SELECT name FROM satae_labels ORDER BY rowid LIMIT 9").fetchall()
        try:
            return label_names(",".join(str(name) for (name,) in found))
        except ResultError:  # of another program's making
            return usual

    @cached_property
    def regions(self) -> list[Row]:
        """What was measured of each region (MEASURED, of a series OF_CHANGES too), in the order of their ranks."""
        with self._lock, self._transaction("DEFERRED"):
            columns = MEASURED | OF_CHANGES if self.layer == CHANGES else MEASURED
            rows = self._rows(self.layer, columns)
        for row in rows:
            row["band_shares"] = _shares(row["band_shares"])
        return sorted(rows, key=lambda r: (r["rank"] is None, r["rank"] or 0, r["fid"]))

    @cached_property
    def signatures(self) -> dict[int, str]:
        """What each region looks like, as the file has it; not of those of which it says nothing."""
        with self._lock, self._transaction("DEFERRED"):
            there = "signature" in geopackage.columns(self._database, "anomalies")
            sql = "SELECT fid, signature FROM anomalies WHERE typeof(signature) = 'text'"
            return dict(self._first_fids(self._database.execute(sql).fetchall())) if there else {}

    @cached_property
    def scenes(self) -> list[Row]:
        """What is known of each scene (TOLD, None where unknown), those of the regions without a row too."""
        if self.layer == CHANGES:
            return self._peaks()
        with self._lock, self._transaction("DEFERRED"):
            known = "scenes" in geopackage.tables(self._database)
            rows = self._rows("scenes", TOLD) if known else []
        names = {row["scene"] for row in rows}
        missing = dict.fromkeys(r["scene"] for r in self.regions if r["scene"] not in names)
        return rows + [dict.fromkeys(TOLD) | {"scene": name} for name in missing]

    @cached_property
    def dates(self) -> list[Row]:
        """What is known of each date that a series scored, as of scenes, and its `date`; of other results none."""
        with self._lock, self._transaction("DEFERRED"):
            known = self.layer == CHANGES and "dates" in geopackage.tables(self._database)
            return self._rows("dates", TOLD | {"date": str}) if known else []

    def _peaks(self) -> list[Row]:
        """The scene on which each region of a series is at its peak; the last one of a series without regions."""
        there = {row["scene"]: row for row in self.dates}
        bare = dict.fromkeys((*TOLD, "date"))
        names = dict.fromkeys(r["scene"] for r in self.regions) or list(there)[-1:]
        return [there.get(name, bare | {"scene": name}) for name in names]

    def courses(self, region: str) -> list[Row]:
        """What a region of a series showed on each date and band (COURSE), by date; nothing where that is not told."""
        with self._lock, self._transaction("DEFERRED"):
            if COURSES not in geopackage.tables(self._database):
                return []
            return sorted(self._rows(COURSES, COURSE, "change_id = ?", region), key=lambda r: str(r["date"]))

    @cached_property
    def polygons(self) -> dict[int, Any]:
        """The outline of each region by fid, in the layer's CRS; not of those whose geometry is unreadable."""
        with self._lock, self._transaction("DEFERRED"):
            return {
                fid: shape
                for fid, _, shape in geopackage.places(self._database, self.layer)
                if shape is not None
            }

    @cached_property
    def crs(self) -> pyproj.CRS | None:
        """The CRS of the layer, None where it has none."""
        with self._lock, self._transaction("DEFERRED"):
            return geopackage.crs(self._database, self.layer)

    def _name(self, fid: int) -> str:
        rank = next((r["rank"] for r in self.__dict__.get("regions", []) if r["fid"] == fid), None)
        return f"region {fid}" if rank is None else f"rank {rank}"

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Check that this is a result of satae; add the column of labels that older ones lack."""
        there = self.layer in geopackage.tables(database)
        columns = geopackage.columns(database, self.layer) if there else {}
        missing = [name for name in NEEDED if self._own(name) not in columns]
        if not missing and columns["fid"] != ("INTEGER", 1):
            raise ResultError(
                f"{self.path} has a layer {self.layer} without integer ids; make it with `satae score`"
            )
        if missing:
            what = f"layer {self.layer}" if not columns else f"column {missing[0]} in its layer {self.layer}"
            raise ResultError(f"{self.path} has no {what}; make it with `satae score`")
        for name in LATER:
            if name not in columns:
                database.execute(f"ALTER TABLE {self.layer} ADD COLUMN {name} TEXT")
                database.execute(self._sql(TOUCH))

    def _sql(self, text: str) -> str:
        """A statement on the layer."""
        return text.replace("{layer}", self.layer)

    def _own(self, name: str) -> str:
        """What the layer calls a column."""
        return "change_id" if name == "anomaly_id" and self.layer == CHANGES else name

    def _rows(self, table: str, columns: Columns, where: str = "true", *values: str) -> list[Row]:
        """Rows of a table with just these columns, None where a value is missing or of another type."""
        there = geopackage.columns(self._database, table)
        chosen = ", ".join(self._own(name) if self._own(name) in there else "NULL" for name in columns)
        found = self._database.execute(f"SELECT {chosen} FROM {table} WHERE {where}", values).fetchall()
        return [
            {n: geopackage.of_kind(v, columns[n]) for n, v in zip(columns, row, strict=True)} for row in found
        ]

    def _take_in(self, rows: list[Any]) -> None:
        """Give what other programs changed a revision of its own."""
        for fid, *texts in rows:
            status, label, note, by, time = map(str, texts)
            opinion, old = Opinion(status, label, note), self._entries.get(fid)
            if old is None or old.opinion != opinion:
                self._revision += 1
                self._entries[fid] = Entry(opinion, self._revision, by, time)

    def _first_fids(self, rows: list[Any]) -> list[Any]:
        """Rows with the fids that their regions had in the file that was opened; without those that it had not."""
        if self._moved is None:
            return rows
        first = {now: fid for fid, now in self._moved.items()}
        return [(first[fid], *rest) for fid, *rest in rows if fid in first]

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        """All or nothing, in the file that goes by the name; SQLite's faults in words."""
        try:
            try:
                self._begin(kind)
                yield
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.rollback()
        except sqlite3.Error as error:
            raise _explained(self.path, error) from error

    def _begin(self, kind: str) -> None:
        """Begin, in the new result where one took the file's place: who replaces a file holds its lock meanwhile."""
        for _ in range(TIMES):
            geopackage.limit(self._database, LONGEST)
            self._database.execute(f"BEGIN {kind}")
            now = identity(self.path)
            if now == self._identity:
                return
            if now is None:
                break
            self._follow()
        raise ResultError(f"{self.path} was moved or replaced; run `satae review` again")

    def _follow(self) -> None:
        """Turn to the result that took the place of the one that is open, and find its regions there."""
        before = geopackage.places(self._database, self.layer)
        crs = geopackage.crs(self._database, self.layer)
        check_file(self.path)
        now, database = identity(self.path), self._connected()
        try:
            database.execute("BEGIN IMMEDIATE")
            self._prepare(database)
            same = geopackage.crs(database, self.layer) == crs
            found = found_again(before, geopackage.places(database, self.layer)) if same else {}
            database.execute("COMMIT")
        except BaseException:
            database.close()
            raise
        self._database.close()
        self._database, self._identity, self._version = database, now, -1
        moved = self._moved if self._moved is not None else {fid: fid for fid, *_ in before}
        self._moved = {fid: found[now] for fid, now in moved.items() if now in found}

    def _connected(self) -> sqlite3.Connection:
        try:
            database = geopackage.connect(self.path, patience=PATIENCE)
            database.execute("PRAGMA synchronous = FULL")
            return database
        except sqlite3.Error as error:
            raise _explained(self.path, error) from error


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
    if head != geopackage.MAGIC:
        raise ResultError(f"{path} is no GeoPackage; make one with `satae score --out anomalies.gpkg`")
    for place in (path, path.absolute().parent):  # SQLite keeps its journal beside the file
        if not os.access(place, os.W_OK):
            raise OutputError(f"{place} is read-only, so decisions could not be kept; copy the result first")


def _explained(path: Path, error: sqlite3.Error) -> ResultError | OutputError:
    code = getattr(error, "sqlite_errorcode", None) or 0
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockedError(f"{path.name} is locked by another program; save or end the edits in QGIS")
    if code & 0xFF == sqlite3.SQLITE_INTERRUPT:
        return ResultError(
            f"{path.name} keeps busy for more than {LONGEST:.0f} s, as by a trigger without end"
        )
    if code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY):
        return OutputError(f"{path.name} could not be written: {error}")
    return ResultError(f"{path.name} cannot be used: {error}")


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
