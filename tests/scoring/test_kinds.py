"""Objects and areas in one result: what each model reports is what it reports alone, by its own calibration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import shapely
from scored import heat, layer, run
from shared import Shared
from typer.testing import CliRunner

from satae import api
from satae.cli.app import app
from satae.decisions import decisions
from satae.errors import ConfigError
from satae.gis.columns import Region
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring.rule import Top

SAME = "score", "p_value", "peak", "mean", "pixels", "top_band"


def model_of_areas(shared: Shared, tile_set: Path) -> runtime.Model:
    return runtime.load(shared.areas(tile_set), "cpu", threads=1)


def test_a_model_says_what_it_looks_for(model: runtime.Model, shared: Shared, tile_set: Path) -> None:
    assert (model.card.kind, model_of_areas(shared, tile_set).card.kind) == ("object", "area")
    assert model.card.model_copy(update={"recipe": {}}).kind == "object", "of older versions"


def test_each_kind_is_what_its_model_reports_alone(
    scene_path: Path, model: runtime.Model, shared: Shared, tile_set: Path, tmp_path: Path
) -> None:
    scene, areas = describe([scene_path]), model_of_areas(shared, tile_set)
    both = run(tmp_path, model, scene, name="both.gpkg", rule=Top(5), others=(areas,))
    frame, scenes = layer(both), layer(both, "scenes").set_index("kind")
    assert set(frame["kind"]) == {"object", "area"} and scenes.loc["area", "scene"] == "land-area"
    for number, (kind, each) in enumerate({"object": model, "area": areas}.items()):
        alone = run(tmp_path, each, scene, name=f"{kind}.gpkg", rule=Top(5))
        expected, ours = layer(alone), frame[frame["kind"] == kind]
        assert list(ours["kind"]) == list(expected["kind"]) != []
        for name in SAME:
            assert list(ours[name]) == list(expected[name])
        assert shapely.equals(ours.geometry.to_numpy(), expected.geometry.to_numpy()).all()
        assert scenes.loc[kind, "threshold"] == alone.scenes[0].threshold
        assert scenes.loc[kind, "model_sha256"] == each.sha256
        assert np.array_equal(heat(both, number), heat(alone), equal_nan=True)
    assert frame["rank"].tolist() == list(range(1, len(frame) + 1)) and frame["score"].is_monotonic_decreasing
    assert both.report is not None
    said = both.report.read_text()
    for text in (
        "How the threshold for objects was set",
        "How the threshold for areas was set",
        areas.sha256,
    ):
        assert said.count(text) == 1


def test_decisions_stay_with_their_kind(scene_path: Path, model: runtime.Model, tmp_path: Path) -> None:
    """An area over an object is another thing, though both lie in the same file."""
    scene = describe([scene_path])
    alone = decisions.layers_of(run(tmp_path, model, scene, rule=Top(5)).out)[0]
    alone["review_status"] = "accepted"
    for kind, expected in (("object", 5), ("area", 0), ("", 5)):
        found = decisions.Decisions(tmp_path / "out.gpkg", alone, {str(scene_path): {"object": "land"}})
        assert len(found.on("land", scene.grid, kind=kind)[0]) == expected


@pytest.mark.parametrize(
    ("kinds", "options", "said"),
    [
        ("oo", {}, "look for one kind of thing, objects"),
        ("oa", {"stac": Path("m.onnx")}, "--stac describes one model"),
    ],
)
def test_what_cannot_be_said_of_two_models_is_refused(
    kinds: str, options: dict[str, Path], said: str, scene_path: Path, model: runtime.Model, shared: Shared,
    tile_set: Path, tmp_path: Path,
) -> None:  # fmt: skip
    first, other = ({"o": model, "a": model_of_areas(shared, tile_set)}[kind] for kind in kinds)
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, first, describe([scene_path]), others=(other,), **options)
    assert not any(tmp_path.iterdir())


def test_the_command_and_python_take_a_model_a_kind(
    scene_path: Path, model_path: Path, shared: Shared, tile_set: Path, tmp_path: Path
) -> None:
    areas_path = shared.areas(tile_set)
    asked = ["score", str(scene_path), "--model", str(model_path), "--model", str(areas_path)]
    done = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "a.gpkg"), "--top", "2", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [(s["scene"], s["kind"], s["anomalies"]) for s in said["scenes"]] == [
        ("land", "object", 2),
        ("land-area", "area", 2),
    ]
    shutil.copy(model_path, tmp_path / "objects.onnx")
    shutil.copy(areas_path, tmp_path / "areas.onnx")
    about = json.loads(CliRunner().invoke(app, ["info", str(tmp_path / "a.gpkg"), "--json"]).stdout)
    assert about["model_now"] == "areas.onnx and objects.onnx are the models that scored it"
    found = api.score.score(scene_path, [model_path, areas_path], tmp_path / "b.gpkg", top=2)
    assert sorted(found.regions["kind"]) == ["area"] * 2 + ["object"] * 2


def test_a_region_of_an_older_result_is_an_object() -> None:
    assert Region.__dataclass_fields__["kind"].default == "object"
