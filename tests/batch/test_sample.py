"""Which scenes of a list one model learns from: those that fit most of the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from commands import refused, typed
from crowds import crowd, inline

from satae.batch import sample
from satae.batch.sets import Member, Sets
from satae.batch.task import Request
from satae.errors import SceneError
from satae.tiles.cut import Cut
from satae.tiles.store import TileSet, load

QUICK = ("--set", "model.name=rx_shrunk", "--device", "cpu")


def rewritten(source: Path, target: Path, *, bands: int = 4, dtype: str = "uint16") -> None:
    """A scene with its first bands alone, in another type."""
    with rasterio.open(source) as scene:
        profile = scene.profile | {"count": bands, "dtype": dtype}
        pixels = scene.read(list(range(1, bands + 1))).astype(dtype)
    with rasterio.open(target, "w", **profile) as out:
        out.write(pixels)


def made(folder: Path, inside: Path, *names: str) -> tuple[list[Member], dict[str, TileSet]]:
    scenes = [Member((str(inside / f"{n}.tif"),), n, Request()) for n in names]
    folder.mkdir(exist_ok=True)
    sets = Sets(folder, Cut(16, sample=4))
    return scenes, {scene.name: sets.make(scene) for scene in scenes}


def test_a_scene_that_does_not_fit_is_named_and_left_out_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside = crowd(tmp_path, 4)
    # the first by name, to which others are no measure
    rewritten(inside / "s0.tif", inside / "a.tif", bands=3)
    rewritten(inside / "s1.tif", inside / "b.tif", dtype="float32")
    Path("list.txt").write_text("".join(f"in/{n}.tif\n" for n in ("a", "s2", "b", "s3", "s0", "s1")))
    done = typed("train", "list.txt", "--sample", 4, *QUICK, "--json")
    assert done.exit_code == 4, done.stderr
    said = json.loads(done.stdout)["scenes"]
    reasons = {f["name"]: f["reason"] for f in said["failures"]}
    assert [u["name"] for u in said["used"]] == ["s0", "s1", "s2", "s3"] and set(reasons) == {"a", "b"}
    assert "in/a.tif has 3 bands and not 4 as most scenes of the list have" in reasons["a"]
    assert "in/b.tif has dtype float32 and not uint16" in reasons["b"]


def test_without_a_model_run_leaves_a_scene_out_too_and_says_when_a_list_makes_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inline(monkeypatch)
    inside = crowd(tmp_path, 4)
    last = (inside / "s3.tif").rename(tmp_path / "s3.tif")
    rewritten(inside / "s0.tif", inside / "a.tif", bands=3)
    line = ("run", inside, "--out", tmp_path / "out", "--top", 1, *QUICK)
    done = typed(*line)
    assert done.exit_code == 4 and "another model" not in done.stderr
    assert (
        "a.tif has 3 bands and not 4" in done.stderr and len(list((tmp_path / "out/scenes").iterdir())) == 3
    )
    assert "another model" not in typed(*line).stderr
    last.rename(inside / "s3.tif")
    done = typed(*line, "--json")
    assert "another model is made" in done.stderr and json.loads(done.stdout)["scored"] == 4


def test_wavelengths_count_and_without_a_majority_nobody_is_left_out(tmp_path: Path) -> None:
    inside = crowd(tmp_path, 3)
    scenes, sets = made(tmp_path / "tiles", inside, "s0", "s1", "s2")

    def known(name: str, first: float | None) -> TileSet:
        waves = None if first is None else [first, 560.0, 665.0, 842.0]
        path = sets[name].path / "tileset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"wavelengths": waves}))
        return load(sets[name].path)

    # a set of before, that says none, fits any
    changed = {"s0": known("s0", None), "s1": known("s1", 490), "s2": known("s2", 443)}
    fitting, others = sample.alike(scenes, changed)
    assert [s.path.name for s in fitting] == ["s0", "s1"]
    assert "s2.tif has wavelength 443.0 and not 490.0 in its band 1" in others["s2"]
    with pytest.raises(
        SceneError, match=r"s2\.tif has wavelength 443.0 and not 490.0 in its band 1 as .*s1\.tif has"
    ):
        sample.alike(scenes, {n: changed[n] for n in ("s1", "s2")})


def test_a_list_of_two_kinds_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside = crowd(tmp_path, 1)
    rewritten(inside / "s0.tif", inside / "a.tif", bands=3)
    assert "list those that belong together" in refused(2, "train", "in", *QUICK)


def test_training_in_a_process_of_its_own_is_heard_on_the_terminal(here: Path, scene_path: Path) -> None:
    words = [sys.executable, "-m", "satae", "run", str(scene_path), "--set", "model.name=rx"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=here)
    assert done.returncode == 0, done.stderr
    told = [line.split(" [")[0].split("  ")[0] for line in done.stderr.splitlines()]
    assert "train" in told and told.index("train") < told.index("score")
    assert done.stdout.startswith("scenes: 1 scene scored, 0 before\n")
