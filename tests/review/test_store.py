"""Decisions in a GeoPackage: durable, never over what was not seen, beside other programs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from results import change, opinions, places

from satae.errors import OutputError, ResultError, SataeError
from satae.review import outlines, store
from satae.review.store import ConflictError, LockedError, Opinion, Review

YES, NO = Opinion("accepted", "ship", "seen"), Opinion("rejected")


@pytest.fixture
def opened(gpkg: Path) -> Iterator[Review]:
    made = Review(gpkg)
    yield made
    made.close()


def latest(opened: Review, fid: int) -> int:
    return opened.changes(0)[1][fid].revision


def test_a_decision_is_in_the_file_when_it_returns(opened: Review, gpkg: Path) -> None:
    opened.decide(2, YES, seen=latest(opened, 2))
    assert opinions(gpkg)[1] == ("accepted", "ship", "seen")
    assert opinions(gpkg)[0] == ("unreviewed", "", "")


def test_gdal_reads_what_was_decided_and_finds_the_layer_as_it_was(opened: Review, gpkg: Path) -> None:
    before = geopandas.read_file(gpkg, layer="anomalies")
    opened.decide(3, NO, seen=latest(opened, 3))
    after = geopandas.read_file(gpkg, layer="anomalies")
    assert after["review_status"].tolist() == ["unreviewed"] * 2 + ["rejected"] + ["unreviewed"] * 3
    same = [c for c in before.columns if not c.startswith("review_")]
    assert after[same].equals(before[same])
    with closing(sqlite3.connect(gpkg)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (stamp,) = database.execute(
            "SELECT last_change FROM gpkg_contents WHERE table_name = 'anomalies'"
        ).fetchone()
        assert stamp > "2026-01-02T03:04:05.000Z"  # when it was written


def test_the_index_of_places_is_untouched(opened: Review, gpkg: Path) -> None:
    opened.decide(1, YES, seen=latest(opened, 1))
    row, col = places(1)[0]
    box = (500_000 + 10 * col + 1, 5_200_000 - 10 * row - 9, 500_000 + 10 * col + 9, 5_200_000 - 10 * row - 1)
    found = pyogrio.read_dataframe(gpkg, layer="anomalies", bbox=box)
    assert found["anomaly_id"].tolist() == ["scene-0"]


def test_regions_are_as_they_were_measured(opened: Review) -> None:
    assert [r["rank"] for r in opened.regions] == [1, 2, 3, 4, 5, 6]
    first = opened.regions[0]
    assert first["band_shares"] == {"red": 0.6, "nir": 0.4} and first["score"] == 9.0
    assert opened.scenes[0]["path"] == "scene.tif" and opened.crs == "EPSG:32632"


def test_outlines_are_those_that_gdal_reads(opened: Review, gpkg: Path) -> None:
    expected = geopandas.read_file(gpkg, layer="anomalies", fid_as_index=True).geometry
    assert {fid: shape.equals(expected[fid]) for fid, shape in opened.polygons.items()} == dict.fromkeys(
        expected.index, True
    )
    lines = outlines.outlines(opened.polygons, lambda xy: xy)
    assert all(shapely.Polygon(lines[fid][0][0]).equals(expected[fid].geoms[0]) for fid in expected.index)


def test_outlines_have_their_holes_and_parts_and_nothing_without_a_place() -> None:
    ring = shapely.box(0, 0, 9, 9).difference(shapely.box(3, 3, 5, 5))
    shapes = {
        7: shapely.MultiPolygon([ring, shapely.box(20, 0, 21, 1)]),
        9: shapely.Point(1, 1),
        4: shapely.box(90, 0, 91, 1),
    }
    found = outlines.outlines(shapes, lambda xy: np.where(xy[:, :1] > 80, np.nan, xy))
    assert list(found) == [7, 9, 4] and found[9] == found[4] == []
    again = shapely.MultiPolygon([(lines[0], lines[1:]) for lines in found[7]])
    assert again.equals(shapes[7]) and [len(lines) for lines in found[7]] == [2, 1]
    assert outlines.outlines({}, lambda xy: xy) == {}


def test_what_others_wrote_is_told_and_not_overwritten(opened: Review, gpkg: Path) -> None:
    seen = latest(opened, 1)
    change(gpkg, "UPDATE anomalies SET review_status = 'rejected' WHERE fid = 1")
    with pytest.raises(ConflictError, match="region 1 was changed elsewhere"):
        opened.decide(1, YES, seen=seen)
    assert opinions(gpkg)[0] == ("rejected", "", "")
    revision, changed = opened.changes(seen + 5)
    assert list(changed) == [1] and changed[1].opinion == NO
    opened.decide(1, YES, seen=revision)
    assert opinions(gpkg)[0] == ("accepted", "ship", "seen")


def test_changes_are_those_since_a_revision(opened: Review) -> None:
    revision, every = opened.changes(0)
    assert len(every) == 6 and opened.changes(revision) == (revision, {})
    entry = opened.decide(4, NO, seen=every[4].revision)
    assert opened.changes(revision) == (entry.revision, {4: entry})


def test_two_reviews_see_each_other(opened: Review, gpkg: Path) -> None:
    other = Review(gpkg)
    seen = latest(other, 5)
    opened.decide(5, YES, seen=latest(opened, 5))
    assert other.changes(seen)[1][5].opinion == YES
    other.close()


def test_back_and_forth_elsewhere_is_a_change_too(opened: Review) -> None:
    """An undo of the first decision must not take back the third, though both say the same."""
    first = opened.decide(1, YES, seen=latest(opened, 1))
    second = opened.decide(1, NO, seen=first.revision)
    opened.decide(1, YES, seen=second.revision)
    with pytest.raises(ConflictError):
        opened.decide(1, Opinion(), seen=first.revision)


def test_a_locked_file_is_a_sentence_and_can_be_tried_again(
    gpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    opened = Review(gpkg)
    seen = latest(opened, 1)
    with closing(sqlite3.connect(gpkg, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LockedError, match=r"anomalies.gpkg is locked by another program"):
            opened.decide(1, YES, seen=seen)
        database.execute("ROLLBACK")
    opened.decide(1, YES, seen=seen)
    opened.close()
    assert opinions(gpkg)[0][0] == "accepted"


def test_a_short_lock_is_waited_for(opened: Review, gpkg: Path) -> None:
    seen = latest(opened, 1)
    database = sqlite3.connect(gpkg, isolation_level=None, check_same_thread=False)
    database.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: database.execute("COMMIT"))
    timer.start()
    opened.decide(1, YES, seen=seen)
    timer.join()
    database.close()
    assert opinions(gpkg)[0][0] == "accepted"


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_an_open_reader_is_not_disturbed(gpkg: Path, mode: str) -> None:
    """QGIS keeps the file open, in WAL mode where it may."""
    with closing(sqlite3.connect(gpkg)) as reader:
        reader.execute(f"PRAGMA journal_mode = {mode}").fetchall()
        reader.execute("SELECT count(*) FROM anomalies").fetchall()
        opened = Review(gpkg)
        opened.decide(1, YES, seen=latest(opened, 1))
        assert reader.execute("SELECT review_status FROM anomalies WHERE fid = 1").fetchone() == ("accepted",)
    opened.close()  # the last to leave
    assert list(gpkg.parent.glob("anomalies.gpkg?*")) == []
    with closing(sqlite3.connect(f"file:{gpkg}?mode=ro&immutable=1", uri=True)) as alone:
        assert alone.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert alone.execute("SELECT review_status FROM anomalies WHERE fid = 1").fetchone() == ("accepted",)


def test_a_decision_goes_into_the_result_that_took_the_place_of_the_one_opened(
    opened: Review, gpkg: Path, tmp_path: Path
) -> None:
    seen = latest(opened, 1)
    shutil.copy(gpkg, tmp_path / "newer.gpkg")
    change(tmp_path / "newer.gpkg", "DELETE FROM anomalies WHERE fid = 6")
    change(tmp_path / "newer.gpkg", "UPDATE anomalies SET fid = 100 - fid, rank = 10 - rank")
    os.replace(tmp_path / "newer.gpkg", gpkg)
    opened.decide(1, YES, seen=seen)
    assert opinions(gpkg) == [("unreviewed", "", "")] * 4 + [("accepted", "ship", "seen")]
    assert set(opened.changes(0)[1]) == {1, 2, 3, 4, 5}  # as the page knows them
    assert opened.decide(5, NO, seen=latest(opened, 5)).opinion == NO and opinions(gpkg)[0][0] == "rejected"
    with pytest.raises(ResultError, match="no region 6"):
        opened.decide(6, YES, seen=seen)


def test_a_file_that_was_moved_or_is_no_result_any_more_is_a_sentence(
    opened: Review, gpkg: Path, tmp_path: Path
) -> None:
    seen = latest(opened, 1)
    os.rename(gpkg, tmp_path / "older.gpkg")
    with pytest.raises(ResultError, match="was moved or replaced; run `satae review` again"):
        opened.decide(1, YES, seen=seen)
    with closing(sqlite3.connect(gpkg)) as database, database:
        database.execute("CREATE TABLE other (id)")
    for _ in range(2):
        with pytest.raises(ResultError, match="no layer anomalies"):
            opened.decide(1, YES, seen=seen)
    os.replace(tmp_path / "older.gpkg", gpkg)
    opened.decide(1, YES, seen=seen)
    assert opinions(gpkg)[0] == ("accepted", "ship", "seen")


@pytest.mark.parametrize(
    "does",
    [
        "UPDATE anomalies SET review_note = 'other' WHERE fid = NEW.fid",
        "DELETE FROM anomalies WHERE fid = NEW.fid",
        "SELECT RAISE(IGNORE)",
        "SELECT RAISE(ABORT, 'no')",
    ],
)
@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
def test_an_answer_means_that_the_row_was_read_back(gpkg: Path, does: str, when: str) -> None:
    change(gpkg, f"CREATE TRIGGER t {when} UPDATE OF review_status ON anomalies BEGIN {does}; END")
    opened = Review(gpkg)
    try:
        opened.decide(1, YES, seen=latest(opened, 1))
        assert opinions(gpkg)[0] == ("accepted", "ship", "seen")
    except ResultError as error:
        assert "\n" not in str(error) and opinions(gpkg)[0] == ("unreviewed", "", "")
    opened.close()


def test_what_a_trigger_changes_elsewhere_is_seen(gpkg: Path) -> None:
    rule = "AFTER UPDATE OF review_status ON anomalies WHEN NEW.fid = 1"
    change(gpkg, f"CREATE TRIGGER t {rule} BEGIN UPDATE anomalies SET review_note = 'x' WHERE fid = 2; END")
    opened = Review(gpkg)
    seen = opened.decide(1, YES, seen=latest(opened, 1)).revision
    assert {fid: e.opinion.note for fid, e in opened.changes(seen)[1].items()} == {2: "x"}
    opened.close()


def test_a_trigger_without_end_is_stopped(gpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LONGEST", 0.1)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    change(gpkg, f"CREATE TRIGGER t AFTER UPDATE OF review_status ON anomalies BEGIN {endless}; END")
    opened = Review(gpkg)
    with pytest.raises(ResultError, match="keeps busy"):
        opened.decide(1, YES, seen=latest(opened, 1))
    opened.close()
    assert opinions(gpkg)[0] == ("unreviewed", "", "")


def test_a_region_that_is_gone_is_refused(opened: Review, gpkg: Path) -> None:
    seen = latest(opened, 6)
    change(gpkg, "DROP TRIGGER IF EXISTS rtree_anomalies_geom_delete")
    change(gpkg, "DELETE FROM anomalies WHERE fid = 6")
    with pytest.raises(ConflictError, match="no longer in the file"):
        opened.decide(6, YES, seen=seen)
    opened.changes(0)
    with pytest.raises(ResultError, match="there is no region 6"):
        opened.decide(6, YES, seen=seen)


@pytest.mark.parametrize(
    ("opinion", "message"),
    [
        (Opinion("maybe"), "'maybe' is no status; there are unreviewed, accepted, rejected"),
        (Opinion(label="x" * 41), "a label is one line of at most 40"),
        (Opinion(label="a\nb"), "a label is one line"),
        (Opinion(note="x" * 2001), "a note is text of at most 2000"),
        (Opinion(note="a\0b"), "a note is text"),
    ],
)
def test_what_is_no_opinion_is_not_written(
    opened: Review, gpkg: Path, opinion: Opinion, message: str
) -> None:
    with pytest.raises(ResultError, match=message):
        opened.decide(1, opinion, seen=latest(opened, 1))
    assert opinions(gpkg)[0] == ("unreviewed", "", "")


def test_texts_come_back_letter_by_letter(opened: Review, gpkg: Path) -> None:
    note = "Ω '; DROP TABLE anomalies;-- \"\n<b>"
    opened.decide(1, Opinion("accepted", "läbel'", note), seen=latest(opened, 1))
    assert opinions(gpkg)[0] == ("accepted", "läbel'", note) and len(opinions(gpkg)) == 6


def test_an_older_result_is_given_the_column_of_labels_once(gpkg: Path) -> None:
    change(gpkg, "ALTER TABLE anomalies DROP COLUMN review_label")
    for _ in range(2):
        opened = Review(gpkg)
        opened.decide(1, YES, seen=latest(opened, 1))
        opened.close()
    assert opinions(gpkg)[0] == ("accepted", "ship", "seen")
    assert list(pyogrio.read_info(gpkg, layer="anomalies")["fields"]).count("review_label") == 1


def test_a_result_that_says_little_is_shown_as_far_as_it_goes(gpkg: Path) -> None:
    for column in ("baseline", "band_shares", "chip"):
        change(gpkg, f"ALTER TABLE anomalies DROP COLUMN {column}")
    change(gpkg, "UPDATE anomalies SET score = 'high', area_m2 = 9e999, rank = NULL WHERE fid = 1")
    change(gpkg, "DROP TABLE scenes")
    opened = Review(gpkg)
    last = opened.regions[-1]
    assert last["fid"] == 1 and last["score"] is last["area_m2"] is last["baseline"] is None
    assert last["band_shares"] == {} and [s["scene"] for s in opened.scenes] == ["scene"]
    opened.close()


@pytest.mark.parametrize(
    "text", ["[1]", "{", "[" * 100_000, '{"a": NaN, "b": "x", "c": true, "d": 1e999}', "null"]
)
def test_shares_that_are_none_are_left_out(gpkg: Path, text: str) -> None:
    change(gpkg, "UPDATE anomalies SET band_shares = ?", text)
    opened = Review(gpkg)
    assert opened.regions[0]["band_shares"] == {}
    opened.close()


@pytest.mark.parametrize("blob", [None, b"", b"GP", b"GP\0\xff" + bytes(60), b"GP\0\x01" + bytes(90), "text"])
def test_a_damaged_geometry_costs_only_its_outline(gpkg: Path, blob: object) -> None:
    with closing(sqlite3.connect(gpkg)) as database, database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE anomalies SET geom = ? WHERE fid = 2", (blob,))
    opened = Review(gpkg)
    assert sorted(opened.polygons) == [1, 3, 4, 5, 6]
    opened.decide(2, YES, seen=latest(opened, 2))
    opened.close()


def test_what_is_no_result_is_refused_in_a_sentence(tmp_path: Path, gpkg: Path) -> None:
    (tmp_path / "text.gpkg").write_text("no database")
    with closing(sqlite3.connect(tmp_path / "bare.gpkg")) as database, database:
        database.execute("CREATE TABLE other (id)")
    with closing(sqlite3.connect(tmp_path / "half.gpkg")) as database, database:
        database.execute("CREATE TABLE anomalies (fid INTEGER PRIMARY KEY, geom, rank, scene)")
    damaged = tmp_path / "damaged.gpkg"
    damaged.write_bytes(gpkg.read_bytes()[:5000])
    for name, message in {
        "absent.gpkg": "cannot be read: No such file",
        "scene.tif": "is no GeoPackage",
        "text.gpkg": "is no GeoPackage",
        "bare.gpkg": "has no layer anomalies",
        "half.gpkg": "has no column anomaly_id in its layer anomalies",
        "damaged.gpkg": "damaged.gpkg cannot be used",
    }.items():
        with pytest.raises(SataeError, match=message) as raised:
            Review(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_a_read_only_file_is_refused_before_any_decision(gpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # root may write everywhere
    with pytest.raises(OutputError, match="read-only"):
        Review(gpkg)


@pytest.mark.parametrize(
    ("text", "names"), [("ship, roof", ("ship", "roof")), (",".join("abcdefghi"), tuple("abcdefghi"))]
)
def test_labels_are_named_between_commas(text: str, names: tuple[str, ...]) -> None:
    assert store.label_names(text) == names


@pytest.mark.parametrize("text", ["", "a,,b", "a,a", ",".join("abcdefghij"), "x" * 41, "a\tb"])
def test_labels_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ResultError, match="label"):
        store.label_names(text)


def test_threads_lose_no_decision(opened: Review, gpkg: Path) -> None:
    def decide(fid: int) -> None:
        for number in range(10):
            opened.decide(fid, Opinion("accepted", note=str(number)), seen=latest(opened, fid))

    threads = [threading.Thread(target=decide, args=(fid,)) for fid in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opinions(gpkg) == [("accepted", "", "9")] * 6 and np.all(
        [latest(opened, f) > 6 for f in range(1, 7)]
    )
