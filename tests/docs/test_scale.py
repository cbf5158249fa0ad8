"""The scripts of docs/scale.md: the Slurm array runs, and the two definitions say what the command takes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import crowds
import yaml
from commands import typed

from satae.batch.folders import SceneFolders
from satae.batch.shard import Shard

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"


def block(language: str) -> str:
    """The block of the page in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return str(found)


def test_the_slurm_array_scores_all_scenes_and_its_second_line_collects_them(
    model_path: Path, tmp_path: Path
) -> None:
    names = sorted(p.name for p in (crowds.crowd(tmp_path, 3)).iterdir())
    (tmp_path / "scenes.txt").write_text("".join(f"in/{name}\n" for name in names))
    (tmp_path / "model.onnx").symlink_to(model_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "satae").write_text(f'#!/bin/sh\nexec {sys.executable} -m satae "$@"\n')
    (tmp_path / "bin" / "satae").chmod(0o755)
    (tmp_path / "job.sh").write_text(block("bash"))
    count = int(re.search(r"--array=0-(\d+)", block("bash"))[1]) + 1  # type: ignore[index]
    parts = {i for i in range(count) for name in names if Shard(i, count).holds(name.removesuffix(".tif"))}
    for part in sorted(parts):
        slurm = {
            "SLURM_ARRAY_TASK_ID": str(part),
            "SLURM_ARRAY_TASK_COUNT": str(count),
            "SLURM_ARRAY_TASK_MIN": "0",
        }
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=os.environ | slurm | {"PATH": path}, check=True)
    assert len(crowds.heatmaps(tmp_path / "coast")) == 3
    # those that no scene falls to are part of the array too
    line = ("run", tmp_path / "scenes.txt", "--model", tmp_path / "model.onnx", "--out", tmp_path / "coast")
    for part in sorted({*range(count)} - parts):
        assert typed(*line, "--shard", f"{part}/{count}").exit_code == 0
    assert typed("run", "--collect", "--out", tmp_path / "coast").exit_code == 0
    assert SceneFolders(tmp_path / "coast").missing == 0


def test_the_definitions_for_kubernetes_and_aws_agree_with_the_command() -> None:
    job = yaml.safe_load(block("yaml"))["spec"]
    command = job["template"]["spec"]["containers"][0]["args"]
    assert command[command.index("--shard") + 1] == f"auto/{job['completions']}"
    aws = json.loads(block("json"))["containerProperties"]["command"]
    assert aws[: aws.index("--shard")] == command[: command.index("--shard")]
    known = typed("run", "--help").stdout
    assert all(word in known for word in (*command, *aws) if word.startswith("--"))
