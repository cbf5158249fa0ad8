"""Objects and areas in one run: a scene has a finished folder a kind, and the result is that of `satae score`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pystac
import pytest
from commands import refused, told, typed
from crowds import crowd, diary, everything, heatmaps, inline, leftovers, ran, rows, tall
from shared import Shared

from satae.batch import manifest
from satae.batch.folders import SceneFolders
from satae.batch.result import make
from satae.batch.shard import Shard
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring import run as scoring
from satae.scoring.outputs import Options
from satae.scoring.rule import Top

NAMES = [f"s{i}{end}" for i in range(3) for end in ("", "-area")]


def alone(shared: Shared, model_path: Path, tile_set: Path) -> Path:
    """A folder with three scenes `in`, and `out.gpkg` as `satae score` makes it of them with both models."""

    def score(folder: Path) -> None:
        scenes = [describe([path]) for path in sorted(crowd(folder, 3).iterdir())]
        model, areas = (runtime.load(path, "cpu", 1) for path in (model_path, shared.areas(tile_set)))
        how = Options(Top(3), workers=1, chips=2, others=(areas,))
        scoring.score(scenes, model, folder / "out.gpkg", how)

    return shared.made("crowd-kinds", score)


def finished(shared: Shared, model_path: Path, tile_set: Path, tmp_path: Path) -> Path:
    """A folder to work on, of a run over these scenes with both models."""

    def run(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            inline(patch)
            inside = alone(shared, model_path, tile_set) / "in"
            result = ran(inside, folder / "out", model_path, others=(shared.areas(tile_set),))
            assert (result.total, result.scenes, result.scored, result.failures) == (6, 3, 6, ())

    return Path(shutil.copytree(shared.made("crowd-kinds-run", run) / "out", tmp_path / "out"))


def table(out: Path) -> list[dict[str, Any]]:
    return list(pyarrow.parquet.read_table(out / "index.parquet").to_pylist())


def test_the_result_of_two_models_is_that_of_score(
    shared: Shared, model_path: Path, tile_set: Path, tmp_path: Path
) -> None:
    inside, out = alone(shared, model_path, tile_set) / "in", tmp_path / "out"
    # processes of their own, which open both models
    result = ran(inside, out, model_path, others=(shared.areas(tile_set),), jobs=2)
    assert (result.scored, result.failures) == (6, ()) and leftovers(out) == []
    assert sorted(said["name"] for said in diary(out)) == sorted(NAMES)
    made = make(SceneFolders(out)).collection
    assert made is not None and (made.scenes, made.missing) == (3, 0)
    for layer in ("anomalies", "tiles", "scenes"):
        assert rows(out / "anomalies.gpkg", layer).equals(rows(inside.parent / "out.gpkg", layer)), layer
    regions = rows(out / "anomalies.gpkg")
    assert set(regions["kind"]) == {"object", "area"} and made.anomalies == len(regions)
    report = (out / "anomalies.html").read_text("utf-8")
    assert f"{len(regions)} regions in 3 scenes out of place" in report and "scenes not listed" not in report
    for kind in ("objects", "areas"):
        assert report.count(f"How the threshold for {kind} was set") == 1
    items = pystac.Catalog.from_file(str(out / "catalog.json")).get_items(recursive=True)
    assert {item.id: item.properties["satae:scenes"][0]["kind"] for item in items} == {
        name: "area" if name.endswith("-area") else "object" for name in NAMES
    }


def test_a_second_model_adds_its_results_and_leaves_the_others(
    shared: Shared, model_path: Path, tile_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    inside, out = alone(shared, model_path, tile_set) / "in", tmp_path / "out"
    line = ("run", inside, "--out", out, "--top", "3", "--chips", "2", "--model", model_path)
    assert "3 scenes scored, 0 before" in typed(*line, "--collect").stdout
    before = everything(out)
    both = (*line, "--model", shared.areas(tile_set))
    done = typed(*both, "--collect")
    assert done.exit_code == 0 and "3 results of 3 scenes scored, 3 before" in done.stdout
    assert "in 3 scenes (top 3)" in done.stdout and "index.parquet: 6 rows" in done.stdout
    assert before.items() < everything(out).items()
    assert [(row["name"], row["kind"], row["state"]) for row in table(out)] == [
        (name, "area" if name.endswith("-area") else "object", "done") for name in NAMES
    ]
    said = told(*both)
    assert (said["scenes"], said["before"], said["scored"], said["failures"]) == (3, 6, 0, [])
    # the objects alone are another result
    assert typed(*line, "--collect").exit_code == 0 and set(rows(out / "anomalies.gpkg")["kind"]) == {
        "object"
    }


def test_what_a_model_scored_alone_is_found_again_where_it_is_named_first(
    shared: Shared, model_path: Path, tile_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    inside, out, areas = alone(shared, model_path, tile_set) / "in", tmp_path / "out", shared.areas(tile_set)
    scored = [
        ran(inside, out, first, others=others).scored
        for first, others in ((areas, ()), (areas, (model_path,)), (areas, ()), (model_path, (areas,)))
    ]
    # as docs/scale.md says: in the other order all have other names
    assert scored == [3, 3, 0, 6]


def test_one_scene_leaves_what_score_leaves(
    shared: Shared, model_path: Path, tile_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    inline(monkeypatch)
    scene = tall(tmp_path / "in") / "tall.tif"  # so large that its picture is not of all pixels
    asked = (scene, "--model", model_path, "--model", shared.areas(tile_set), "--top", "3")
    (tmp_path / "score").mkdir()
    assert typed("score", *asked, "--out", tmp_path / "score" / "anomalies.gpkg").exit_code == 0
    out = tmp_path / "run"
    done = typed("run", *asked, "--out", out, "--collect")
    assert done.exit_code == 0 and " areas) in 1 scene (top 3" in done.stdout
    files = [p for p in (tmp_path / "score").rglob("*") if p.is_file()]
    assert {p.name for p in files} >= {"anomalies_tall_heatmap.tif", "anomalies_tall-area_heatmap.tif"}
    for path in files:
        assert (out / path.relative_to(tmp_path / "score")).read_bytes() == path.read_bytes(), path
    assert not (out / "catalog.json").exists()
    assert "holds all" in typed("run", "--collect", "--out", out).stdout


def test_a_scene_that_is_split_is_split_for_each_model(
    shared: Shared, model_path: Path, tile_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    inside = tall(tmp_path / "in")
    assert ran(inside, tmp_path / "whole", model_path, others=(shared.areas(tile_set),)).scored == 2
    half = -(-(inside / "tall.tif").stat().st_size // 2)
    assert (
        ran(inside, tmp_path / "split", model_path, others=(shared.areas(tile_set),), split=half).scored == 2
    )
    assert [said["state"] for said in diary(tmp_path / "split")] == ["block", "block", "done"] * 2
    assert everything(tmp_path / "split") == everything(tmp_path / "whole")
    assert len(heatmaps(tmp_path / "split")) == 2 and leftovers(tmp_path / "split") == []


def test_what_one_model_has_not_finished_is_missing(
    shared: Shared, model_path: Path, tile_set: Path, tmp_path: Path
) -> None:
    out = finished(shared, model_path, tile_set, tmp_path)
    shutil.rmtree(next(out.glob("scenes/s1-area-*")))
    done = typed("run", "--collect", "--out", out, "--json")
    said = json.loads(done.stdout)["result"]
    assert done.exit_code == 4 and (said["scenes"], said["missing"]) == (3, 1)
    assert "1 scene not finished" in done.stderr
    assert set(rows(out / "anomalies.gpkg", "scenes")["scene"]) == {*NAMES} - {"s1-area"}


def test_both_results_of_a_scene_are_in_one_part_and_parts_of_other_models_are_named(
    shared: Shared, model_path: Path, tile_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    inside, out = alone(shared, model_path, tile_set) / "in", tmp_path / "out"
    for i in range(2):
        ran(inside, out, model_path, others=(shared.areas(tile_set),), shard=Shard(i, 2))
    for i in range(2):
        own = [json.loads(text)["name"] for text in (out / f"plan-{i}-of-2.jsonl").read_text().splitlines()]
        assert own == [name for name in NAMES if Shard(i, 2).holds(name.removesuffix("-area"))] != []
    assert told("run", "--collect", "--out", out)["result"]["scenes"] == 3
    ran(inside, out, model_path, shard=Shard(0, 2))
    done = typed("run", "--collect", "--out", out)
    assert done.exit_code == 4 and f"part 1/2 was run with {model_path} (" in done.stderr
    assert f"and {shared.areas(tile_set)} (" in done.stderr


def test_what_is_wrong_with_a_scene_is_said_once(
    shared: Shared, model_path: Path, tile_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    (tmp_path / "bad.tif").write_text("no image")
    models = ("--model", model_path, "--model", shared.areas(tile_set))
    line = ("run", tmp_path / "bad.tif", *models, "--out", tmp_path / "o")
    for scored in ("0 results of 1 scene scored, 0 before, 2 failed", "0 results of 1 scene scored"):
        done = typed(*line)
        assert done.exit_code == 4 and scored in done.stdout and done.stderr.count("bad.tif") == 1
    assert [(row["name"], row["kind"], row["state"]) for row in table(tmp_path / "o")] == [
        ("bad", "object", "failed"),
        ("bad-area", "area", "failed"),
    ]


def test_models_that_look_for_the_same_are_refused_before_anything_is_made(
    shared: Shared, model_path: Path, tile_set: Path, scene_path: Path, tmp_path: Path
) -> None:
    line = ("run", scene_path, "--model", model_path, "--model", model_path, "--out", tmp_path / "o")
    assert "look for one kind of thing, objects" in refused(2, *line)
    # of three the two that are alike, which are not the first
    areas = [tmp_path / f"areas{i}.onnx" for i in range(2)]
    for path in areas:
        shutil.copy(shared.areas(tile_set), path)
    more = [word for path in areas for word in ("--model", path)]
    said = refused(2, "run", scene_path, "--model", model_path, *more, "--out", tmp_path / "o")
    assert "error: areas0.onnx and areas1.onnx look for one kind of thing, areas" in said
    assert "does not exist" in refused(2, *line[:-3], tmp_path / "no.onnx", *line[-2:])
    assert not (tmp_path / "o").exists()


def test_no_scene_has_the_name_of_another_with_its_kind(tmp_path: Path) -> None:
    for name in ("land", "land-area"):
        (tmp_path / f"{name}.tif").write_text(name)
    plain = [e.name for e in manifest.entries([str(tmp_path)], ())]
    first, second = (e.name for e in manifest.entries([str(tmp_path)], (), ends=("-object", "-area")))
    assert plain == ["land-area", "land"] and first == "land-area"
    assert second.startswith("land-") and f"{second}-area" != first != second
