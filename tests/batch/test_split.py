"""A scene that is shared out in blocks of rows gives what it gives in one piece, whoever made the blocks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from affine import Affine
from crowds import diary, everything, heatmaps, leftovers, ran
from orders import obedient, order
from shared import Shared

from satae.batch import backlog, places
from satae.batch.backlog import Backlog
from satae.batch.task import Means, Request, Task
from satae.demo import synthetic
from satae.grid import Grid
from satae.scene import output, raster

# two strips of 2 MB
ROWS, COLS = 830, 300


def tall(folder: Path) -> Path:
    """A scene of several strips, of which a part does not count, with something bright across two of them."""
    folder.mkdir()
    image = synthetic.scene(height=ROWS, width=COLS, seed=3).image.copy()
    image[:, 120:180, 40:90] = 0
    image[:, 762:774, 200:212] += 4000
    grid = Grid(ROWS, COLS, Affine(10, 0, 500_000, 0, -10, 5_200_000), raster.wkt("EPSG:32632"))
    with output.writing(folder / "tall.tif", grid, bands=4, dtype="uint16", nodata=0) as out:
        out.write(image, grid.window)
    return folder


def whole(shared: Shared, model: Path) -> Path:
    """A folder with the scene `in` and, in `out`, what a run makes of it in one piece."""

    def make(folder: Path) -> None:
        assert ran(tall(folder / "in"), folder / "out", model).failures == ()

    return shared.made("tall", make)


def about(out: Path) -> dict[str, object]:
    """What the finished folder says of itself, but for the time of scoring."""
    (path,) = out.glob("scenes/*/scene.json")
    said = json.loads(path.read_text())
    said["row"].pop("created")
    said.pop("files")
    said["row"].pop("path")
    return dict(said)


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


def test_a_block_whose_process_is_killed_is_made_by_another_and_what_is_there_is_kept(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, out = whole(shared, model_path), tmp_path / "out"
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    size = (inside / "tall.tif").stat().st_size
    # of the second block the process dies; at last all are there, and what is made of them fails
    order(inside, tall=["", "kill", "", "", "bug", "bug", "bug"])
    result = ran(inside, out, model_path, split=-(-size // 3))
    assert result.scored == 0 and [f.code for f in result.failures] == [1]
    assert len(list(out.glob(".blocks/*/*"))) == 3
    order(inside)
    shutil.rmtree(next(out.glob(".blocks/*/1-of-3")))
    assert ran(inside, out, model_path, split=-(-size // 3)).scored == 1
    assert heatmaps(out) == heatmaps(alone / "out") and leftovers(out) == []


def test_a_bad_block_ends_its_scene_and_no_other(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, out = tall(tmp_path / "in"), tmp_path / "out"
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
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    import os

    alone, out = whole(shared, model_path), tmp_path / "out"
    for key in ("old", "new"):
        (out / places.BLOCKS / key).mkdir(parents=True)
    os.utime(out / places.BLOCKS / "old", (0, 0))
    ran(alone / "in", out, model_path)
    assert [p.name for p in (out / places.BLOCKS).iterdir()] == ["new"]
