"""What somebody decided on an older result is in the one that takes its place."""

import sqlite3

import places
import pyogrio
import pytest

from satae.errors import OutputError
from satae.review.opinions import Opinion
from satae.review.store import Review


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
    places.scored(tmp_path, overwrite=True, least=2)
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
