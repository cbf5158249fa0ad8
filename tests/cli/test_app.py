"""The commands as a user types them: what they print, write, refuse and leave alone."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import geopandas
import numpy as np
import pytest
import typer
from commands import refused, told, typed
from scenes import MakeScene

from satae import config, heads, models, objectives
from satae.cli import app
from satae.demo import synthetic
from satae.models import sequence

CHANGES = ["train.min_steps=2", "model.name=conv", "model.params.width=8"]
SMALL = ("--epochs", "1", *(word for change in CHANGES for word in ("--set", change)))
COMMANDS = sorted(typer.main.get_command(app.app).commands)  # type: ignore[attr-defined]


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def inputs_of(folder: Path) -> Path:
    """The folder of the user's own beside that of the mission, which no command may touch."""
    return folder.parent / "inputs"


@pytest.fixture(scope="module")
def mission(
    tmp_path_factory: pytest.TempPathFactory, scene_path: Path, make_scene: MakeScene
) -> dict[str, Any]:
    """What the three commands say, and the folder where they were typed."""
    folder = tmp_path_factory.mktemp("mission") / "work"
    inputs = inputs_of(folder)
    for made in (folder, inputs):
        made.mkdir()
    (inputs / "scene.tif").write_bytes(scene_path.read_bytes())
    make_scene(np.ones((1, 256, 320), "uint8"), name="mask.tif", folder=inputs)
    before = digests(inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        said = {
            "tile": told("tile", inputs / "scene.tif"),
            "train": told("train", *SMALL),
            "score": told("score"),
        }
    assert digests(inputs) == before
    return {**said, "folder": folder}


@pytest.fixture
def here(mission: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the mission, typed in again."""
    monkeypatch.chdir(mission["folder"])
    return Path(mission["folder"])


def test_three_commands_without_options_follow_each_other(mission: dict[str, Any]) -> None:
    written = {p.name for p in mission["folder"].iterdir()}
    assert written == {
        "tiles", "model.onnx", "runs", "anomalies.gpkg", "anomalies_heatmap.tif", "anomalies_heatmap.qml",
        "anomalies.html",
    } | ({"anomalies_chips"} if mission["score"]["anomalies"] else set())  # fmt: skip
    runs = {p.name for p in (mission["folder"] / "runs" / "model").iterdir()}
    assert runs >= {"config.yaml", "history.jsonl", "curves.png", "reconstructions.png", "diagnosis.md"}


def test_json_objects_have_the_keys_of_the_contract(mission: dict[str, Any]) -> None:
    (tiles,) = mission["tile"]["tilesets"]
    assert {"path", "scene", "tiles", "bands", "size"} <= set(tiles)
    assert {"model", "run", "epochs", "train_loss", "val_loss", "parity"} <= set(mission["train"])
    scored = mission["score"]
    assert {"out", "heatmaps", "anomalies", "threshold", "rule", "scenes", "provider"} <= set(scored)
    assert {"scene", "path", "anomalies", "valid_fraction", "threshold"} <= set(scored["scenes"][0])
    assert {"chips", "report", "baseline"} <= set(scored) and scored["report"] == "anomalies.html"
    assert scored["baseline"] is None
    assert {"domain", "domain_note", "baseline_agrees"} <= set(scored["scenes"][0])
    assert scored["rule"] == "far 10" and scored["provider"] == "CPUExecutionProvider"


def test_json_agrees_with_the_files(mission: dict[str, Any], landscape: synthetic.Synthetic) -> None:
    scored, folder = mission["score"], mission["folder"]
    rows = geopandas.read_file(folder / scored["out"], layer="anomalies")
    (scene,) = geopandas.read_file(folder / scored["out"], layer="scenes").itertuples()
    assert scored["anomalies"] == len(rows) == scene.anomalies
    assert scored["threshold"] == scene.threshold and scored["heatmaps"] == ["anomalies_heatmap.tif"]
    assert scored["scenes"][0]["valid_fraction"] == scene.valid_fraction == landscape.valid.mean()


def test_plain_output_names_what_was_written(here: Path, tmp_path: Path) -> None:
    result = typed("score", "--top", 1, "--out", tmp_path / "a.gpkg")
    assert result.stdout.splitlines()[0].startswith(
        f"{tmp_path / 'a.gpkg'}: 1 anomaly in 1 scene (top 1, CPU"
    )
    assert f"{tmp_path / 'a.html'}: report" in result.stdout
    assert typed("-q", "score", "--top", 1, "--out", tmp_path / "b.gpkg").stderr == ""


def test_json_of_a_threshold_that_nothing_reaches_is_null(here: Path, tmp_path: Path) -> None:
    found = told("score", "--fdr", "1e-9", "--out", tmp_path / "none.gpkg")
    assert (found["threshold"], found["anomalies"]) == (None, 0)
    assert told("info", tmp_path / "none.gpkg")["scenes"][0]["threshold"] is None


@pytest.mark.parametrize(
    ("name", "kind", "keys"),
    [
        ("scene.tif", "scene", {"height", "width", "bands", "dtype", "gsd_m", "crs"}),
        ("tiles/scene", "tile set", {"scene", "bands", "size", "tiles", "sha256"}),
        ("model.onnx", "model", {"architecture", "bands", "halo", "parity", "sha256", "scenes"}),
        ("anomalies.gpkg", "result", {"anomalies", "review", "scenes"}),
    ],
)
def test_info_knows_the_four_kinds(here: Path, name: str, kind: str, keys: set[str]) -> None:
    inputs = inputs_of(here)
    path = (inputs if kind == "scene" else here) / name
    before = digests(path.parent)
    facts = told("info", path, "--check")
    assert facts["kind"] == kind and keys <= set(facts)
    assert kind in typed("info", path).stdout
    assert digests(path.parent) == before


def test_info_of_a_name_with_odd_characters(here: Path, tmp_path: Path) -> None:
    odd = tmp_path / "50% é#1?.gpkg"
    odd.write_bytes((here / "anomalies.gpkg").read_bytes())
    assert told("info", odd)["kind"] == "result"


@pytest.mark.parametrize("name", ["cut.tif", "cut.gpkg", "cut.onnx", "missing.tif", "missing.gpkg", "."])
def test_info_refuses_what_it_cannot_read(here: Path, tmp_path: Path, name: str) -> None:
    inputs = inputs_of(here)
    source = {".tif": inputs / "scene.tif", ".gpkg": here / "anomalies.gpkg", ".onnx": here / "model.onnx"}
    if name.startswith("cut"):
        content = source[Path(name).suffix].read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    refused(2, "info", tmp_path / name, "--check")


def test_models_lists_everything_that_a_recipe_can_name() -> None:
    rows = told("models")["models"]
    found = {(row["kind"], row["name"]) for row in rows}
    kinds = (
        ("recipe", config.recipes()), ("architecture", models.NAMES), ("objective", objectives.NAMES),
        ("score", heads.NAMES), ("over dates", sequence.NAMES),
    )  # fmt: skip
    assert found == {(kind, name) for kind, names in kinds for name in names}
    assert all(row["about"] for row in rows)
    keys = {"params", "weights", "code", "patch", "reach", "frame"}
    assert all(keys <= row.keys() for row in rows if row["kind"] == "architecture")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_help_with_an_example(command: str, option: str) -> None:
    result = typed(command, option)
    assert result.exit_code == 0 and f"satae {command}" in click.unstyle(result.stdout).split("Options")[0]


def test_help_loads_no_heavy_library() -> None:
    heavy = "torch rasterio geopandas numpy onnxruntime rich cv2 scipy pandas pydantic shapely"
    code = f"import satae.cli.app, sys; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tile", "nowhere.tif"], "nowhere.tif does not exist"),
        (["tile", "{scene}", "--size", "1"], "--size 1 is not between"),
        (["tile", "{scene}", "--bands", "9"], "has bands 1 to 4; --bands asks for 9"),
        (["tile", "{scene}", "--aoi", "no.gpkg"], "no.gpkg does not exist"),
        (["tile", "{scene}", "--on-bad-tile", "guess"], "--on-bad-tile guess"),
        (["train", "empty"], "there is no tile set in empty"),
        (["train", "--out", "m.pt"], "--out m.pt must end in .onnx"),
        (["train", "--set", "train.epoch=1"], "there is no setting train.epoch"),
        (["score", "--model", "no.onnx"], "no.onnx does not exist; make"),
        (["score", "--fdr", "0.1", "--top", "3"], "--fdr and --top exclude each other"),
        (["score", "--far", "1", "--threshold", "3"], "--far and --threshold exclude each other"),
        (["score", "--fdr", "1"], "--fdr 1.0 is out of range"),
        (["score", "--top", "0"], "--top 0 is out of range"),
        (["score", "--far", "nan"], "--far nan is out of range"),
        (["score", "--threshold", "inf"], "--threshold inf is out of range"),
        (["score", "--min-area", "-1"], "--min-area -1.0 is out of range: it takes square metres from 0 on"),
        (["score", "--device", "tpu"], "--device tpu"),
        (["score", "--bands", "1"], "need scenes to be named"),
        (["score", "{scene}", "--bands", "1,2", "--out", "b.gpkg"], "gives 2 bands and the model takes 4"),
        (["score", "--out", "a.shp", "--overwrite"], "no format has the suffix '.shp'; there are .gpkg"),
        (["score", "--heatmap", "a.png", "--out", "b.gpkg"], "--heatmap a.png must end in .tif"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(here: Path, words: list[str], message: str) -> None:
    inputs = inputs_of(here)
    before = digests(here)
    assert message in refused(2, *(w.format(scene=inputs / "scene.tif") for w in words))
    assert digests(here) == before


@pytest.mark.parametrize("words", [[], ["score", "--nonsense"], ["fly"], ["tile"]])
def test_usage_errors_end_with_2(words: list[str]) -> None:
    assert typed(*words).exit_code == 2


def test_existing_outputs_are_kept_without_overwrite(here: Path) -> None:
    inputs = inputs_of(here)
    before = digests(here)
    assert "exists; pass --overwrite" in refused(3, "tile", inputs / "scene.tif")
    assert "exists; pass --overwrite" in refused(3, "train")
    assert "anomalies.gpkg exists; pass --overwrite" in refused(3, "score")
    assert digests(here) == before


def test_overwrite_replaces_a_result_with_an_equal_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    both = []
    for workers in (1, 4):
        assert typed("score", "--overwrite", "--workers", workers).exit_code == 0
        both.append(digests(here))
    assert both[0] == both[1] and geopandas.read_file("anomalies.gpkg", layer="scenes")[
        "created"
    ].tolist() == ["2023-11-14T22:13:20Z"]


def test_masks_and_areas_are_read_and_left_alone(here: Path, tmp_path: Path) -> None:
    inputs = inputs_of(here)
    before = digests(inputs)
    words = ("--mask", inputs / "mask.tif", "--top", 2, "--out", tmp_path / "a.gpkg")
    assert told("score", inputs / "scene.tif", *words)["anomalies"] == 2
    assert digests(inputs) == before


def test_several_scenes_and_stacked_bands_are_scored(
    here: Path, make_scene: MakeScene, landscape: synthetic.Synthetic, tmp_path: Path
) -> None:
    inputs = inputs_of(here)
    twice = (inputs / "scene.tif", inputs / "scene.tif", "--top", 1)
    found = told("score", *twice, "--out", tmp_path / "two.gpkg")
    assert [s["scene"] for s in found["scenes"]] == ["scene", "scene-2"] and len(found["threshold"]) == 2
    bands = [make_scene(b[None], name=f"{i}.tif", nodata=0) for i, b in enumerate(landscape.image)]
    stacked = told("score", *bands, "--stack", "--top", 1, "--out", tmp_path / "stack.gpkg")
    assert stacked["threshold"] == found["threshold"][0]


def test_damaged_blocks_stop_or_are_masked_with_exit_4(here: Path, tmp_path: Path) -> None:
    inputs = inputs_of(here)
    cut = tmp_path / "cut.tif"
    cut.write_bytes((inputs / "scene.tif").read_bytes()[:-20_000])
    assert "is damaged" in refused(2, "score", cut, "--out", tmp_path / "a.gpkg")
    result = typed("score", cut, "--out", tmp_path / "b.gpkg", "--on-bad-tile", "mask")
    assert result.exit_code == 4 and "could not be decoded and were masked" in result.stderr
    assert not (tmp_path / "a.gpkg").exists() and (tmp_path / "b.gpkg").exists()


def test_cuda_that_did_not_take_is_an_error(here: Path, tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and Path("/dev/nvidiactl").exists():
        pytest.skip("there is a CUDA device")
    assert "--device cuda: ONNX Runtime runs model.onnx on CPU" in refused(
        2, "score", "--device", "cuda", "--out", tmp_path / "a.gpkg"
    )


def test_info_check_notices_a_mask_that_is_not_the_one_that_was_cut(here: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "tiles" / "scene", tmp_path / "scene")
    valid = np.load(tmp_path / "scene" / "valid.npy")
    valid.flat[np.flatnonzero(valid)[0]] = False
    np.save(tmp_path / "scene" / "valid.npy", valid)
    assert told("info", tmp_path / "scene")["kind"] == "tile set"
    assert "is damaged" in refused(2, "info", tmp_path / "scene", "--check")


def test_other_formats_and_stac_items_are_asked_for_by_option(here: Path) -> None:
    said = told("score", "--out", "other.geojson", "--stac", "--chips", "0")
    assert said["out"] == "other.geojson" and said["stac"] == "other_stac.json"
    assert len(json.loads((here / "other.geojson").read_text())["features"]) == said["anomalies"]
    links = json.loads((here / "other_stac.json").read_text())["links"]
    assert {link["rel"] for link in links} == {"derived_from"} and len(links) == 2
    assert links[-1]["href"] == "./other_stac_model.json"
    (model,) = json.loads((here / "other_stac_model.json").read_text())["assets"].values()
    assert model["href"] == "./model.onnx"
    assert "there are .gpkg, .geojson, .parquet, .fgb" in refused(2, "score", "--out", "other.shp")
