"""What the commands say at their ends: a verdict, what was highest, and what to type next."""

from __future__ import annotations

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from commands import told, typed
from scenes import MakeScene

from satae import console
from satae.inference import runtime
from satae.training import presets


def test_training_ends_with_a_verdict_and_the_next_command(here: Path, tile_set: Path) -> None:
    shutil.copytree(tile_set, here / "tiles" / "land")
    done = typed("train", "--set", "model.name=rx")
    *_, verdict, rests, after = done.stderr.splitlines()
    assert verdict.startswith("diagnosis: ") and "runs/model/diagnosis.md" in verdict
    assert after == "next: satae score"
    facts, card = told("info", "runs/model"), runtime.load(Path("model.onnx"), "cpu").card
    known = card.calibration
    least = known.least_rate(card.gsd_m[0] ** 2, 4)
    assert rests.startswith(
        f"calibration: {known.region.n} background regions in {known.blocks} held-out blocks"
    )
    assert f"support --far {least:g} or more, and scores up to {known.region.reach:.1f}" in rests
    # a run folder tells the same later
    assert f"calibration: {facts['calibration']}" == rests and facts["next"] == "satae score"
    assert (facts["model"], facts["epochs"], facts["state"]) == ("model.onnx", 1, "finished")
    assert facts["val_loss"] == card.metrics["val_loss"] and facts["rule"] == "far 10"
    assert facts["threshold"] == pytest.approx(
        float(known.pixel.exponent(known.level(10, card.gsd_m[0] ** 2, 4))), rel=1e-6
    )
    named = typed("train", here / "tiles", "--set", "model.name=rx", "--out", "b.onnx")
    assert named.stderr.endswith("next: satae score SCENE --model b.onnx\n")
    (here / "b.onnx").unlink()
    facts = told("info", "runs/b")
    assert facts["model"] is None and facts["next"] == "satae train --resume --out b.onnx"
    assert typed("train", "--resume", "--out", "b.onnx").exit_code == 0 and (here / "b.onnx").is_file()


def test_an_empty_result_says_what_is_highest_and_how_to_see_it(
    here: Path, scene_path: Path, model_path: Path
) -> None:
    done = typed("score", scene_path, "--model", model_path, "--threshold", "30")
    (note,) = [line for line in done.stderr.splitlines() if "no region is reported" in line]
    assert float(re.search(r"has a heat of ([\d.]+)", note)[1]) < 30 and "--top 20" in note
    found = typed("score", scene_path, "--model", model_path, "--top", "2", "--out", "two.gpkg")
    assert "no region is reported" not in found.stderr


def test_what_calibration_cannot_tell_is_said_once_though_numbers_differ(
    here: Path, scene_path: Path, model_path: Path
) -> None:
    shutil.copy(scene_path, here / "a.tif")
    with rasterio.open(scene_path) as dataset:
        place = dataset.transform @ dataset.transform.scale(1.1)
    shutil.copy(scene_path, here / "b.tif")
    with rasterio.open("b.tif", "r+") as dataset:
        dataset.transform = place
    done = typed("score", "a.tif", "b.tif", "--model", model_path, "--far", "0.001")
    notes = [line for line in done.stderr.splitlines() if "hold" in line]
    # a pixel of the second has a larger area, so the rate that is supported there is another one
    alone = [
        typed("score", f"{n}.tif", "--model", model_path, "--far", "0.001", "--out", f"{n}.gpkg")
        for n in "ab"
    ]
    rates = [re.search(r"ask with --far ([\d.]+) or --top", each.stderr)[1] for each in alone]
    assert rates[0] > rates[1]
    assert len(notes) == 1 and notes[0].startswith("note: all 2 scenes: ranks hold, counts do not: ")
    assert f"--far {rates[0]} or --top" in notes[0] and "more training scenes of this size would" in notes[0]
    page = Path("anomalies.html").read_text(encoding="utf-8")
    assert page.count("ranks hold, counts do not") == 1 and f"rates from {float(rates[0]):,g} per" in page


def test_a_scene_that_is_missing_is_named_before_all_else(here: Path) -> None:
    (here / "anomalies.gpkg").touch()
    done = typed("score", "nothing.tif", "--model", "no.onnx")
    assert done.exit_code == 2 and done.stderr == "error: nothing.tif does not exist\n"


