"""`satae train` whole: what it leaves behind, also when it is refused or killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands import SATAE, typed
from scenes import make_tiles
from told import Told

from satae import config
from satae.errors import (
    ConfigError,
    DeviceError,
    DivergedError,
    OutputError,
    SataeError,
    TilesError,
    TrainError,
)
from satae.inference import runtime
from satae.nn.checkpoint import CHECKPOINT, Epoch
from satae.tiles import store
from satae.training import documents, export, loop, presets
from satae.training import run as training
from satae.training.calibration import Block

FILES = [
    "checkpoint.pt", "config.yaml", "curves.png", "diagnosis.md", "evidence.json", "history.csv",
    "history.jsonl",
    "reconstructions.png",
]  # fmt: skip
QUICK = ["model.name=conv", "train.epochs=1", "train.min_steps=1", "model.params.width=4"]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def train(folder: Path, tile_set: Path, *changes: str, **how: Any) -> training.Result:
    recipe = config.load(None, [*QUICK, *changes])
    sets = [store.load(tile_set)]
    return training.train(sets, recipe, folder / "model.onnx", folder / "runs" / "model", device="cpu", **how)


def finished(model_path: Path, folder: Path) -> Path:
    """A folder with a model and its finished run."""
    return shutil.copytree(model_path.parent, folder / "trained")


def stop(done: int, total: int, epoch: Epoch | None) -> None:
    raise KeyboardInterrupt


def test_a_run_whose_loss_is_no_number_says_so_in_its_diagnosis_and_can_be_started_again(
    tile_set: Path, tmp_path: Path
):
    with pytest.raises(DivergedError, match=r"not finite in epoch 1"):
        train(tmp_path, tile_set, "train.learning_rate=1e30", "train.min_steps=4")
    said = (tmp_path / "runs" / "model" / "diagnosis.md").read_text()
    assert "**learning rate too high**" in said and "1e+30" in said
    assert not (tmp_path / "model.onnx").exists()
    train(tmp_path, tile_set)
    assert "not finite" not in (tmp_path / "runs" / "model" / "diagnosis.md").read_text()


def test_a_run_leaves_a_model_and_its_folder_and_nothing_else(model_path):
    run = model_path.parent / "runs" / "model"
    assert names(run) == FILES
    assert names(model_path.parent) == ["model.onnx", "runs"] and names(run.parent) == ["model"]


def test_the_run_folder_holds_the_whole_recipe(model_path):
    path = model_path.parent / "runs" / "model" / "config.yaml"
    recipe = config.load(path)
    assert recipe.train.epochs == 2 and recipe.model.params == {"width": 8}
    assert yaml.safe_load(path.read_text()) == recipe.model_dump()
    assert runtime.load(model_path, "cpu").card.recipe == recipe.model_dump()


def test_a_model_is_calibrated_on_its_held_out_tiles(model_path):
    found = runtime.load(model_path, "cpu").card.calibration
    assert found is not None
    assert found.blocks >= 1 and 2 * 32 * 32 >= found.tile.n >= 2
    assert found.pixel.n == found.pixels > 0


def test_an_existing_model_or_run_is_refused_with_what_to_type(tile_set, model_path, tmp_path):
    trained = finished(model_path, tmp_path)
    with pytest.raises(OutputError, match=r"model.onnx exists; pass --overwrite"):
        train(trained, tile_set)
    (trained / "model.onnx").rename(trained / "kept.onnx")
    with pytest.raises(OutputError, match=r"holds an earlier run; pass --resume .*--overwrite"):
        train(trained, tile_set)
    assert names(trained) == ["kept.onnx", "runs"] and names(trained / "runs" / "model") == FILES


def test_a_finished_run_that_is_resumed_gives_the_same_model_again(
    tile_set, model_path, monkeypatch, tmp_path
):
    trained = finished(model_path, tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    before = (trained / "model.onnx").read_bytes()
    (trained / "model.onnx").unlink()
    train(trained, tile_set, resume=True)
    assert (trained / "model.onnx").read_bytes() == before


def test_a_finished_run_that_is_resumed_replaces_no_model_unasked(tile_set, model_path, tmp_path):
    trained = finished(model_path, tmp_path)
    before = (trained / "model.onnx").read_bytes()
    with pytest.raises(
        OutputError, match=r"runs/model is finished and .*model.onnx exists, so .*; pass --overwrite too"
    ):
        train(trained, tile_set, resume=True)
    assert (trained / "model.onnx").read_bytes() == before


REFUSED = [
    ("objective=mae9", ConfigError),
    ("score=ssim9", ConfigError),
    ("score=[whitened, ssim9]", ConfigError),
    ("objective=surprise", ConfigError),
    ("score=surprise", ConfigError),
    ("model.name=unet9", ConfigError),
    ("model.params.depht=3", ConfigError),
    ("model.params.width=0", ConfigError),
    ("augment.crop=33", ConfigError),
]


@pytest.mark.parametrize(("change", "error"), REFUSED)
def test_a_wrong_recipe_is_refused_before_anything_is_made(tile_set, tmp_path, change: str, error: type):
    with pytest.raises(error):
        train(tmp_path, tile_set, change)
    assert names(tmp_path) == []


def test_a_wrong_recipe_does_not_clear_an_earlier_run_that_would_be_replaced(tile_set, model_path, tmp_path):
    trained = finished(model_path, tmp_path)
    before = {p: p.read_bytes() for p in (trained / "runs" / "model").iterdir()}
    with pytest.raises(ConfigError):
        train(trained, tile_set, "objective=mae9", overwrite=True)
    assert {p: p.read_bytes() for p in (trained / "runs" / "model").iterdir()} == before


def test_tiles_that_do_not_do_are_refused_before_anything_is_made(tmp_path):
    few, flat = make_tiles(np.zeros((2, 32, 32), np.uint8)), make_tiles(np.zeros((2, 128, 128), np.uint8))
    for sets, error in ((few, TilesError), (flat, TrainError)):
        with pytest.raises(error):
            training.train(
                [sets], config.Recipe(), tmp_path / "model.onnx", tmp_path / "runs" / "model", device="cpu"
            )
    assert names(tmp_path) == []


def test_cuda_is_refused_where_there_is_none_before_anything_is_made(tile_set, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cuda"):
        training.train([], config.Recipe(), tmp_path / "model.onnx", tmp_path / "run", device="cuda")
    assert names(tmp_path) == []


def test_a_run_stopped_in_its_first_epoch_can_be_resumed_or_started_again(tile_set, tmp_path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, tile_set, report=stop)
        assert names(tmp_path / "runs" / "model") == ["config.yaml"]
    assert train(tmp_path, tile_set, resume=True).epochs == 1


def test_resuming_needs_a_run(tile_set, tmp_path):
    with pytest.raises(TilesError, match="holds no interrupted run; start one without --resume"):
        train(tmp_path, tile_set, resume=True)
    assert names(tmp_path) == []


def test_resuming_with_a_broken_recipe_is_refused_in_one_sentence(tile_set, model_path, tmp_path):
    trained = finished(model_path, tmp_path)
    (trained / "runs" / "model" / "config.yaml").write_text("train: [")
    with pytest.raises(ConfigError, match=r"config.yaml is not a valid recipe"):
        train(trained, tile_set, resume=True)


def test_a_folder_that_satae_did_not_write_is_refused(tile_set, tmp_path):
    (tmp_path / "runs" / "model").mkdir(parents=True)
    (tmp_path / "runs" / "model" / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="is in the way"):
        train(tmp_path, tile_set)
    train(tmp_path, tile_set, overwrite=True)
    assert (tmp_path / "runs" / "model" / "thesis.txt").read_text() == "x"


@pytest.mark.parametrize("how", [{}, {"overwrite": True}])
def test_a_file_in_the_place_of_the_run_folder_is_refused(tile_set, tmp_path, how: dict[str, bool]):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "model").write_text("x")
    with pytest.raises(OutputError):
        train(tmp_path, tile_set, **how)
    assert (tmp_path / "runs" / "model").read_text() == "x"


def wait_for_lines(path: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if path.exists() and path.read_text().count("\n") >= lines:
            return
        time.sleep(0.005)
    raise AssertionError(f"ended with {process.poll()}: {process.communicate()[1]!r}")


@pytest.mark.slow
def test_a_killed_run_that_is_resumed_gives_the_bytes_of_the_unbroken_one(tile_set, tmp_path, monkeypatch):
    """Only the run that is killed needs a process of its own."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    changes = "model.name=conv", "model.params.width=4", "train.min_steps=12"
    line = ["train", tile_set, "--epochs", "5", *(word for change in changes for word in ("--set", change))]
    for folder in (whole, broken):
        folder.mkdir()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": os.environ | {"PYTHONWARNINGS": ""}}
    process = subprocess.Popen([*SATAE, *line], cwd=broken, **pipes)
    wait_for_lines(broken / "runs" / "model" / "history.jsonl", 2, process)
    process.kill()
    process.communicate()
    assert not (broken / "model.onnx").exists() and (broken / "runs" / "model" / CHECKPOINT).exists()
    monkeypatch.chdir(broken)
    assert (
        "which has another train.epochs; leave that out" in typed(*line, "--epochs", "6", "--resume").stderr
    )
    # the options that it was begun with may be given again
    for folder, words in ((broken, (*line, "--resume")), (whole, line)):
        monkeypatch.chdir(folder)
        assert typed(*words).exit_code == 0
    assert (broken / "model.onnx").read_bytes() == (whole / "model.onnx").read_bytes()


