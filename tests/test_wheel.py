"""satae as pip installs it: built as a wheel, put into an environment of its own, and every command run from there.

Its dependencies are those of this environment, and nothing is fetched.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import typer
from archives import batches, write_binary
from commands import hear_interrupts
from scenes import MakeScene
from shared import Shared

from satae import config
from satae.cli import app

ROOT = Path(__file__).resolve().parent.parent
SCENE, RX = "{folder}/land.tif", "--set model.name=rx --device cpu"
# In this order; what comes first makes what comes later needs.
LINES = (
    f"tile {SCENE} --size 32",
    "train --config undercomplete --epochs 1 --set train.min_steps=2 --device cpu",
    "score --top 3",
    f"run {SCENE} --model model.onnx --out many --top 3",
    "info model.onnx",
    "export model.onnx --flavor deepness --out deepness.onnx",
    "models --json",
    f"bench had {{folder}} {RX} --out had",
    f"bench inject {SCENE} --sizes 4 --contrasts 2 --shares 1 --number 2 {RX} --out inject",
    "bench cifar10 --data {folder}/cifar --families pca --limit 40 --out cifar",
)


def installed(shared: Shared) -> Path:
    """The folder of the programs of an environment into which the wheel was installed."""

    def install(folder: Path) -> None:
        hatchling = pytest.importorskip("hatchling.build")
        with contextlib.chdir(ROOT):
            wheel = folder / hatchling.build_wheel(str(folder))
        venv.create(folder / "clean", with_pip=False)
        site = next((folder / "clean").rglob("site-packages"))
        # a line in a .pth adds a folder, and not what is installed there in editable form
        (site / "dependencies.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
        pip = [sys.executable, "-m", "pip", "--python", programs(folder) / "python"]
        options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *options, wheel], check=True, env=environment())

    return programs(shared.made("wheel", install))


def programs(folder: Path) -> Path:
    return folder / "clean" / ("Scripts" if os.name == "nt" else "bin")


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def ended(shared: Shared, folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    command = [installed(shared) / "satae", *line.split()]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


def inputs_of(folder: Path, scene: Path, make_scene: MakeScene) -> Path:
    """A landscape, a scene with truth as GeoTIFF and as `.mat`, and small images."""
    (folder / "land.tif").write_bytes(scene.read_bytes())
    cube, truth = np.random.default_rng(0).random((3, 48, 48)), np.zeros((48, 48), "uint8")
    truth[20:23, 20:23] = 1
    make_scene(cube, name="a.tif", folder=folder)
    make_scene(truth[None], name="a_shipmask.tif", folder=folder)
    scipy.io.savemat(folder / "a.mat", {"data": cube.transpose(1, 2, 0), "map": truth})
    write_binary(folder / "cifar", batches(40))
    return folder


def test_what_is_installed_lies_in_the_environment_with_its_recipes(shared: Shared, tmp_path: Path) -> None:
    python, code = installed(shared) / "python", "import satae.config as c; print(c.__file__, *c.recipes())"
    place, *names = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    ).stdout.split()
    assert Path(place).is_relative_to(programs(shared.root / "wheel").parent)
    assert names == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


@pytest.mark.slow
def test_every_command_runs_from_the_wheel(
    shared: Shared, scene_path: Path, make_scene: MakeScene, tmp_path: Path
) -> None:
    (tmp_path / "inputs").mkdir()
    folder = inputs_of(tmp_path / "inputs", scene_path, make_scene)
    said = {}
    for line in LINES:
        done = ended(shared, tmp_path, line.format(folder=folder))
        assert done.returncode == 0, (line, done.stderr)
        said[line] = done.stdout
    rows = json.loads(said["models --json"])["models"]
    assert [row["name"] for row in rows if row["kind"] == "recipe"] == sorted(config.recipes())
    assert (tmp_path / "anomalies.html").is_file() and (tmp_path / "deepness.onnx").is_file()
    # those that end when they are told to
    for words, sign in (("review anomalies.gpkg", None), ("demo --out shown", tmp_path / "shown")):
        with subprocess.Popen(
            [installed(shared) / "satae", *words.split()], cwd=tmp_path, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hear_interrupts,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            if sign is None:
                assert process.stdout.readline().startswith("http://127.0.0.1:")
            while sign is not None and not any(sign.glob("*.tif")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        assert process.returncode == (0 if sign is None else 130) and "Traceback" not in error, error
    # those that differ from `bench had` in what they read
    unread = (
        "bench ships nowhere",
        "bench masks nowhere.tif --truth nowhere.tif",
        "bench dates nowhere.tif --truth no",
    )
    for words in (*unread, "series nowhere"):
        done = ended(shared, tmp_path, words)
        assert done.returncode == 2 and "nowhere" in done.stderr, done.stderr
    typed = {line.split()[1] if line.startswith("bench") else line.split()[0] for line in LINES}
    command: Any = typer.main.get_command(app.app)
    commands = {*command.commands, *command.commands["bench"].commands} - {"bench"}
    assert typed | {"review", "demo", "ships", "masks", "dates", "series"} == commands


@pytest.mark.parametrize("name", ["hyperspectral", "nothing"])
def test_a_recipe_is_taken_by_its_name_and_another_is_refused_with_the_names(
    name: str, shared: Shared, tile_set: Path, tmp_path: Path
) -> None:
    done = ended(shared, tmp_path, f"train {tile_set} --config {name} --set train.epoch=1")
    fault = (
        "there is no setting train.epoch"
        if name == "hyperspectral"
        else "there are adversarial, annulus, areas"
    )
    assert done.returncode == 2 and fault in done.stderr
