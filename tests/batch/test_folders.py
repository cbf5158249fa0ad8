"""Which finished scenes make one result: those of one model and rule, of parts that ran, with a CRS or without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas
import pytest
from commands import refused, told, typed
from crowds import finished, inline, serial, whole
from shared import Shared

from satae.batch.shard import Shard

EVERY = {f"s{i}" for i in range(6)}


def halves(out: Path, **second: object) -> list[set[str]]:
    """Have the run in `out` look like one in two parts, of which the first ran last; the names of each.

    The second was asked for the same but for what is passed.
    """
    lines, about = (
        (out / "plan.jsonl").read_text().splitlines(True),
        json.loads((out / "run.json").read_text()),
    )
    (out / "plan.jsonl").unlink()
    names = []
    for i, own in ((1, second), (0, {})):
        part = [text for text in lines if Shard(i, 2).holds(json.loads(text)["name"])]
        (out / f"plan-{i}-of-2.jsonl").write_text("".join(part))
        (out / f"run-{i}-of-2.json").write_text(json.dumps(about | own))
        names.append({json.loads(text)["name"] for text in part})
    return names[::-1]


def collected(out: Path) -> tuple[dict[str, Any], str]:
    """What JSON and notes say of a result that lacks something."""
    done = typed("run", "--collect", "--out", out, "--json")
    assert done.exit_code == 4, done.stderr
    return json.loads(done.stdout)["result"], done.stderr


def scenes(out: Path) -> set[str]:
    return set(geopandas.read_file(out / "anomalies.gpkg", layer="scenes")["scene"])


def test_parts_that_were_run_alike_are_one_result(shared: Shared, model_path: Path, tmp_path: Path) -> None:
    out = finished(shared, model_path, tmp_path)
    # where the model lay does not matter
    halves(out, model="/elsewhere/model.onnx")
    said = told("run", "--collect", "--out", out)["result"]
    assert scenes(out) == EVERY and said["scenes"] == 6
    assert [said[k] for k in ("missing", "left_out", "parts_not_run", "parts_run_otherwise")] == [
        0,
        [],
        [],
        [],
    ]


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"sha256": "beef" * 16, "model": "m2.onnx"}, "m2.onnx (beefbeef)"),
        ({"asked": "other", "rule": "top 7"}, "top 7"),
        ({"version": "0.0.1"}, "satae 0.0.1"),
        ({"asked": "other"}, "other options"),
    ],
)
def test_a_part_of_another_model_or_rule_is_missing_and_named(
    shared: Shared, model_path: Path, tmp_path: Path, own: dict[str, Any], named: str
) -> None:
    out = finished(shared, model_path, tmp_path)
    first, second = halves(out, **own)
    said, notes = collected(out)
    assert scenes(out) == first and said["missing"] == len(second)
    assert said["parts_run_otherwise"] == ["1/2"] and f"part 1/2 was run with {named}, and" in notes


def test_one_part_run_again_with_another_rule_is_not_mixed_with_the_rest(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    out = tmp_path / "out"
    line = ("run", serial(shared, model_path) / "in", "--model", model_path, "--out", out, "--chips", "2")
    for part, top in (("0/2", 3), ("1/2", 3), ("1/2", 2)):
        assert typed(*line, "--shard", part, "--top", top).exit_code == 0
    said, notes = collected(out)
    own = {name for name in EVERY if Shard(1, 2).holds(name)}
    assert scenes(out) == own and said["missing"] == 6 - len(own) and "part 0/2 was run with top 3" in notes
    assert geopandas.read_file(out / "anomalies.gpkg", layer="anomalies").groupby("scene").size().max() == 2
    # once that part has caught up they are whole
    assert typed(*line, "--shard", "0/2", "--top", 2).exit_code == 0
    assert told("run", "--collect", "--out", out)["result"]["scenes"] == 6


def test_a_part_that_never_ran_is_named(shared: Shared, model_path: Path, tmp_path: Path) -> None:
    out = finished(shared, model_path, tmp_path)
    first, _ = halves(out)
    (out / "plan-1-of-2.jsonl").unlink()
    (out / "run-1-of-2.json").unlink()
    said, notes = collected(out)
    assert scenes(out) == first and said["parts_not_run"] == ["1/2"] and said["missing"] == 0
    assert "part 1/2 has not run" in notes
    # whoever asks again is told again
    again, notes = collected(out)
    assert again == said and "part 1/2 has not run" in notes


@pytest.mark.parametrize(("bare", "left"), [((1,), (1,)), ((0, 2, 4), (0, 2, 4)), ((0, 1, 2, 3), (4, 5))])
def test_of_scenes_with_and_without_a_crs_the_fewer_are_left_out_by_name(
    shared: Shared, model_path: Path, tmp_path: Path, bare: tuple[int, ...], left: tuple[int, ...]
) -> None:
    out = finished(shared, model_path, tmp_path)
    for i in bare:
        (path,) = out.glob(f"scenes/s{i}-*/scene.json")
        about = json.loads(path.read_text())
        about["grid"]["crs"] = None
        path.write_text(json.dumps(about))
    said, notes = collected(out)
    names = [f"s{i}" for i in left]
    assert said["left_out"] == names and scenes(out) == EVERY - {*names}
    assert said["scenes"] == 6 - len(left) and said["missing"] == 0 and ", ".join(names) in notes


@pytest.mark.parametrize("text", ["[1]", '{"name": "s0"}', '{"name": "s', "\udcff"])
def test_a_damaged_plan_is_one_sentence(shared: Shared, model_path: Path, tmp_path: Path, text: str) -> None:
    out = finished(shared, model_path, tmp_path)
    plan = out / "plan.jsonl"
    lines = plan.read_bytes().splitlines(True)
    plan.write_bytes(lines[0] + text.encode("utf-8", "surrogateescape"))
    said = refused(2, "run", "--collect", "--out", out)
    assert "plan.jsonl is damaged in line 2" in said and "again" in said


def test_a_run_whose_description_is_lost_or_damaged_is_one_sentence(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    out = finished(shared, model_path, tmp_path)
    for text in ("{", "[]"):
        (out / "run.json").write_text(text)
        assert "run again" in refused(2, "run", "--collect", "--out", out)


@pytest.mark.parametrize("name", ["anomalies.gpkg", "anomalies.html"])
def test_what_is_in_the_way_of_the_result_is_told_before_any_scene_is_scored(
    shared: Shared, model_path: Path, tmp_path: Path, name: str
) -> None:
    inside, out = serial(shared, model_path) / "in", tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    said = refused(3, "run", inside, "--model", model_path, "--out", out, "--collect")
    assert name in said and "or choose another --out" in said and "--overwrite" not in said
    assert [p.name for p in out.iterdir()] == [name]


def test_json_of_a_result_that_is_there_is_that_of_making_it(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    out = finished(shared, model_path, tmp_path)
    made = told("run", "--collect", "--out", out)
    assert made["result"]["anomalies"] > 0 and Path(made["result"]["report"]).is_file()
    assert told("run", "--collect", "--out", out) == made
    # one that an earlier version made, which noted less, is made again
    about = json.loads((out / "collect.json").read_text())
    (out / "collect.json").write_text(json.dumps({k: about[k] for k in ("results", "files")}))
    assert told("run", "--collect", "--out", out) == made
    shutil.rmtree(out / "stac")
    assert told("run", "--collect", "--out", out) == made


def test_the_result_of_one_scene_replaces_nothing_of_others_and_says_the_same_twice(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(whole(shared, model_path) / "out", tmp_path / "out"))
    (out / "anomalies_heatmap.tif").write_text("mine")
    said = refused(3, "run", "--collect", "--out", out)
    assert "anomalies_heatmap.tif exists and is not of this run" in said and "--overwrite" not in said
    (out / "anomalies_heatmap.tif").unlink()
    made = told("run", "--collect", "--out", out)
    assert made == {"result": {"out": str(out / "anomalies.gpkg"), "foreign_scenes": []}}
    assert told("run", "--collect", "--out", out) == made
