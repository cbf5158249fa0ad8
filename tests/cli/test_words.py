"""What the commands say at their ends: a verdict, what was highest, and what to type next."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from commands import typed


def test_training_ends_with_a_verdict_and_the_next_command(here: Path, tile_set: Path) -> None:
    shutil.copytree(tile_set, here / "tiles" / "land")
    done = typed("train", "--set", "model.name=rx")
    *_, verdict, after = done.stderr.splitlines()
    assert verdict.startswith("diagnosis: ") and "runs/model/diagnosis.md" in verdict
    assert after == "next: satae score"
    named = typed("train", here / "tiles", "--set", "model.name=rx", "--out", "b.onnx")
    assert named.stderr.endswith("next: satae score SCENE --model b.onnx\n")


def test_an_empty_result_says_what_is_highest_and_how_to_see_it(
    here: Path, scene_path: Path, model_path: Path
) -> None:
    done = typed("score", scene_path, "--model", model_path, "--threshold", "30")
    (note,) = [line for line in done.stderr.splitlines() if "no region is reported" in line]
    assert float(re.search(r"has a heat of ([\d.]+)", note)[1]) < 30 and "--top 20" in note
    found = typed("score", scene_path, "--model", model_path, "--top", "2", "--out", "two.gpkg")
    assert "no region is reported" not in found.stderr
