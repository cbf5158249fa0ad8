"""Scenes of one file name in folders of their own: named after these, and after nothing where that would not help."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import refused, typed

from satae.scene.describe import describe
from satae.scene.naming import apart

IMAGE = np.random.default_rng(3).integers(1, 200, (2, 32, 32)).astype("uint16")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/scene.tif", "b/scene.tif"], ["a_scene", "b_scene"]),
        (["a/x/scene.tif", "b/x/scene.tif", "b/other.tif"], ["a_x_scene", "b_x_scene", "other"]),
        (["a/scene.tif", "a/scene.tif"], ["scene", "scene"]),
        (["a 1/scene.tif", "b/scene.tif"], ["a_1_scene", "b_scene"]),
        (["a/scene.tif", "b/scene.tif", "a_scene.tif"], ["scene", "b_scene", "a_scene"]),
    ],
)
def test_the_fewest_folders_that_differ_make_the_name(
    paths: list[str], names: list[str], tmp_path: Path, make_scene
) -> None:
    for path in dict.fromkeys(paths):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        make_scene(IMAGE, name=path, folder=tmp_path)
    assert [s.name for s in apart([describe([tmp_path / path]) for path in paths])] == names


def test_scenes_of_one_name_are_cut_into_folders_of_their_own(here: Path, make_scene) -> None:
    for folder in ("may", "june"):
        Path(folder).mkdir()
        make_scene(IMAGE + (folder == "may"), folder=Path(folder))
    done = typed("tile", "may/scene.tif", "june/scene.tif", "--size", "16", "--json")
    sets = [Path(row["path"]).name for row in json.loads(done.stdout)["tilesets"]]
    assert sets == ["may_scene", "june_scene"]
    assert "is named twice" in refused(2, "tile", "may/scene.tif", "may/scene.tif", "--out", "other")
