"""What a new result takes the place of: no acknowledged decision is lost, and nothing that others made."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import geopandas
import pyogrio
import pytest
import shapely
from results import change, opinions, review
from reviewing import reviewing, told
from rows import CREATED, in_a_row

from satae.decisions import earlier
from satae.decisions.earlier import Earlier
from satae.errors import OutputError
from satae.formats import gpkg
from satae.gis.layers import SceneLayer
from satae.publish import check_target, publish, staging
from satae.review.store import Opinion, Review

SWAPS = 6


def replaced(out: Path, made: SceneLayer) -> earlier.Takeover:
    """What `satae score --overwrite` does at its end."""
    with staging(out) as folder, Earlier(out) as before:
        draft = folder / out.name
        _, kept = earlier.write_over(gpkg.write, draft, before, [made], CREATED, None)
        with before.hold(overwrite=True):
            if before.is_stale:
                _, kept = earlier.write_over(gpkg.write, draft, before, [made], CREATED, None)
            publish(draft, out)
    return kept


def test_every_acknowledged_decision_is_in_the_new_file(tmp_path: Path) -> None:
    out, stop = tmp_path / "out.gpkg", tmp_path / "stop"
    gpkg.write(out, out.name, [in_a_row()], CREATED)
    with reviewing(out, stop) as process:
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reader.start()
        for _ in range(SWAPS):
            before = len(lines)
            replaced(out, in_a_row())
            # the journal is of a decision that is just being written
            assert {p.name for p in tmp_path.glob("out.gpkg?*")} <= {"out.gpkg-journal"}
            while len(lines) < before + 3:  # decisions go on in the new file
                assert process.poll() is None
        stop.touch()
        reader.join()
    assert not [line for line in lines if "refused" in line]
    assert {rank: int(note) for rank, (_, _, note) in enumerate(opinions(out), 1)} == told(lines)


def test_a_reviewer_killed_in_a_decision_loses_none_that_was_acknowledged(tmp_path: Path) -> None:
    out = tmp_path / "out.gpkg"
    gpkg.write(out, out.name, [in_a_row()], CREATED)
    for wanted in (1, 4, 9, 40):
        with reviewing(out, tmp_path / "stop") as process:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(wanted)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        with closing(sqlite3.connect(out)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = opinions(out)
        for rank, number in told([line for line in lines if line.endswith("\n")]).items():
            assert int(found[rank - 1][2]) >= number  # the one that it died in may be there too
        check_target(
            out, overwrite=True
        )  # also where the journal of a transaction that wrote nothing is left
        assert not list(tmp_path.glob("out.gpkg?*"))


def test_a_journal_that_a_killed_writer_left_does_not_stop_a_new_result(tmp_path: Path) -> None:
    out, journal = tmp_path / "out.gpkg", tmp_path / "out.gpkg-journal"
    gpkg.write(out, out.name, [in_a_row()], CREATED)
    journal.write_bytes(bytes(512))  # begun, and nothing in it: what SQLite leaves to the next writer
    check_target(out, overwrite=True)
    assert not journal.exists()
    journal.write_bytes(bytes(512))
    replaced(out, in_a_row())
    assert [p.name for p in tmp_path.iterdir()] == ["out.gpkg"]


def test_a_file_that_somebody_writes_to_is_waited_for_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.gpkg"
    gpkg.write(out, out.name, [in_a_row()], CREATED)
    monkeypatch.setattr(earlier, "PATIENCE", 0.05)
    with closing(sqlite3.connect(out, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        before = out.read_bytes()
        with pytest.raises(OutputError, match="is open in another program, which keeps it locked"):
            replaced(out, in_a_row())
    assert out.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["out.gpkg"]


def test_a_log_beside_the_file_is_put_away_unless_somebody_has_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.gpkg"
    gpkg.write(out, out.name, [in_a_row()], CREATED)
    monkeypatch.setattr(earlier, "PATIENCE", 0.05)
    with closing(sqlite3.connect(out)) as qgis:
        qgis.execute("PRAGMA journal_mode = WAL").fetchall()
        qgis.execute("SELECT count(*) FROM anomalies").fetchall()
        with pytest.raises(OutputError, match="open in another program"):
            replaced(out, in_a_row())
    replaced(out, in_a_row())
    assert [p.name for p in tmp_path.iterdir()] == ["out.gpkg"]


def add_notes(out: Path) -> None:
    """What an analyst adds in QGIS: a layer with its index, styles of it and of one of ours, a project; and tables."""
    notes = geopandas.GeoDataFrame(
        {"text": ["ask", "seen"]}, geometry=[shapely.Point(1, 2), shapely.Point(3, 4)]
    )
    notes.set_crs("EPSG:4326").to_file(out, layer="my_notes", driver="GPKG")
    style = "INSERT INTO layer_styles (f_table_name, f_geometry_column, styleName, styleQML, useAsDefault) VALUES "
    texts = "f_table_catalog f_table_schema f_table_name f_geometry_column styleName styleQML styleSLD description"
    columns = ", ".join(
        [*(f"{name} TEXT" for name in texts.split()), "useAsDefault BOOLEAN, update_time DATETIME"]
    )
    with closing(sqlite3.connect(out)) as database, database:
        database.execute(f"CREATE TABLE IF NOT EXISTS layer_styles (id INTEGER PRIMARY KEY, {columns})")
        for layer in ("my_notes", "anomalies"):
            database.execute(f"{style} (?, 'geom', 'mine', '<qgis/>', 1)", (layer,))
        database.execute(
            "CREATE TABLE IF NOT EXISTS qgis_projects (name TEXT PRIMARY KEY, metadata BLOB, content BLOB)"
        )
        database.execute(
            "INSERT OR REPLACE INTO qgis_projects VALUES ('out', '{\"last_modified_user\": \"me\"}', 'ab')"
        )
        database.execute("CREATE TABLE plain (a BLOB)")
        database.execute("INSERT INTO plain VALUES (x'00ff')")
        database.execute("CREATE VIEW few AS SELECT * FROM plain")


def of_others(out: Path) -> dict[str, object]:
    """All that `add_notes` added, as it is read by GDAL and by SQL."""
    box = pyogrio.read_dataframe(out, layer="my_notes", bbox=(0, 0, 2, 3))
    with closing(sqlite3.connect(out)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = {
            sql: database.execute(sql).fetchall()
            for sql in (
                "SELECT * FROM my_notes",
                "SELECT * FROM few",
                "SELECT table_name, data_type, srs_id FROM gpkg_contents WHERE table_name = 'my_notes'",
                "SELECT * FROM gpkg_extensions WHERE table_name = 'my_notes'",
                "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'my_notes'",
                "SELECT f_table_name, styleQML FROM layer_styles WHERE styleName = 'mine' ORDER BY 1",
                "SELECT * FROM qgis_projects",
            )
        }
    return rows | {"box": box["text"].tolist(), "crs": box.crs}


FOREIGN = ("few", "my_notes", "plain", "style mine of anomalies", "style mine of my_notes", "project out")


@pytest.mark.parametrize("whose", ["result", "project"])
def test_what_others_put_into_the_file_stays(tmp_path: Path, whose: str) -> None:
    out, fresh = tmp_path / "out.gpkg", tmp_path / "fresh.gpkg"
    gpkg.write(fresh, "out.gpkg", [in_a_row(3)], CREATED)
    if whose == "result":
        gpkg.write(out, out.name, [in_a_row()], CREATED)
    add_notes(out)
    if whose == "result":
        review(out, "north-5")
    before = of_others(out)
    for _ in range(2):
        kept = replaced(out, in_a_row(3))
        assert sorted(kept.foreign) == sorted(FOREIGN) and of_others(out) == before
    for name in ("anomalies", "tiles", "scenes"):
        ours, alone = (geopandas.read_file(path, layer=name) for path in (out, fresh))
        assert ours.equals(alone), name
    with closing(sqlite3.connect(out)) as database:
        styles = database.execute(
            "SELECT f_table_name, styleName FROM layer_styles WHERE useAsDefault"
        ).fetchall()
    assert sorted(styles) == [
        ("anomalies", "mine"), ("my_notes", "mine"), ("scenes", "scenes"), ("tiles", "tiles")
    ]  # fmt: skip
    assert (kept.carried is not None) and len(kept.carried.lost) == (whose == "result")
    assert ("reviewed_before" in geopandas.list_layers(out)["name"].tolist()) == (whose == "result")


def test_what_others_change_until_the_last_moment_stays(tmp_path: Path) -> None:
    out = tmp_path / "out.gpkg"
    gpkg.write(out, out.name, [in_a_row()], CREATED)
    add_notes(out)
    with staging(out) as folder, Earlier(out) as before:
        draft = folder / out.name
        earlier.write_over(gpkg.write, draft, before, [in_a_row()], CREATED, None)
        change(out, "UPDATE my_notes SET text = 'late'")
        with before.hold(overwrite=True):
            assert before.is_stale
            earlier.write_over(gpkg.write, draft, before, [in_a_row()], CREATED, None)
            publish(draft, out)
    assert set(geopandas.read_file(out, layer="my_notes")["text"]) == {"late"}


def test_a_result_alone_holds_nothing_foreign_and_is_written_anew(tmp_path: Path) -> None:
    out, fresh = tmp_path / "out.gpkg", tmp_path / "fresh.gpkg"
    for path in (out, fresh):
        gpkg.write(path, "out.gpkg", [in_a_row()], CREATED)
    assert replaced(out, in_a_row()).foreign == () and out.read_bytes() == fresh.read_bytes()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("CREATE TABLE tiles (a)", "has a layer tiles that satae did not write"),
        ("CREATE TABLE Scenes (scene, path, bands, model_sha256)", "has a layer Scenes that"),
        ("CREATE VIEW anomalies AS SELECT 1", "has a layer anomalies that satae did not write"),
    ],
)
def test_a_name_that_is_taken_is_refused(tmp_path: Path, sql: str, said: str) -> None:
    out = tmp_path / "project.gpkg"
    roads = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326")
    roads.to_file(out, layer="roads", driver="GPKG")
    change(out, sql)
    with Earlier(out) as before, pytest.raises(OutputError, match=said):
        before.check(None)


def test_other_databases_and_layers_of_others_are_not_replaced(tmp_path: Path) -> None:
    roads = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326")
    roads.to_file(tmp_path / "roads.geojson", driver="GeoJSON")
    with (
        Earlier(tmp_path / "roads.geojson") as before,
        pytest.raises(OutputError, match="a layer that satae did not"),
    ):
        before.check(None)
    change(tmp_path / "plain.gpkg", "CREATE TABLE t (a TEXT)")
    with (
        Earlier(tmp_path / "plain.gpkg") as before,
        pytest.raises(OutputError, match=r"did not write \(table t\)"),
    ):
        before.check(None)


def test_a_clock_that_goes_backwards_loses_nothing(tmp_path: Path) -> None:
    """The older result is of the year 2099, and what is written to it then leaves the time of the file as it was."""
    out, late = tmp_path / "out.gpkg", 4_080_000_000_000_000_000
    gpkg.write(out, out.name, [in_a_row()], "2099-04-16T21:20:00Z")
    review(out, "north-0")
    os.utime(out, ns=(late, late))
    with staging(out) as folder, Earlier(out) as before:
        draft = folder / out.name
        earlier.write_over(gpkg.write, draft, before, [in_a_row()], CREATED, None)
        review(out, "north-1", review_status="rejected")
        os.utime(out, ns=(late, late))
        with before.hold(overwrite=True):
            assert before.is_stale
            earlier.write_over(gpkg.write, draft, before, [in_a_row()], CREATED, None)
            publish(draft, out)
    assert [status for status, *_ in opinions(out)][:3] == ["accepted", "rejected", "unreviewed"]
    made = Review(out)
    seen = made.changes(0)[1][3].revision
    change(out, "UPDATE gpkg_contents SET last_change = '2099-01-01T00:00:00.000Z'")
    made.decide(3, Opinion("rejected"), seen=seen)
    made.close()
    assert opinions(out)[2][0] == "rejected"