WITHOUT_CODE = ["model={name: masked}", "model.params={width: 4}"]


@pytest.mark.parametrize("score", ["latent", "{name: memory, params: {of: code}}"])
def test_a_head_of_the_code_is_refused_before_anything_is_made_where_there_is_none(
    tile_set, tmp_path, score: str
):
    with pytest.raises(ConfigError, match="the architecture has no code"):
        train(tmp_path, tile_set, *WITHOUT_CODE, f"score={score}")
    assert names(tmp_path) == []


def test_a_model_with_several_heads_and_steps_is_whole(tile_set, tmp_path):
    changes = ["model={name: ring}", "model.params={hidden: 8}", "train.pixels=500", "map.max_object_px=9"]
    done = train(tmp_path, tile_set, *changes, "score=[whitened, {name: memory, params: {size: 50}}, latent]")
    card = runtime.load(tmp_path / "model.onnx", "cpu").card
    assert card.score == "whitened + memory + latent" and card.architecture == "ring"
    assert card.halo >= 16 + 8 and card.core == export.CORE and card.calibration is not None
    assert card.parity.share_of_range < 1e-4 and done.card.recipe == card.recipe


def test_the_run_keeps_the_settled_recipe_and_a_resumed_one_is_not_settled_again(
    tile_set, tmp_path, monkeypatch
):
    train(tmp_path, tile_set)
    kept = config.load(tmp_path / "runs" / "model" / "config.yaml")
    assert kept == presets.complete_recipe(config.load(None, QUICK), 4, 10.0)
    (tmp_path / "model.onnx").unlink()
    monkeypatch.setattr(presets.models, "suits", lambda name: {"input": {"ridge": 0.5}})
    assert kept != presets.complete_recipe(config.load(None, QUICK), 4, 10.0)
    train(tmp_path, tile_set, resume=True)
    assert runtime.load(tmp_path / "model.onnx", "cpu").card.recipe == kept.model_dump()


