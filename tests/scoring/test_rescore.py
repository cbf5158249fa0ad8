"""Scoring again after a review: what the analyst wrote is there again, ranks heed it, and nothing disappears."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from commands import halfway, refused, started, told, typed
from results import review
from scenes import UTM
from scored import layer, pixels, run

from satae.decisions import decisions, earlier
from satae.decisions.preference import STRENGTH, PreferenceCounts
from satae.demo import synthetic
from satae.errors import OutputError
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring import run as scoring
from satae.scoring import summary
from satae.scoring.rule import Threshold
from satae.scoring.run import Result

LOW, HIGH = Threshold(2.0), Threshold(2.6)


@pytest.fixture
def scored(scene_path: Path, model: runtime.Model, tmp_path: Path) -> Result:
    """A result of its own for each test, with ten regions or more."""
    result = run(tmp_path, model, describe([scene_path]), rule=LOW, chips=0)
    assert len(layer(result)) > 10
    return result


def again(scored: Result, scene_path: Path, model: runtime.Model, **options: Any) -> Result:
    how = {"rule": LOW, "chips": 0, "overwrite": True} | options
    return run(scored.out.parent, model, describe([scene_path]), **how)


def statuses(result: Result, name: str = "anomalies") -> dict[str, str]:
    frame = layer(result, name)
    reviewed = frame[frame["review_status"] != "unreviewed"]
    return dict(zip(reviewed["anomaly_id"], reviewed["review_status"], strict=True))


def test_reviewed_rows_survive_a_new_score_over_the_same_output(
    scored: Result, scene_path: Path, model: runtime.Model
) -> None:
    first, last = layer(scored)["anomaly_id"].iloc[[0, -1]]
    review(scored.out, first, review_status="accepted", review_label="ship", review_note="ask again")
    review(scored.out, last, review_status="rejected")
    result = again(scored, scene_path, model)
    frame = layer(result).set_index("anomaly_id")
    assert statuses(result) == {first: "accepted", last: "rejected"}
    assert frame.loc[first, ["review_label", "review_note"]].tolist() == ["ship", "ask again"]
    assert frame.index.tolist() == layer(result)["anomaly_id"].tolist()  # ranks as before
    assert f"{result.out}: 2 reviewed regions carried over" in summary.lines(result, "")
    assert summary.content(result, "")["carried"] == 2


def test_a_region_that_is_not_reported_any_more_is_kept_in_a_layer_and_named(
    scored: Result, scene_path: Path, model: runtime.Model
) -> None:
    first, last = layer(scored)["anomaly_id"].iloc[[0, -1]]
    before = layer(scored).set_index("anomaly_id").geometry[last]
    for name in (first, last):
        review(scored.out, name, review_status="rejected")
    less = again(scored, scene_path, model, rule=HIGH)
    assert (statuses(less), statuses(less, "reviewed_before")) == ({first: "rejected"}, {last: "rejected"})
    assert layer(less, "reviewed_before").geometry[0].equals(before)
    assert "1 reviewed region not found again, kept in layer reviewed_before" in summary.remarks(less)
    more = again(less, scene_path, model)
    assert statuses(more) == {first: "rejected", last: "rejected"}


def reviewed(scored: Result) -> decisions.Decisions:
    """Two regions accepted and two rejected."""
    for name, status in zip(
        layer(scored)["anomaly_id"].iloc[[4, 6, 0, 2]], ["accepted", "rejected"] * 2, strict=True
    ):
        review(scored.out, name, review_status=status)
    return decisions.read(scored.out)


def test_feedback_moves_ranks_and_nothing_else(
    scored: Result, scene_path: Path, model: runtime.Model
) -> None:
    feedback = reviewed(scored)
    plain, moved = layer(scored), layer(again(scored, scene_path, model, feedback=feedback))
    assert plain["feedback"].isna().all() and moved["feedback"].abs().between(0, 3 * STRENGTH).all()
    assert set(moved["anomaly_id"]) == set(plain["anomaly_id"])
    same = [c for c in plain.columns if c not in ("rank", "feedback", "review_status", "geometry")]
    one, other = (frame.set_index("anomaly_id", drop=False).sort_index()[same] for frame in (plain, moved))
    pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(other))
    key = moved["score"] + moved["feedback"]
    assert key.is_monotonic_decreasing and moved["rank"].tolist() == list(range(1, len(moved) + 1))
    feeling = moved.set_index("anomaly_id")["feedback"]
    for name, status in statuses(scored).items():
        assert (feeling[name] > 0) == (status == "accepted"), name


def test_a_file_without_decisions_is_told_and_moves_nothing(
    scored: Result, scene_path: Path, model: runtime.Model
) -> None:
    plain = layer(scored)["anomaly_id"].tolist()
    result = again(scored, scene_path, model, feedback=decisions.read(scored.out))
    said = "--feedback: no region in that file is accepted or rejected, so it moved no rank"
    assert [line for line in summary.remarks(result) if "--feedback" in line] == [said]
    assert not [line for line in summary.lines(result, "") if line.startswith("feedback")]
    assert layer(result)["anomaly_id"].tolist() == plain


def test_what_changed_rank_is_told_and_counted(
    scored: Result, scene_path: Path, model: runtime.Model
) -> None:
    feedback = reviewed(scored)
    before = layer(scored).set_index("anomaly_id")["rank"]
    result = again(scored, scene_path, model, feedback=feedback)
    after = layer(result).set_index("anomaly_id")["rank"]
    changed = int((after != before[after.index]).sum())
    assert result.preferred == PreferenceCounts(2, 2, 0, changed) and changed > 0
    said = f"feedback of 2 accepted and 2 rejected: {changed} of {len(after)} anomalies changed rank, none is left out"
    assert said in summary.lines(result, "")
    assert summary.content(result, "")["feedback"] == {
        "accepted": 2,
        "rejected": 2,
        "unusable": 0,
        "moved": changed,
    }


def test_feedback_goes_with_the_regions_to_another_result(
    scored: Result, scene_path: Path, model: runtime.Model
) -> None:
    feedback = reviewed(scored)
    other = run(
        scored.out.parent, model, describe([scene_path]), name="other.gpkg", rule=LOW, feedback=feedback
    )
    assert statuses(other) == statuses(scored) and other.carried is None
    undone = next(iter(statuses(scored)))
    review(scored.out, undone, review_status="unreviewed")
    assert undone not in statuses(again(scored, scene_path, model, feedback=feedback))


def test_signatures_say_what_a_region_looks_like(scored: Result, landscape: synthetic.Synthetic) -> None:
    """Recomputed from the pixels: means of the region less medians of a ring of discs, which are then given."""
    image, valid = landscape.image.astype(float), landscape.valid
    for row in layer(scored).itertuples():
        held = pixels(row.geometry, UTM, valid.shape)
        near, far = (
            cv2.dilate(held.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (s, s))) > 0
            for s in (5, 21)
        )
        ring = image[:, far & ~near & valid]
        around = np.median(ring, axis=1)
        rough = np.abs(ring - around[:, None]).mean()
        expected = [*(image[:, held].mean(axis=1) - around), *around, rough]
        assert np.allclose(json.loads(row.signature), expected, rtol=1e-5)


def test_a_killed_score_leaves_the_older_file_with_its_decisions(
    scored: Result, scene_path: Path, model_path: Path, make_scene: Any
) -> None:
    folder, (first, *_) = scored.out.parent, layer(scored)["anomaly_id"]
    review(scored.out, first, review_status="accepted")
    before = scored.out.read_bytes()
    image = np.random.default_rng(0).integers(300, 3000, (4, 1200, 1200)).astype("uint16")
    large = make_scene(image, name="land.tif", tiled=True, blockxsize=256, blockysize=256)
    words = (
        "score",
        large,
        "--model",
        model_path,
        "--out",
        scored.out.name,
        "--overwrite",
        "--feedback",
        scored.out,
    )
    process = started(folder, *words, ready=halfway(folder))
    process.kill()
    process.communicate()
    assert scored.out.read_bytes() == before and statuses(scored) == {first: "accepted"}


def test_a_file_that_is_opened_while_its_scene_is_scored_is_not_replaced(
    scored: Result, scene_path: Path, model: runtime.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write = scored.out.read_bytes(), earlier.write_over
    side = scored.out.with_name(f"{scored.out.name}-wal")

    def opened(*args: Any) -> Any:
        side.touch()
        return write(*args)

    monkeypatch.setattr(scoring.earlier, "write_over", opened)
    with pytest.raises(OutputError, match="open in another program"):
        again(scored, scene_path, model)
    assert scored.out.read_bytes() == before


def test_the_option_as_it_is_typed(
    scored: Result, scene_path: Path, model_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(scored.out.parent)
    first = layer(scored)["anomaly_id"].iloc[0]
    review(scored.out, first, review_status="rejected")
    words = ("score", scene_path, "--model", model_path, "--threshold", 2, "--out", "out.gpkg", "--chips", 0)
    found = told(*words, "--overwrite", "--feedback", "out.gpkg")
    assert found["feedback"]["rejected"] == found["carried"] == 1 and found["kept"] == 0
    assert "changed rank" in typed(*words, "--overwrite", "--feedback", "out.gpkg").stdout
    assert "none.gpkg does not exist" in refused(2, *words, "--overwrite", "--feedback", "none.gpkg")


def test_train_says_what_it_made_of_decisions(
    scored: Result, tile_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scored.out.parent)
    names = layer(scored)["anomaly_id"].iloc[:2]
    for name, status in zip(names, ["accepted", "rejected"], strict=True):
        review(scored.out, name, review_status=status)
    words = ("train", tile_set, "--feedback", "out.gpkg", "--epochs", 1, "--set", "model.name=conv")
    small = ("--set", "train.min_steps=1", "--set", "model.params.width=4")
    found = told(*words, *small)["feedback"]
    assert (found["accepted"], found["rejected"], found["elsewhere"]) == (1, 1, 0) and found[
        "normal_tiles"
    ] >= 1
    assert (
        "feedback: 1 accepted region left out, 1 rejected region in"
        in typed(*words, *small, "--overwrite").stdout
    )


def test_decisions_can_be_read_while_another_program_has_the_file_open(scored: Result) -> None:
    review(scored.out, layer(scored)["anomaly_id"].iloc[0], review_status="accepted")
    with closing(sqlite3.connect(scored.out)) as database:
        database.execute("BEGIN")
        database.execute("SELECT count(*) FROM anomalies").fetchone()
        assert len(decisions.read(scored.out)) == 1
    assert not list(scored.out.parent.glob("*.gpkg-*"))
