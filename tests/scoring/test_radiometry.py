"""A scene whose DN mean something else than those of the model is refused, says how, and is cured by what it names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import refused, told, typed
from scenes import MakeScene

from satae.demo import synthetic
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scene.scene import Limits
from satae.scoring.domain import check_fit


def spoilt(land: synthetic.Synthetic, how: str) -> np.ndarray:
    """The landscape with something done to it; fill stays 0."""
    dn = land.image.astype(float)
    changed = {"shift": dn + 1000, "scale": dn * 10, "swap": dn[::-1]}[how]
    return np.where(land.valid, np.clip(changed, 0, 65535), 0).astype("uint16")


@pytest.mark.parametrize(
    ("how", "said", "cure"),
    [
        (
            "shift",
            "looks as if about 990 were added to every DN: the darkest hundredth ends at",
            "pass --offset with what takes it off (-1000 for",
        ),
        (
            "scale",
            "has DN of about 10 times those that the model was trained on: 95 % lie below",
            "bring it to",
        ),
        (
            "swap",
            "looks as if its bands (band1, band2, band3, band4) came in another order",
            "--bands band4,band3,",
        ),
    ],
)
def test_the_command_refuses_with_numbers_and_the_option_that_cures(
    how: str,
    said: str,
    cure: str,
    make_scene: MakeScene,
    landscape: synthetic.Synthetic,
    model_path: Path,
    here: Path,
) -> None:
    path = make_scene(spoilt(landscape, how), nodata=0)
    line = refused(2, "score", path, "--model", model_path)
    assert said in line and cure in line and str(path) in line and list(here.iterdir()) == []


@pytest.mark.parametrize(("how", "words"), [("shift", ("--offset", -1000)), ("swap", ("--bands", "4,3,2,1"))])
def test_with_that_option_the_regions_are_those_of_the_true_scene(
    how: str, words: tuple[object, ...], make_scene: MakeScene, landscape: synthetic.Synthetic, model_path: Path,
    here: Path,
) -> None:  # fmt: skip
    true, path = make_scene(landscape.image, nodata=0), make_scene(spoilt(landscape, how), nodata=0)
    shared = "--model", model_path, "--chips", 0, "--top", 5
    made = []
    for name, given in (("true", (true,)), ("cured", (path, *words))):
        assert typed("score", *given, *shared, "--out", f"{name}.geojson").exit_code == 0
        features = json.loads((here / f"{name}.geojson").read_text())["features"]
        made.append([(f["geometry"], f["properties"]["score"]) for f in features])
    assert len(made[0]) == 5 and made[0] == made[1]


def test_numbers_in_another_order_without_need_are_refused(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model_path: Path, here: Path
) -> None:
    path = make_scene(landscape.image, nodata=0)
    line = refused(2, "score", path, "--model", model_path, "--bands", "4,3,2,1")
    assert (
        "gives its bands as band4, band3, band2, band1 and the model takes band1, band2, band3, band4" in line
    )


def test_who_insists_gets_a_warning_and_a_result(
    make_scene: MakeScene,
    landscape: synthetic.Synthetic,
    model: runtime.Model,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = describe([make_scene(spoilt(landscape, "shift"), nodata=0)])
    with caplog.at_level("WARNING", "satae"):
        check_fit(scene, model, force=True)
    assert "were added to every DN" in caplog.text and caplog.text.count("it is scored as it is") == 1


@pytest.mark.parametrize("fill", [65535, 9999])
def test_fill_that_nobody_declared_is_named_before_anything_else(
    fill: int, make_scene: MakeScene, landscape: synthetic.Synthetic, model_path: Path, here: Path
) -> None:
    image = np.where(landscape.valid, landscape.image, landscape.image[:, landscape.valid][:, :1, None])
    rows, cols = image.shape[1:]
    # in the middle, where no look at the edge finds it
    image[:, rows // 8 : rows - rows // 8, cols // 4 : cols - cols // 4] = fill
    path = make_scene(image.astype("uint16"))
    line = refused(2, "score", path, "--model", model_path)
    assert (
        f"are {fill} in every band, which looks like fill that nobody declared; pass --nodata {fill}" in line
    )
    assert "factor" not in line and list(here.iterdir()) == []
    cured = typed("score", path, "--model", model_path, "--nodata", fill, "--chips", 0, "--out", "a.gpkg")
    assert cured.exit_code == 0 and "nobody declared" not in cured.stderr


def test_an_offset_is_kept_with_the_tiles_and_heard_of_again(
    make_scene: MakeScene, landscape: synthetic.Synthetic, here: Path
) -> None:
    true, path = (
        make_scene(landscape.image, nodata=0, name="a.tif"),
        make_scene(spoilt(landscape, "shift"), nodata=0),
    )
    assert typed("tile", true, "--size", 32, "--out", "true").exit_code == 0
    assert typed("tile", path, "--size", 32, "--offset", -1000, "--out", "tiles").exit_code == 0
    for name in ("tiles.npy", "valid.npy"):
        assert (here / "true" / "a" / name).read_bytes() == (here / "tiles" / path.stem / name).read_bytes()
    assert told("info", here / "tiles" / path.stem)["offset"] == -1000
    assert typed("train", "--set", "model.name=pca", "--epochs", 1, "--device", "cpu").exit_code == 0
    # from the tile set's record, without the option
    assert typed("score", "--chips", 0).exit_code == 0
    line = refused(2, "score", path, "--out", "again.gpkg")
    assert "--offset" in line


def test_what_is_added_stays_in_the_type_and_nodata_are_those_of_the_file(make_scene: MakeScene) -> None:
    image = np.array([[[0, 500, 1000, 1500, 65535]]], "uint16").repeat(8, axis=1).repeat(2, axis=2)
    scene = describe([make_scene(image, nodata=0)], limits=Limits(nodata=1500, offset=-1000))
    with scene.open() as reader:
        seen, valid = reader.read(scene.grid.window)
    assert seen[0, 0, ::2].tolist() == [0, 0, 0, 500, 64535] and seen.dtype == "uint16"
    assert valid[0, ::2].tolist() == [False, True, True, False, True] and scene.is_plain
    floats = describe([make_scene(image.astype("float32"))], limits=Limits(offset=0.5))
    with floats.open() as reader:
        assert reader.read(floats.grid.window)[0][0, 0, 2] == 500.5


def test_a_number_that_cannot_be_added_is_refused(make_scene: MakeScene, here: Path) -> None:
    path = make_scene(np.ones((1, 16, 16), "uint16"))
    assert "holds uint16 and --offset 0.5 is no whole number" in refused(2, "tile", path, "--offset", 0.5)
    assert "--offset nan is no number" in refused(2, "tile", path, "--offset", "nan")
