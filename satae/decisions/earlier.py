"""The file that a new result takes the place of: nothing in it is lost that satae did not write, or somebody decided.

Decisions go over to the new result, and so does what others put into a GeoPackage. A review may go on until the
last moment: whoever writes then waits for the rename and finds the new file.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satae.decisions import decisions
from satae.decisions.decisions import CarriedDecisions, Decisions, beside, carry
from satae.errors import ConfigError, OutputError
from satae.formats import Writer
from satae.gis import geopackage
from satae.gis.columns import kinds
from satae.gis.geopackage import BEFORE, OWN, REGIONS
from satae.gis.layers import SceneLayer, store
from satae.later import Later
from satae.publish import check_target, remove_cold_journal

if TYPE_CHECKING:
    import geopandas
    import pyogrio
else:
    geopandas = Later("geopandas")
    pyogrio = Later("pyogrio")

GPKG = decisions.GPKG
PATIENCE = 30.0  # seconds to wait for a program that is writing, when hours of work are at stake

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Takeover:
    """What the new result took over: decisions, None where `out` was no result, and the names of what others made."""

    carried: CarriedDecisions | None
    foreign: tuple[str, ...] = ()


class Earlier:
    """What goes by the name `out`, from the first look until a new result takes its place; to be closed.

    A GeoPackage is watched through one connection, which tells whether anybody wrote since; of other files their
    size and time are compared. What is no file, or a damaged one, has nothing to keep.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._database: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._seen: Any = None

    def __enter__(self) -> Earlier:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def check(self, crs: str | None) -> None:
        """Refuse a file that a result in `crs` cannot take the place of; a warning where nothing of it can be read.

        Raises OutputError where it holds what satae did not write under names that satae needs, or cannot keep,
        ConfigError where it holds decisions that the result could not keep.
        """
        if not self.out.exists():
            return
        self._open()
        if self._database is not None:
            with self._explained(), _at_once(self._database):
                self._check_names(self._database)
        elif (fault := self._unreadable()) is not None:
            log.warning("%s; no decision in it is carried over", fault)
            return
        own = self.look()
        if own is not None and len(own) and (own.frame.crs is None) != (crs is None):
            one, other = ("without", "with") if crs is None else ("with", "without")
            raise ConfigError(
                f"{self.out} holds decisions on scenes {other} a CRS, which layers of scenes {one} one cannot keep; "
                "choose another name"
            )

    def look(self) -> Decisions | None:
        """The decisions as they are now, None where the file is no result; `is_stale` is about what comes after."""
        self._open()
        if self._database is None:
            self._seen = _stamp(self.out)
            try:
                return decisions.read(self.out) if self.out.exists() else None
            except ConfigError:  # of which `check` has told
                return None
        with self._explained(), _at_once(self._database):
            self._seen = _version(self._database)
            return decisions.read_open(self._database, self.out)

    def foreign(self) -> list[str]:
        """What satae did not write, in words."""
        if self._database is None:
            return []
        with self._explained(), _at_once(self._database):
            return geopackage.foreign(self._database)

    def copy(self, draft: Path) -> None:
        """Make `draft` a copy of the file without the layers that satae writes."""
        # a connection of its own, for that which holds the write lock cannot be copied from
        with (
            self._explained(),
            closing(geopackage.connect(self.out, "ro", patience=0)) as source,
            closing(sqlite3.connect(draft, isolation_level=None)) as made,
        ):
            with _at_once(source):
                source.backup(made)
            geopackage.limit(made, geopackage.LONGEST)
            made.execute("PRAGMA journal_mode = DELETE").fetchall()
            made.execute("BEGIN")
            for layer in OWN:
                geopackage.drop(made, layer)
            made.execute("COMMIT")

    @property
    def is_stale(self) -> bool:
        """Whether anybody wrote to the file since the last look at it."""
        if self._database is None or geopackage.identity(self.out) != self._identity:
            return bool(_stamp(self.out) != self._seen)
        with self._explained():
            return bool(_version(self._database) != self._seen)

    @contextmanager
    def hold(self, *, overwrite: bool) -> Iterator[None]:
        """Let nobody write to the file until it is replaced, or this ends; OutputError where that cannot be had.

        The lock is that of SQLite: who waits for it then looks whether the file still goes by its name (`satae review`
        does), or is refused by SQLite itself.
        """
        self._open()
        if self._database is not None:
            with self._explained():
                self._lock()
        try:
            check_target(self.out, overwrite=overwrite)  # again: it may have been opened in the meantime
            yield
        finally:
            if self._database is not None and self._database.in_transaction:
                self._database.rollback()

    def _lock(self) -> None:
        while self._database is not None:
            with _at_once(self._database):
                (mode,) = self._database.execute("PRAGMA journal_mode").fetchone()
            if (
                mode == "wal"
            ):  # a log must not be left beside the new file; it stays while QGIS has the old one open
                self._database.execute("PRAGMA journal_mode = DELETE").fetchall()
            geopackage.begin(self._database, "IMMEDIATE", PATIENCE)
            if geopackage.identity(self.out) == self._identity:
                remove_cold_journal(self.out)
                return
            self._database.rollback()
            self._open()

    def _open(self) -> None:
        """Connect to the file that goes by the name now, where it is a database."""
        identity = geopackage.identity(self.out)
        if self._database is not None and identity == self._identity:
            return
        if self._database is not None:  # what was seen of a file without locks is still known
            self._close()
        if identity is None or not geopackage.is_database(self.out):
            return
        with self._explained():
            database = geopackage.connect(self.out, patience=0)
            try:
                with _at_once(database):
                    pass
            except sqlite3.DatabaseError as error:
                database.close()
                if geopackage.error_code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                    return  # damaged: nothing in it can be kept
                raise
        self._database, self._identity = database, identity

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database, self._identity, self._seen = None, None, None

    def _unreadable(self) -> str | None:
        """Why nothing can be read, in words, None where it can; OutputError where it is a layer of somebody else."""
        try:
            missing = decisions.missing_column(decisions.layers_of(self.out))
        except ConfigError as error:
            return str(error)
        if missing is not None:
            raise OutputError(f"{self.out} is a layer that satae did not write; choose another name")
        return None

    def _check_names(self, database: sqlite3.Connection) -> None:
        there = geopackage.tables(database)
        if there and "gpkg_contents" not in there:
            raise OutputError(
                f"{self.out} is a database that satae did not write (table {min(there)}); choose another name"
            )
        if (name := geopackage.clash(database)) is not None:
            raise OutputError(
                f"{self.out} has a layer {name} that satae did not write; rename that layer, or choose another name"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's faults in words."""
        try:
            yield
        except sqlite3.Error as error:
            if geopackage.error_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise OutputError(
                    f"{self.out} is open in another program, which keeps it locked; close QGIS, then run again"
                ) from error
            raise OutputError(f"{self.out} cannot be read: {error}; choose another name") from error


@contextmanager
def _at_once(database: sqlite3.Connection) -> Iterator[None]:
    """One view of the file, also where its lock is held already."""
    if database.in_transaction:
        yield
        return
    geopackage.begin(database, "DEFERRED", PATIENCE)
    try:
        yield
    finally:
        database.rollback()


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA data_version").fetchone()[0])


def _stamp(out: Path) -> list[tuple[int, ...]]:
    """What changes when a file without locks is written to, or the one beside it."""
    found: list[tuple[int, ...]] = []
    for path in (out, beside(out)):
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return found


def write_over(
    write: Writer,
    draft: Path,
    earlier: Earlier,
    scenes: Sequence[SceneLayer],
    created: str,
    also: Decisions | None,
) -> tuple[list[SceneLayer], Takeover]:
    """Write layers that will take the place of `earlier` to `draft`, with the decisions on it, then those of `also`.

    Reviewed regions that the new result does not have are kept in a layer of their own, which is read again the
    next time; a format of one layer has them in a GeoPackage beside it (`beside`), whose draft lies beside
    `draft`. What others put into a GeoPackage stays. An older draft is replaced. Gives the layers with the
    decisions, and what was kept.
    """
    for path in (draft, beside(draft)):
        path.unlink(missing_ok=True)
    out, own, foreign = earlier.out, earlier.look(), earlier.foreign()
    stale = also is not None and also.path.resolve() == out.resolve()  # what was read of it before
    layers, carried = carry([d for d in (own, None if stale else also) if d is not None], scenes)
    if foreign:
        earlier.copy(draft)
    write(draft, out.name, layers, created)
    holder = draft if out.suffix.lower() == GPKG else beside(draft)
    if own is not None and (len(carried[0].lost) or (holder != draft and beside(out).exists())):
        keep(holder, holder.name, carried[0].lost, created)
    place = f"layer {BEFORE}" if holder == draft else holder.name
    kept = replace(carried[0], place=place) if own is not None else None
    return layers, Takeover(kept, tuple(foreign))


def keep(path: Path, name: str, lost: Any, created: str) -> None:
    """Add reviewed rows as layer BEFORE to a GeoPackage that will be called `name`, or make one of it alone."""
    moment = datetime.fromisoformat(created).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": moment})
    try:
        store(
            lost.astype(kinds(REGIONS)), path, name=name, driver="GPKG", layer=BEFORE, kind="MultiPolygon",
            layer_options={"GEOMETRY_NAME": "geom", "FID": "fid"},
            dataset_options={} if path.exists() else {"VERSION": "1.3"},
        )  # fmt: skip
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    if len(geopandas.read_file(path, layer=BEFORE)) != len(lost):
        raise OutputError(f"{name} does not hold all reviewed regions that it should; is the disk full?")
