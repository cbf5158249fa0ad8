"""Objects and areas in one result: what each model reports is what it reports alone, by its own calibration."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import shapely
from commands import typed
from results import review
from scored import heat, layer, run
from shared import Shared
from typer.testing import CliRunner

from satae import api
from satae.api.result import Result
from satae.cli.app import app
from satae.decisions import decisions
from satae.errors import ConfigError
from satae.gis.columns import Region
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring import summary
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


@pytest.mark.parametrize(
    ("kind", "left_out"),
    [
        ("object", "1 accepted region left out, 0 rejected regions in 0 tiles"),
        ("area", "0 accepted regions left out, 2 rejected regions in "),
    ],
)
def test_training_hears_decisions_on_the_kind_that_its_model_looks_for(
    kind: str,
    left_out: str,
    scene_path: Path,
    model: runtime.Model,
    shared: Shared,
    tile_set: Path,
    here: Path,
) -> None:
    result = run(here, model, describe([scene_path]), rule=Top(3), others=(model_of_areas(shared, tile_set),))
    names = layer(result).groupby("kind")["anomaly_id"]
    review(result.out, next(iter(names.get_group("object"))), review_status="accepted")
    for name in names.get_group("area")[:2]:
        review(result.out, name, review_status="rejected")
    recipe = ("--set", "model.name=rx", "--set", f"target.kind={kind}")
    done = typed("train", tile_set, "--feedback", result.out, *recipe, "--out", here / f"{kind}.onnx")
    assert done.exit_code == 0, done.stderr
    other = {"object": "2 decisions", "area": "1 decision"}[kind]
    assert f"feedback: {left_out}" in done.stdout
    assert f"; {other} on regions of the other kind left out\n" in done.stdout
    accepted, rejected = (1, 0) if kind == "object" else (0, 2)
    found = api.train.train(
        tile_set, here / "api.onnx", settings={"model.name": "rx", "target.kind": kind}, feedback=result.out
    )
    assert found.card.feedback == {"accepted": accepted, "rejected": rejected}


def test_a_scene_of_two_kinds_is_counted_once(
    scene_path: Path, model: runtime.Model, shared: Shared, tile_set: Path, tmp_path: Path
) -> None:
    both = run(
        tmp_path, model, describe([scene_path]), rule=Top(2), others=(model_of_areas(shared, tile_set),)
    )
    assert "in 1 scene (" in summary.lines(both, "top 2")[0]
    assert both.report is not None and "4 regions in 1 scene out of place" in both.report.read_text()
    assert repr(Result(both, "top 2")).endswith("4 regions in 1 scene (top 2)>")
    told = CliRunner().invoke(app, ["info", str(both.out)]).stdout
    assert re.search(r"^scenes +1$", told, re.M) and re.search(r"^land-area +area ", told, re.M)
    # the report says of each region what it is
    assert re.findall(r"· (object|area)</h3>", both.report.read_text()) == layer(both)["kind"].tolist()
    alone = run(tmp_path, model, describe([scene_path]), rule=Top(2), name="alone.gpkg")
    told = CliRunner().invoke(app, ["info", str(alone.out)]).stdout
    assert re.search(r"^scenes +1$", told, re.M) and not re.search(r"\bobject\b", told)


def test_an_older_result_and_a_model_say_what_they_are_of(
    scene_path: Path, model: runtime.Model, shared: Shared, tile_set: Path, tmp_path: Path
) -> None:
    out = run(tmp_path, model, describe([scene_path]), rule=Top(2)).out
    with closing(sqlite3.connect(out)) as database, database:
        database.execute("ALTER TABLE scenes DROP COLUMN kind")
    (scene,) = json.loads(CliRunner().invoke(app, ["info", str(out), "--json"]).stdout)["scenes"]
    assert scene["kind"] == "object"
    about = json.loads(CliRunner().invoke(app, ["info", str(shared.areas(tile_set)), "--json"]).stdout)
    assert about["looks_for"] == "areas"


def test_a_region_of_an_older_result_is_an_object() -> None:
    assert Region.__dataclass_fields__["kind"].default == "object"
