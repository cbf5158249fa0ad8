"""What somebody decided on an older result is in the one that takes its place."""

import sqlite3
from contextlib import closing

import places
import pyogrio
import pytest

from satae.decisions import earlier
from satae.errors import OutputError
from satae.review.opinions import Opinion
from satae.review.store import Review
from satae.series import outputs


def decide(out, *opinions):
    opened = Review(out, "ann")
    for row, opinion in zip(opened.regions, opinions, strict=False):
        opened.decide(row["fid"], opinion, seen=opened.entry(row["fid"]).revision)
    opened.close()


def said(out, layer="changes"):
    frame = pyogrio.read_dataframe(out, layer=layer)
    names = ["review_status", "review_note", "review_by"]
    return {tuple(p.bounds): tuple(v) for p, v in zip(frame.geometry, frame[names].to_numpy(), strict=True)}


def test_decisions_go_over_to_a_new_result_of_the_same_place(tmp_path):
    out = places.scored(tmp_path)
    decide(out, Opinion("accepted", "", "a clearing"), Opinion("unreviewed", "", "look again"))
    before = said(out)
    assert ("accepted", "a clearing", "ann") in before.values()
    # by another threshold, so that outlines are not quite the same
    places.scored(tmp_path, overwrite=True, far=300.0)
    after = said(out)
    assert before.keys() != after.keys()
    assert {v for v in before.values() if v[2]} <= set(after.values())
    assert "reviewed_before" not in pyogrio.list_layers(out)[:, 0]


def test_what_is_not_found_again_is_kept_in_a_layer_and_comes_back(tmp_path):
    out = places.scored(tmp_path)
    decide(out, Opinion("rejected", "", "a shadow"))
    places.scored(tmp_path, overwrite=True, least=1000)
    assert said(out) == {}
    ((kept),) = said(out, "reviewed_before").values()
    assert kept == ("rejected", "a shadow", "ann")
    places.scored(tmp_path, overwrite=True, least=1000)
    assert len(said(out, "reviewed_before")) == 1
    places.scored(tmp_path, overwrite=True)
    assert ("rejected", "a shadow", "ann") in said(out).values()
    assert "reviewed_before" not in pyogrio.list_layers(out)[:, 0]


def test_a_file_that_cannot_be_read_is_not_replaced(tmp_path):
    out = places.scored(tmp_path)
    whole = out.read_bytes()
    with sqlite3.connect(out) as database:
        ((root,),) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'changes'").fetchall()
        ((size,),) = database.execute("PRAGMA page_size").fetchall()
    database.close()
    out.write_bytes(whole[: (root - 1) * size] + b"\xff" * size + whole[root * size :])
    damaged = out.read_bytes()
    with pytest.raises(OutputError, match="cannot be read"):
        places.scored(tmp_path, overwrite=True)
    assert out.read_bytes() == damaged


def test_a_decision_made_while_the_new_result_is_written_is_in_it(tmp_path, monkeypatch):
    out, finish, calls = places.scored(tmp_path), outputs.finish, []

    def decided(*args):
        remarks = finish(*args)
        if not calls:  # after decisions were read, before the new result takes its place
            decide(out, Opinion("accepted", "", "just now"))
        calls.append(remarks)
        return remarks

    monkeypatch.setattr(outputs, "finish", decided)
    places.scored(tmp_path, overwrite=True)
    assert ("accepted", "just now", "ann") in said(out).values()
    assert len(calls) == 2
    # and nobody writes again where nobody decided
    places.scored(tmp_path, overwrite=True)
    assert len(calls) == 3


def test_a_result_that_another_program_keeps_locked_is_not_replaced(tmp_path, monkeypatch):
    out = places.scored(tmp_path)
    monkeypatch.setattr(earlier, "PATIENCE", 0.05)
    with closing(sqlite3.connect(out, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        before = out.read_bytes()
        with pytest.raises(OutputError, match="is open in another program, which keeps it locked"):
            places.scored(tmp_path, overwrite=True)
    assert out.read_bytes() == before
