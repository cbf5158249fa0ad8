"""A bounded number of tiles a scene: by `satae tile --sample`, by `train.sample`, and of scenes that a list names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import typed
from scenes import make_tiles

from satae.scene.describe import describe
from satae.tiles.cut import Cut, cut
from satae.tiles.split import PATCH, split
from satae.tiles.store import load, load_all

SIDE = 16


def image(rows: int = 400, cols: int = 300) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 4000, (2, rows, cols)).astype(np.uint16)


def patches(index: np.ndarray) -> set[tuple[int, int]]:
    return {(int(r) // (PATCH * SIDE), int(c) // (PATCH * SIDE)) for r, c in index}


def test_a_sample_is_tiles_of_the_whole_set_in_patches_spread_over_the_scene(
    tmp_path: Path, make_scene: Any
) -> None:
    scene = describe([make_scene(image())])
    whole = cut(scene, tmp_path / "whole", Cut(SIDE))
    some = cut(scene, tmp_path / "some", Cut(SIDE, sample=40))
    places = {(int(r), int(c)): i for i, (r, c) in enumerate(whole.index)}
    assert len(whole) > 400 and len(some) == some.record.tiles == 40
    for i, (row, col) in enumerate(some.index):
        assert (some.images[i] == whole.images[places[int(row), int(col)]]).all()
    assert some.record.valid_pixels == int(some.valid.sum())
    # whole patches but the last, and not side by side
    found = patches(some.index)
    assert len(found) <= 4 and np.ptp([r for r, _ in found]) + np.ptp([c for _, c in found]) >= 2
    again = cut(scene, tmp_path / "again", Cut(SIDE, sample=40))
    assert (again.index == some.index).all()
    all_of_them = cut(scene, tmp_path / "all", Cut(SIDE, sample=10_000))
    assert {tuple(p) for p in all_of_them.index.tolist()} == {tuple(p) for p in whole.index.tolist()}


def test_training_uses_no_more_tiles_of_a_set_than_asked_for_and_the_same_as_a_cut_would_keep(
    tmp_path: Path, make_scene: Any
) -> None:
    pixels = image()
    tiles = make_tiles(pixels, size=SIDE)
    found = split([tiles, tiles], share=0.2, block=4, seed=0, sample=40)
    for number in (0, 1):
        used = [int(t) for s, t in (*found.train, *found.held_out) if s == number]
        assert len(used) == 40 == len(set(used))
    kept = cut(describe([make_scene(pixels)]), tmp_path / "some", Cut(SIDE, sample=40, min_valid=0))
    assert {tuple(tiles.index[t]) for t in used} == {tuple(p) for p in kept.index}
    assert len(found.held_out) >= 2 and len(split([tiles], share=0.2, block=4, seed=0).train) > 300


def test_scenes_of_a_list_are_cut_with_options_of_their_rows_and_a_bad_one_stops_none(
    tmp_path: Path, make_scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        make_scene(image(80, 64), name=f"{name}.tif", folder=tmp_path)
    (tmp_path / "bad.tif").write_text("junk")
    (tmp_path / "all.csv").write_text("path,name,bands\na.tif,north,2\nbad.tif,,\nb.tif,,\n")
    done = typed("tile", "all.csv", "--size", 16, "--sample", 6, "--json")
    assert done.exit_code == 4 and "bad.tif is not a GeoTIFF" in done.stderr
    said = json.loads(done.stdout)
    assert [(t["scene"], t["tiles"], t["bands"]) for t in said["tilesets"]] == [("north", 6, 1), ("b", 6, 2)]
    assert [Path(f["path"]).name for f in said["failures"]] == ["bad.tif"]
    assert len(load(tmp_path / "tiles" / "north")) == 6
    # none of it is replaced unless that is asked for
    assert typed("tile", "all.csv", "--size", 16).exit_code == 3
    none = typed("tile", "b*.tiff", "bad.tif", "--out", "other")
    assert none.exit_code == 2


def test_a_text_file_lists_tile_sets_from_its_own_folder_on(tmp_path: Path, make_scene: Any) -> None:
    for i, name in enumerate(("a", "b")):
        (tmp_path / "sets").mkdir(exist_ok=True)
        cut(describe([make_scene(image(80, 64 + i))]), tmp_path / "sets" / name, Cut(SIDE))
    (tmp_path / "sets" / "both.txt").write_text("# two\na\n\nb\n")
    assert [s.path.name for s in load_all([tmp_path / "sets" / "both.txt"])] == ["a", "b"]