def test_every_refusal_is_one_sentence(tile_set, tmp_path):
    for change, _ in REFUSED:
        with pytest.raises(SataeError) as caught:
            train(tmp_path, tile_set, change)
        assert "\n" not in str(caught.value) and not str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["objective.terms={mse: 1.0, kl: 0.1}"], "objective = 'kl': the architecture has no log-variance"),
        (["objective=bce"], "objective = 'bce': the input goes from -"),
        (["objective=bce", "input.space=unit"], "objective = 'bce': the reconstruction goes from -"),
        (["objective=perceptual"], "objective.params.perceptual.run: name the folder"),
        (["objective.terms={mse: 1.0, sparse_l1: 0.1}", "model.name=masked"], "the architecture has no code"),
    ],
)
def test_terms_that_ask_for_what_there_is_not_are_refused_before_anything_is_written(
    tmp_path, tile_set, changes: list[str], said: str
):
    with pytest.raises(ConfigError, match=said):
        training.train(
            [store.load(tile_set)],
            config.load(None, ["model.name=conv", *changes]),
            tmp_path / "model.onnx",
            tmp_path / "runs" / "model",
            device="cpu",
        )
    assert not (tmp_path / "model.onnx").exists() and not (tmp_path / "runs" / "model").exists()


def test_the_quality_of_tiles_is_counted():
    image = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)
    valid = np.ones((64, 64), bool)
    image[:, :32, :32] = 5.0  # the first of four tiles is constant
    valid[32:, 32:] = False  # of the last a quarter is valid
    valid[32:48, 32:48] = True
    found = documents.quality([make_tiles(image, valid)], np.array([[0, 0], [0, 1], [0, 2], [0, 3]]))
    assert found.count == 4 and found.constant == 0.25
    assert found.valid == pytest.approx((1 + 1 + 1 + 0.25) / 4)


