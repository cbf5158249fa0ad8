"""GeoPackages of strangers as --feedback: read in bounded time and memory, or refused in one sentence."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from results import change, review
from rows import CREATED, in_a_row

from satae.decisions import decisions
from satae.decisions.decisions import carry
from satae.decisions.preference import prefer
from satae.errors import ConfigError
from satae.formats import gpkg
from satae.gis import geopackage

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
Spoil = Callable[[Path], None]


def sql(*statements: str) -> Spoil:
    def spoil(path: Path) -> None:
        for statement in statements:
            change(path, statement)

    return spoil


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


def with_folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def result(tmp_path: Path) -> Path:
    """A result of six regions, of which the second is accepted."""
    out = tmp_path / "out.gpkg"
    gpkg.write(out, out.name, [in_a_row()], CREATED)
    review(out, "north-1")
    return out


REFUSED: dict[str, Spoil] = {
    "not SQLite": lambda path: path.write_bytes(b"no database " * 999) and None,
    "empty": lambda path: path.write_bytes(b"") and None,
    "cut in two": cut,
    "pages of something else": overwritten,
    "a folder": with_folder_in_its_place,
    "a view for a table": sql(
        "ALTER TABLE anomalies RENAME TO other", "CREATE VIEW anomalies AS SELECT * FROM other"
    ),
    "no layer at all": sql("DROP TABLE anomalies", "DELETE FROM gpkg_contents"),
    "no contents": sql("DROP TABLE anomalies", "DROP TABLE gpkg_contents"),
    "a column that is computed": sql(
        "ALTER TABLE anomalies DROP COLUMN review_status",
        "ALTER TABLE anomalies ADD COLUMN review_status AS (hex(zeroblob(1000000000)))",
    ),
    "a huge note": sql("UPDATE anomalies SET review_note = zeroblob(70000000)"),
}


@pytest.mark.parametrize("spoil", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path, spoil: Spoil) -> None:
    path = result(tmp_path)
    spoil(path)
    with pytest.raises(ConfigError, match=r"out\.gpkg") as raised:
        decisions.read(path)
    assert "\n" not in str(raised.value)


READ: dict[str, Spoil] = {
    "triggers": sql("CREATE TRIGGER t AFTER UPDATE ON anomalies BEGIN DELETE FROM anomalies; END"),
    "a view without end": sql(f"CREATE VIEW v AS {ENDLESS}"),
    "a layer that is such a view": sql(
        f"CREATE VIEW v AS {ENDLESS}",
        "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('v', 'features', 'v')",
    ),
    "texts for numbers": sql("UPDATE anomalies SET rank = 'first', score = 'high', pixels = x'00', peak = 9e999"),
    "numbers for texts": sql("UPDATE anomalies SET review_note = 7, signature = 3.5, top_band = x'ff00'"),
    "no numbers": sql("UPDATE anomalies SET rank = NULL, pixels = NULL, score = NULL, scene = 'north'"),
    "texts that are no UTF-8": sql("UPDATE anomalies SET review_note = CAST(x'fffe41' AS TEXT)"),
    "signatures without end": sql("UPDATE anomalies SET signature = '" + "[" * 100_000 + "'"),
    "fewer columns": sql(
        "ALTER TABLE anomalies DROP COLUMN signature", "ALTER TABLE anomalies DROP COLUMN rank"
    ),
    "no system of reference": sql("DELETE FROM gpkg_spatial_ref_sys WHERE srs_id = 32632"),
}  # fmt: skip


@pytest.mark.parametrize("spoil", READ.values(), ids=READ)
def test_what_is_odd_is_read_as_far_as_it_goes(tmp_path: Path, spoil: Spoil) -> None:
    path = result(tmp_path)
    spoil(path)
    found = decisions.read(path)
    said = found.frame.set_index("anomaly_id")["review_status"]
    assert said["north-1"] == "accepted"
    prefer(in_a_row().regions, found)
    (made,), (carried,) = carry([found], [in_a_row()])
    assert carried.rows in (0, len(found))  # without a CRS nothing can be laid over the scene
    gpkg.write(tmp_path / "new.gpkg", "new.gpkg", [made], CREATED)


@pytest.mark.parametrize("blob", [None, b"", b"GP", b"GP\0\xff" + bytes(60), "text"])
def test_a_region_without_an_outline_is_left_out(tmp_path: Path, blob: object) -> None:
    path = result(tmp_path)
    with closing(sqlite3.connect(path)) as database, database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE anomalies SET geom = ?", (blob,))
    assert len(decisions.read(path)) == 0


def test_a_locked_file_is_said_to_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = result(tmp_path)
    monkeypatch.setattr(geopackage, "PATIENCE", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match=r"out\.gpkg is locked by another program"):
            decisions.read(path)


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = result(tmp_path)
    change(path, "UPDATE anomalies SET review_status = 'rejected'")
    os.chmod(path, 0o444)
    shutil.copy2(path, tmp_path / "copy.gpkg")
    decisions.read(path)
    assert path.read_bytes() == (tmp_path / "copy.gpkg").read_bytes() and not list(
        tmp_path.glob("out.gpkg?*")
    )