@pytest.mark.parametrize(
    ("bands", "gsd", "words"), [(4, 10.0, "objects of"), (4, 30.0, "areas"), (60, 4.0, "spectrum")]
)
def test_a_recipe_that_was_chosen_is_named_by_its_purpose(bands: int, gsd: float, words: str) -> None:
    recipe = presets.Recipe()
    assert words in presets.purpose(recipe, bands, gsd)
    named = presets.recipe_of({"model": {"name": "conv"}})
    assert presets.purpose(named, bands, gsd) == ""


def test_train_names_the_recipe_and_says_details_on_request(here: Path, tile_set: Path) -> None:
    shutil.copytree(tile_set, here / "tiles" / "land")
    done = typed("-v", "train", "--config", "rx")
    assert done.stdout.splitlines()[0] == "model.onnx: recipe rx, in closed form"
    assert "info: rx, score whitened" in done.stderr and "ONNX equals torch to" in done.stderr
    assert "ONNX" not in done.stdout


def test_info_finds_the_model_of_a_run_where_the_run_was_told_that_it_is(
    here: Path, scene_path: Path, model_path: Path
) -> None:
    (here / "models").mkdir()
    shutil.copy(model_path, here / "models" / "kept.onnx")
    line = ("run", scene_path, "--model", "models/kept.onnx", "--top", "2", "--out", "out", "--collect")
    assert typed(*line).exit_code == 0
    kept = here / "models" / "kept.onnx"
    assert told("info", "out/anomalies.gpkg")["model_now"] == f"{kept} is the model that scored it"
    kept.write_bytes(b"another")
    assert "none beside it" in told("info", "out/anomalies.gpkg")["model_now"]


def test_info_says_whether_scene_and_model_are_those_of_the_result(
    here: Path, scene_path: Path, model_path: Path
) -> None:
    shutil.copy(scene_path, here / "land.tif")
    shutil.copy(model_path, here / "kept.onnx")
    assert typed("score", "land.tif", "--model", "kept.onnx", "--top", "2").exit_code == 0
    for name in ("anomalies.gpkg", "anomalies_heatmap.tif"):
        facts = told("info", name)
        assert (facts["scenes_now"], facts["model_now"]) == (
            "as it was",
            "kept.onnx is the model that scored it",
        )
    assert facts["result"] == "anomalies.gpkg" and facts["scene"] == "land"
    assert facts["kind"] == "heatmap" and facts["bands"] == ["heat (-log10 p)"]
    times = (here / "land.tif").stat().st_mtime + 9e6
    os.utime("land.tif", (times, times))
    (here / "kept.onnx").unlink()
    facts = told("info", "anomalies.gpkg")
    assert facts["scenes_now"] == "changed since" and "no .onnx there" in facts["model_now"]
    (here / "land.tif").unlink()
    assert told("info", "anomalies_heatmap.tif")["scenes_now"] == "not there"
    assert told("info", ".")["holds"] == ["anomalies.gpkg"]


def test_bands_are_chosen_by_name(here: Path, make_scene: MakeScene) -> None:
    image = np.arange(4 * 64 * 64, dtype=np.uint16).reshape(4, 64, 64)
    make_scene(image, name="s.tif", folder=here)
    with rasterio.open("s.tif", "r+") as dataset:
        dataset.descriptions = ("blue", "green", "red", "nir")
    assert told("tile", "s.tif", "--bands", "red,nir", "--size", "32")["tilesets"][0]["bands"] == 2
    assert told("info", "tiles/s")["bands"] == ["red", "nir"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert console.tint("error:", "red", Terminal()) == "\x1b[31merror:\x1b[0m"
    assert console.tint("error:", "red", io.StringIO()) == "error:"
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.tint("error:", "red", Terminal()) == "error:"
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert console.tint("error:", "red", Terminal()) == "error:"


def test_more_regions_than_there_are_is_said_in_one_line_for_all_scenes(
    here: Path, scene_path: Path, model_path: Path
) -> None:
    for name in ("a.tif", "b.tif"):
        (here / name).symlink_to(scene_path)
    done = typed("score", "a.tif", "b.tif", "--model", model_path, "--top", "5000")
    (note,) = [line for line in done.stderr.splitlines() if "asks for more than there is" in line]
    assert note.startswith("note: all 2 scenes: --top 5000 asks") and "hotter than 99% of background" in note
    few = typed("score", "a.tif", "--model", model_path, "--top", "2", "--out", "two.gpkg")
    assert "asks for more" not in few.stderr
