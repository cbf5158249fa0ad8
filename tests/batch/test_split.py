"""A scene that is shared out in blocks of rows gives what it gives in one piece, whoever made the blocks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from crowds import about, diary, everything, heatmaps, inline, leftovers, ran, serial, whole
from orders import obedient, order
from shared import Shared

from satae.batch import backlog, places
from satae.batch.backlog import Backlog
from satae.batch.task import Means, Request, Task


def test_blocks_of_rows_give_every_file_as_one_scan_does(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    number = 2
    alone, out = whole(shared, model_path), tmp_path / "out"
    size = (alone / "in" / "tall.tif").stat().st_size
    result = ran(alone / "in", out, model_path, split=-(-size // number), jobs=2)
    assert (result.scored, result.failures) == (1, ())
    assert [said["state"] for said in diary(out)] == ["block"] * number + ["done"]
    assert everything(out) == everything(alone / "out") and about(out) == about(alone / "out")
    assert about(out)["row"]["anomalies"] > 0 and leftovers(out) == []  # type: ignore[index]
    again = ran(alone / "in", out, model_path, split=1 << 20)
    assert (again.before, again.scored, again.changed) == (1, 0, False)


def test_a_block_whose_process_is_killed_is_made_by_another(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, out = whole(shared, model_path), tmp_path / "out"
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    order(inside, tall=["", "kill"])
    size = (inside / "tall.tif").stat().st_size
    assert ran(inside, out, model_path, split=-(-size // 2)).scored == 1
    assert [said["state"] for said in diary(out)] == ["block", "again", "block", "done"]
    assert heatmaps(out) == heatmaps(alone / "out") and leftovers(out) == []


def test_blocks_that_are_there_are_kept_and_one_that_was_removed_is_made_again(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, out = whole(shared, model_path), tmp_path / "out"
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    inline(monkeypatch)
    size = (inside / "tall.tif").stat().st_size
    # all blocks are there, and what is made of them fails
    order(inside, tall=["", "", "", "bug"])
    result = ran(inside, out, model_path, split=-(-size // 3))
    assert result.scored == 0 and [f.code for f in result.failures] == [1]
    # the number of a folder that was removed may be given to the next one
    blocks = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in out.glob(".blocks/*/*")}
    assert len(blocks) == 3
    shutil.rmtree(gone := next(p for p in blocks if p.name == "1-of-3"))
    order(inside, tall=[""] * 7 + ["bug"])
    assert ran(inside, out, model_path, split=-(-size // 3)).scored == 0
    now = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in blocks}
    assert {p for p in blocks if now[p] != blocks[p]} == {gone}
    order(inside)
    assert ran(inside, out, model_path, split=-(-size // 3)).scored == 1
    assert heatmaps(out) == heatmaps(alone / "out") and leftovers(out) == []


def test_a_bad_block_ends_its_scene_and_no_other(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, out = whole(shared, model_path), tmp_path / "out"
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    inline(monkeypatch)
    (inside / "bad.tif").write_bytes(b"no image" * 1_000_000)
    result = ran(inside, out, model_path, split=2 << 20)
    assert result.scored == 1 and [(f.name, f.code) for f in result.failures] == [("bad", 2)]
    assert [said["state"] for said in diary(out) if said["name"] == "bad"] == ["failed"]
    assert leftovers(out) == []


def test_blocks_come_before_their_scene_and_it_before_others(tmp_path: Path) -> None:
    means = Means(tmp_path, tmp_path / "m.onnx", "")
    tasks = Backlog((Task(n, n, (n,), Request(), means, size) for n, size in (("a", 25), ("b", 5))), 10)
    blocks = [next(tasks) for _ in range(3)]
    assert [(t.key, t.block, t.blocks) for t in blocks] == [("a", i, 3) for i in range(3)]
    other = next(tasks)
    assert (other.key, other.blocks, next(tasks, None)) == ("b", 1, None)
    assert [tasks.over(t, good=True) for t in blocks] == [False] * 3
    scene = next(tasks)
    assert (scene.key, scene.block) == ("a", None) and tasks.over(scene, good=True)
    assert sum(t.size for t in (*blocks, scene)) == 25 and len({t.id for t in (*blocks, scene)}) == 4
    assert [backlog.count(n, 10) for n in (0, 10, 11)] == [1, 1, 2] and backlog.count(99, None) == 1


def test_blocks_of_runs_that_were_given_up_go_after_a_while(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, out = serial(shared, model_path), tmp_path / "out"
    inline(monkeypatch)
    for key in ("old", "new"):
        (out / places.BLOCKS / key).mkdir(parents=True)
    os.utime(out / places.BLOCKS / "old", (0, 0))
    ran(alone / "in" / "s0.tif", out, model_path)
    assert [p.name for p in (out / places.BLOCKS).iterdir()] == ["new"]