def test_the_worst_and_the_middle_of_the_held_out_tiles_are_shown():
    scores = np.zeros((4, 4), np.float32)
    blocks = [
        Block(scores, np.array([[0, 3], [0, 4]]), [1.0, 9.0]),
        Block(scores, np.array([[1, 0], [1, 7], [1, 8]]), [5.0, 3.0, 20.0]),
    ]
    held_out = np.array([[0, 3], [0, 4], [1, 0], [1, 7]])  # (1, 8) was learned from, and found to be normal
    told = [(tuple(where.tolist()), title) for where, title in documents.extremes(blocks, held_out)]
    assert told == [((0, 4), "worst"), ((1, 0), "second worst"), ((1, 7), "median"), ((0, 3), "median")]
    (alone,) = documents.extremes(blocks[:1], held_out[:1])
    assert alone[1] == "worst"


def test_a_plan_that_was_tried_is_fitted_as_if_it_were_new(tile_set, tmp_path):
    """The architecture is built once; what draws random numbers in between changes nothing."""
    sets = [store.load(tile_set)]
    recipe = config.load(None, ["model.name=variational", "train.epochs=1", "train.min_steps=2"])
    weights = []
    for name in ("plain", "tried"):
        planned, run = loop.plan(sets, recipe), tmp_path / name
        if name == "tried":
            planned.model.eval()
            torch.randn(1000)
        run.mkdir()
        fitted = loop.fit(sets, planned, run, device=torch.device("cpu"))
        weights.append({key: value.clone() for key, value in fitted.model.state_dict().items()})
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_every_part_of_the_work_has_a_line(tile_set, tmp_path):
    steps = Told()
    train(tmp_path, tile_set, steps=steps)
    assert [title for title, _, _ in steps.told] == [
        "look at the tiles", "train", "measure the reach", "fit scores and map", "export to ONNX",
        "compare with torch", "calibrate", "diagnose", "verify",
    ]  # fmt: skip
    far = {title: (total, done) for title, total, done in steps.told}
    for title, parts in (("fit scores and map", 0), ("calibrate", 1), ("diagnose", 8)):
        total, done = far[title]
        assert done == total >= parts, title
