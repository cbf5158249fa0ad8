"""Scenes that a list names as tile sets to learn from: a bounded sample, cut once, and nothing of others replaced."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import refused, typed
from crowds import crowd

from satae.batch import sample
from satae.batch.manifest import Entry, entries, names_scenes
from satae.batch.sets import KNOWN, Member, Sets
from satae.batch.task import Request
from satae.cli import train
from satae.config import Recipe
from satae.console import SILENT
from satae.errors import ConfigError, OutputError, SceneError, TilesError
from satae.scene.describe import describe
from satae.scene.scene import Limits
from satae.scoring.rule import Top
from satae.tiles import cut as cutting
from satae.tiles.cut import Cut
from satae.tiles.store import TileSet, load, load_all

SMALL = Cut(16, sample=6)


def members(inside: Path, *names: str) -> list[Member]:
    return [Member((str(inside / f"{n}.tif"),), n, Request()) for n in names]


def cut(inside: Path, name: str, target: Path, how: Cut = SMALL) -> TileSet:
    """The tile set of a scene as `satae tile` makes it of that file."""
    target.parent.mkdir(exist_ok=True)
    return cutting.cut(describe([inside / f"{name}.tif"]), target, how)


def age(folder: Path) -> int:
    return (folder / "tileset.json").stat().st_mtime_ns


def test_lists_of_scenes_and_of_tile_sets_are_told_apart_by_what_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside = crowd(tmp_path, 2)
    for name in ("a", "b"):
        cut(inside, "s0", tmp_path / name)
    (tmp_path / "empty").mkdir()
    lists = {
        "sets": "# two\na\nb\n",
        "scenes": "in/s0.tif\nin/s1.tif\n",
        "late": "no.tif\nin/s1.tif\n",
        "links": "https://a/b.tif",
    }
    mixed = {"first": "a\nin/s0.tif\n", "last": "in/s0.tif\na\n"}
    absent = {"none": "no.tif\n", "some": "a\nno.tif\n"}
    for name, text in (lists | mixed | absent).items():
        Path(f"{name}.txt").write_text(text)
    Path("table.csv").write_text("path\nin/s0.tif\n")
    for name in ("scenes.txt", "late.txt", "links.txt", "in", "in/*.tif", "table.csv"):
        assert names_scenes([name]), name
    for name in ("sets.txt", "a", ".", "?", "empty", "nowhere", "in/s0.tif"):
        assert not names_scenes([name]), name
    with pytest.raises(ConfigError, match=r"in names scenes and sets\.txt tile sets"):
        names_scenes(["in", "sets.txt"])
    # in one list, whichever comes first; a line that names nothing is told of, and not passed over
    for name in mixed:
        said = refused(2, "train", f"{name}.txt")
        assert f"{name}.txt names scenes and tile sets, such as in/s0.tif and a" in said
    for name in absent:
        assert f"no.tif, which {name}.txt names, does not exist" in refused(2, "train", f"{name}.txt")
    with pytest.raises(TilesError, match=r"no tile set in in/s0\.tif"):
        load_all([Path("first.txt")])


def test_a_set_is_cut_once_and_again_when_its_scene_or_the_way_of_cutting_is_another(tmp_path: Path) -> None:
    inside, folder = crowd(tmp_path, 1), tmp_path / "tiles"
    folder.mkdir()
    (scene,) = members(inside, "s0")
    made = Sets(folder, SMALL).make(scene)
    own = cut(inside, "s0", tmp_path / "other")
    assert (
        len(made) == 6 and np.array_equal(made.images, own.images) and np.array_equal(made.index, own.index)
    )
    before = age(made.path)
    # neither what is asked of its score nor threads have a part in it
    same = Member(scene.paths, "s0", Request(rule=Top(1), chips=0))
    assert age(Sets(folder, Cut(16, sample=6, workers=1)).make(same).path) == before
    # a torn last line is that of a kill
    with (folder / KNOWN).open("ab") as file:
        file.write(b'\n{"name": "s0", "ke')
    Sets(folder, SMALL).check([scene])
    others = [
        (Member(scene.paths, "s0", Request(bands=(1, 2))), SMALL),
        (Member(scene.paths, "s0", Request(limits=Limits(nodata=7))), SMALL),
        (scene, Cut(16, sample=5)),
        (scene, Cut(16)),
    ]
    for member, how in others:
        with pytest.raises(OutputError, match="s0 exists"):
            Sets(folder, how).check([member])
        new = Sets(folder, how, overwrite=True)
        new.check([member])
        assert age(new.make(member).path) != before
        before = age(folder / "s0")
        assert age(new.make(member).path) == before
    os.utime(inside / "s0.tif", (1, 1))
    assert not Sets(folder, Cut(16)).holds(scene)


def test_a_kill_leaves_sets_that_are_known_and_what_others_cut_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, folder = crowd(tmp_path, 2), tmp_path / "tiles"
    folder.mkdir()
    first, second = members(inside, "s0", "s1")
    cut(inside, "s1", folder / "s1")
    note = Sets._note
    # as where it is killed once a set has its name
    monkeypatch.setattr(Sets, "_note", lambda own, *said: own.known or note(own, *said))
    Sets(folder, SMALL).make(first)
    monkeypatch.undo()
    before = age(folder / "s0")
    assert age(Sets(folder, SMALL).make(first).path) == before
    with pytest.raises(OutputError, match="s1 exists"):
        Sets(folder, SMALL).check([first, second])
    # one that was cut in another way since, by another command
    shutil.rmtree(folder / "s0")
    cut(inside, "s0", folder / "s0", Cut(32))
    assert not Sets(folder, SMALL).holds(first)
    # of a set that is replaced the old one never goes by the new key
    monkeypatch.setattr("satae.batch.sets.cut", lambda *given, **more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Sets(folder, Cut(32), overwrite=True).make(first)
    assert not Sets(folder, Cut(32)).holds(first)


def test_scenes_are_chosen_by_a_hash_of_their_names_whatever_the_order_of_the_list() -> None:
    names = [f"{month:02}-{place}" for month in range(12) for place in "abcdefgh"]
    listed = [Entry((f"/x/{name}.tif",), name) for name in names]
    chosen, total = sample.choose(iter(listed), lambda row: Request())
    assert total == 96 and len(chosen) == sample.SCENES
    ranks = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert [c.name for c in chosen] == sorted(ranks[: sample.SCENES])
    assert sample.choose(listed[::-1], lambda row: Request())[0] == chosen
    assert len({c.name[:2] for c in chosen}) > 6  # months
    # of several scenes a part is cut, of a single one all, as `satae tile` does
    recipe = Recipe()
    assert [sample.cut_of(recipe, n, 1).sample for n in (1, 2)] == [None, sample.MOST]


def test_a_list_of_scenes_is_trained_on_and_it_is_said_what_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside = crowd(tmp_path, 3)
    monkeypatch.setattr(sample, "SCENES", 3)
    (inside / "bad.tif").write_text("junk")
    names = ["s0", "s1", "s2", "bad"]
    Path("table.csv").write_text("path,bands\n" + "".join(f"in/{n}.tif,1-3\n" for n in names))
    line = ("train", "table.csv", "--sample", 4, "--set", "model.name=rx_shrunk", "--device", "cpu")
    chosen = sorted(sorted(names, key=lambda n: hashlib.sha256(n.encode()).hexdigest())[:3])
    assert "bad" in chosen
    done = typed(*line, "--json")
    assert done.exit_code == 4 and "bad.tif is not a GeoTIFF" in done.stderr
    said = json.loads(done.stdout)["scenes"]
    assert said["listed"] == 4 and [f["name"] for f in said["failures"]] == ["bad"]
    used = [name for name in chosen if name != "bad"]
    assert [(u["name"], u["tiles"]) for u in said["used"]] == [(name, 4) for name in used]
    for name in used:
        tiles = load(Path("tiles", name))
        again = cut(inside, name, tmp_path / "again" / name, Cut(sample=4))
        assert np.array_equal(tiles.index, again.index) and np.array_equal(tiles.images, again.images[:, :3])
    before = {name: age(Path("tiles", name)) for name in used}
    assert "model.onnx exists" in refused(3, *line)
    assert json.loads(typed("info", "model.onnx", "--json").stdout)["bands"] == ["band1", "band2", "band3"]
    # tile sets that are there stay, for another model too
    taken = sample.take(
        sample.choose(entries(["table.csv"], ["bands"]), lambda row: Request((1, 2, 3)))[0], 4, Path("tiles"),
        Recipe.model_validate({"train": {"sample": 4}}), 1, False, SILENT,
    )  # fmt: skip
    assert [s.path.name for s in taken.sets] == used
    assert {name: age(Path("tiles", name)) for name in used} == before


def test_a_list_of_which_no_scene_can_be_used_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.tif").write_text("junk")
    Path("list.txt").write_text("bad.tif\n")
    assert "none of 1 scene can be learned from: " in refused(2, "train", "list.txt")
    with pytest.raises(SceneError):
        Sets(Path(), SMALL).make(Member(("https://a/b.tif",), "b", Request()))
    Path("tiles").mkdir(exist_ok=True)
    Path("tiles/bad").mkdir()
    (Path("tiles/bad") / "mine").touch()
    assert "did not write" in refused(3, "train", "list.txt", "--overwrite")
    assert (Path("tiles/bad") / "mine").exists()


def test_processes_that_train_together_do_not_cut_scenes_each_for_itself(
    scene_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scenes.txt").write_text(f"{scene_path}\n")
    monkeypatch.setattr(train, "several", lambda: True)
    with pytest.raises(ConfigError, match="type satae tile LIST first, and torchrun on the tile sets"):
        train._sets([Path("scenes.txt")], Recipe(), Path("model.onnx"), False, False, SILENT)
    assert not Path("tiles").exists()
