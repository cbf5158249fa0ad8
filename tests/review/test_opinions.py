"""Who said what and when of a region, and which names the keys have: both are kept in the file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyogrio
from results import change

from satae.review.opinions import Opinion
from satae.review.store import Review

YES, NO = Opinion("accepted", "ship", "seen"), Opinion("rejected")


def latest(opened: Review, fid: int) -> int:
    return opened.changes(0)[1][fid].revision


def test_who_decided_and_when_is_kept_and_an_undone_decision_is_nobodys(gpkg: Path) -> None:
    change(gpkg, "ALTER TABLE anomalies DROP COLUMN review_by")  # a result of before
    with closing(Review(gpkg, "Ana")) as review:
        entry = review.decide(1, YES, seen=latest(review, 1))
        assert entry.by == "Ana" and abs(age(entry.time)) < 60
        with closing(Review(gpkg, "Ben")) as other:
            assert other.changes(0)[1][1].by == "Ana"
            other.decide(1, NO, seen=latest(other, 1))
        assert review.changes(entry.revision)[1][1].by == "Ben"
        review.decide(2, YES, seen=latest(review, 2))
        review.decide(2, Opinion(), seen=latest(review, 2))
    with closing(sqlite3.connect(gpkg)) as database:
        found = database.execute("SELECT review_by, review_time FROM anomalies ORDER BY rank").fetchall()
    assert found[0][0] == "Ben" and abs(age(found[0][1])) < 60 and found[1] == ("", "")


def age(time: str) -> float:
    """Seconds since a moment of UTC."""
    assert time.endswith("Z")
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()


def test_the_file_remembers_the_names_of_the_keys(gpkg: Path) -> None:
    usual = ("ship", "roof")
    with closing(Review(gpkg)) as review:
        assert review.labels(None, usual) == usual
        assert review.labels(("oil", "wake"), usual) == ("oil", "wake")
    with closing(Review(gpkg)) as review:
        assert review.labels(None, usual) == ("oil", "wake")
    change(gpkg, "UPDATE satae_labels SET name = 'a,a'")  # of another program's making
    with closing(Review(gpkg)) as review:
        assert review.labels(None, usual) == usual
    assert sorted(pyogrio.list_layers(gpkg)[:, 0]) == ["anomalies", "layer_styles", "scenes", "tiles"]
