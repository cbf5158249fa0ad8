"""`satae bench cifar10`: figures beside independent ones, and what a user types, sees and finds in the folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from archives import batches, write_binary, write_python
from detectors import small
from torch import nn
from typer.testing import CliRunner

from satae import config
from satae.bench import cifar, cifar_report, families
from satae.bench.families import Family, FittedFamily, Linear
from satae.bench.images import Images, unit_contrast
from satae.bench.quality import quality
from satae.cli import app
from satae.errors import ConfigError
from satae.models import MODELS, Output

CPU = torch.device("cpu")
SMALL = ("--set", "model.params.width=4", "--set", "model.params.code=6", "--set", "train.min_steps=2")


def typed(*words: object) -> Any:
    """The result of a command line; a bug keeps its traceback."""
    result = CliRunner().invoke(app.app, ["bench", "cifar10", *(str(w) for w in words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def family(*changes: str, name: str = "dense") -> Family:
    (found,) = families.families([name], ["model.params.width=4", "model.params.code=6", *changes])
    return found


class Half(nn.Module):
    """Gives half of what it is shown."""

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> Output:
        return Output(x / 2, x[:, :2, :1, :1])


def fake(recipe: config.Recipe, pixels: np.ndarray) -> FittedFamily:
    train = np.arange(len(pixels))
    return FittedFamily(Family("half", recipe), Half(), Images(pixels, recipe, CPU), CPU, train, 2, 1, 0.0)


def test_the_pca_beside_is_exact_and_in_units_of_the_image() -> None:
    images = batches(40)["data_batch_1"][0]
    flat = images.reshape(40, -1) / 255
    _, _, vt = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    best = (flat - flat.mean(axis=0)) @ vt[:7].T @ vt[:7] + flat.mean(axis=0)
    assert np.allclose(Linear(images).reconstruction(images, 7).reshape(40, -1), best, atol=1e-5)


def test_errors_of_reconstruction_are_as_they_are_defined() -> None:
    images = batches(10)["test_batch"][0]
    found = families.scores(fake(config.Recipe(), images), images)
    x = images.reshape(10, -1) / 255
    assert list(found) == ["error", "contrast"]
    assert np.allclose(found["error"], (x**2).mean(axis=1) / 4, rtol=1e-5)
    assert np.allclose(found["contrast"], (x**2).mean(axis=1) / 4 / x.var(axis=1), rtol=1e-4)


def test_errors_of_restoration_are_over_those_of_training_and_the_mean_of_four_turns() -> None:
    train, test = batches(10)["data_batch_1"][0], batches(6, seed=1)["test_batch"][0]
    recipe = config.load(None, ["images.restore=true"])
    found = families.scores(fake(recipe, train), test)
    weights, expected, sure = np.array([0.299, 0.587, 0.114]), np.zeros(6), np.zeros(6)

    def errors(images: np.ndarray, turn: int, against: int = 0) -> np.ndarray:
        x = images / 255
        out = np.rot90(np.einsum("c,nchw->nhw", weights, x)[:, None].repeat(3, 1), turn, (2, 3)) / 2
        return ((out - np.rot90(x, against, (2, 3))) ** 2).mean(axis=(1, 2, 3))

    def relative(images: np.ndarray, turn: int) -> np.ndarray:
        return errors(images, turn) / np.mean([errors(images, turn, k) for k in (1, 2, 3)], axis=0)

    for turn in range(4):
        expected += errors(test, turn) / errors(train, turn).mean() / 4
        sure += relative(test, turn) / relative(train, turn).mean() / 4
    assert np.allclose(found["error"], expected, rtol=1e-4)
    assert np.allclose(found["turn"], sure, rtol=1e-4)


def test_auroc_is_that_of_other_classes_over_the_normal_one() -> None:
    made = batches(40)
    images, classes = made["test_batch"]
    found = fake(config.Recipe(), images)
    data = cifar.Cifar(images, classes, images, classes)
    told = families.telling(found, Linear(images), data, 3)
    score = ((images / 255) ** 2).mean(axis=(1, 2, 3))
    normal, others = score[classes == 3], score[classes != 3]
    above = (others[:, None] > normal).mean() + 0.5 * (others[:, None] == normal).mean()
    assert told.normal == "cat" and told.own["error"] == pytest.approx(above)


def test_a_family_learns_and_test_images_are_not_seen() -> None:
    images = batches(60)["data_batch_1"][0]
    short, longer = (
        families.fit(images, family(f"train.epochs={n}", "train.min_steps=10"), CPU) for n in (1, 8)
    )
    before, after = (((families.rebuild(f, images) - images / 255) ** 2).mean() for f in (short, longer))
    assert after < 0.9 * before
    assert longer.code == 6 and longer.epochs == 8 and longer.parameters > 0
    assert len(longer.train) == 60 - round(0.2 * 60)


def test_the_same_seed_gives_the_same_images() -> None:
    images, made = batches(40)["data_batch_1"][0], family("train.epochs=1", "train.min_steps=2")
    one, two, other = (
        families.rebuild(families.fit(images, families.with_seed(made, seed), CPU), images)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def blobs(count: int) -> np.ndarray:
    """A bright disc somewhere: two numbers tell all of it, but not linearly."""
    rows, cols = np.random.default_rng(0).uniform(8, 24, (2, count, 1, 1))
    y, x = np.mgrid[:32, :32]
    disc = 30 + 200 * np.exp(-((y - rows) ** 2 + (x - cols) ** 2) / 32)
    return disc[:, None].repeat(3, 1).astype(np.uint8)


def test_refined_begins_at_pca_and_leaves_it_downwards() -> None:
    images = blobs(200)
    changes = ("model.params.size=32", "train.epochs=3", "train.min_steps=30", "images.flip=false")
    found = families.fit(images, family(*changes, name="refined"), CPU)
    learned = images[found.train]
    mine = ((families.rebuild(found, learned) - learned / 255) ** 2).mean()
    linear = Linear(learned)
    theirs = ((linear.reconstruction(learned, 6) - learned / 255) ** 2).mean()
    assert found.code == 6 and mine < 0.8 * theirs
    for layer in (found.model.encoder.out, found.model.decoder.out[0]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    assert np.allclose(families.rebuild(found, learned), linear.reconstruction(learned, 6), atol=1e-3)


def test_reconstruction_end_to_end(here: Path) -> None:
    write_binary(archive := here / "cifar", batches(40))
    words = ("--data", archive, "--families", "cifar10,conv", "--epochs", 1, "--limit", 60, "--out", "b")
    result = typed(*words, "--set", "train.min_steps=2", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said == {"out": "b"} | json.loads(Path("b/bench.json").read_text())
    assert [(r["family"], r["code"], r["epochs"]) for r in said["rows"]] == [
        ("cifar10", 128, 1),
        ("conv", 128, 1),
    ]
    test = batches(40)["test_batch"][0]
    images = np.concatenate([batches(40)[f"data_batch_{i}"][0] for i in (1, 2)])[:60]
    best = Linear(images).reconstruction(test, 128)
    assert said["rows"][0]["pca"]["mse"] == pytest.approx(((best - test / 255.0) ** 2).mean(), rel=1e-3)
    assert {p.name for p in Path("b").iterdir()} == {
        "bench.json",
        "table.txt",
        "config.yaml",
        "reconstructions.png",
    }
    assert "--limit compare with nothing in print" in result.stderr
    assert "exists; pass --overwrite" in typed(*words).stderr


def test_one_class_end_to_end_from_a_python_archive(here: Path) -> None:
    write_python(Path("py"), batches(100))
    words = ("--data", "py", "--task", "one-class", "--families", "cifar10_restore,dense", "--epochs", 1)
    result = typed(*words, *SMALL, "--classes", "cat,7", "--seeds", "0,1", "--out", "b")
    assert result.exit_code == 0, result.stderr
    said = json.loads(Path("b/bench.json").read_text())
    assert [(r["family"], r["normal"], r["seed"]) for r in said["rows"]] == [
        (f, c, s) for c in ("cat", "horse") for s in (0, 1) for f in ("cifar10_restore", "dense")
    ]
    assert set(said["mean"]["cifar10_restore"]) == {"error", "contrast", "turn"}
    shown = result.stdout.splitlines()
    assert shown[0].split() == ["AUROC", "cat", "horse", "mean", "s/epoch"]
    mean = said["mean"]["dense"]["error"]
    assert next(line for line in shown if line.startswith("dense, error")).split()[-2] == f"{mean:.4f}"
    assert all(0 <= value <= 1 for row in said["rows"] for value in row["own"].values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "nowhere does not exist; get cifar-10-binary.tar.gz"),
        (["--data", "{0}", "--task", "both"], "--task both: there are reconstruction, one-class"),
        (
            ["--data", "{0}", "--families", "unet9000"],
            "--families unet9000: there is no such recipe (",
        ),
        (["--data", "{0}", "--families", "conv,conv"], "does not name different families"),
        (["--data", "{0}", "--families", "missing.yaml"], "missing.yaml is no file and no recipe"),
        (["--data", "{0}", "--families", "cifar10_restore"], "cifar10_restore has images.restore on"),
        (["--data", "{0}", "--classes", "cow"], "--classes cow: there is no such class; there are airplane"),
        (["--data", "{0}", "--limit", "5"], "--limit 5 is less than 20"),
        (["--data", "{0}", "--device", "tpu"], "--device tpu: there are auto, cpu and cuda"),
        (
            ["--data", "{0}", "--set", "images.padding=1"],
            "there is no setting images.padding; there are flip, pad",
        ),
        (["--data", "{0}", "--set", "images.pad=99"], "images.pad = 99"),
        (["--data", "{0}", "--seeds", "1,1"], "--seeds 1,1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(here: Path, words: list[str], message: str) -> None:
    write_binary(archive := here / "cifar", batches(40))
    result = typed(*(word.format(archive) for word in words))
    assert (result.exit_code, result.stdout) == (2, "")
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert list(Path().iterdir()) == [Path("cifar")]


def test_a_hostile_archive_is_refused_and_leaves_nothing(here: Path) -> None:
    write_python(Path("py"), batches(40))
    Path("py/data_batch_1").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    result = typed("--data", "py", "--out", "b")
    assert result.exit_code == 2 and "it asks to run 'os.system', and data runs nothing" in result.stderr
    assert {p.name for p in Path().iterdir()} == {"py"}


def test_classes_are_named_or_numbered() -> None:
    assert cifar_report.class_numbers("truck, 0,cat,3") == (0, 3, 9)
    with pytest.raises(ConfigError):
        cifar_report.class_numbers("")


def test_what_is_shown_of_a_common_contrast_lies_about_the_middle() -> None:
    images = batches(10)["test_batch"][0]
    found = fake(config.load(None, ["images.contrast=true"]), images)
    own = families.rebuild(found, images)
    assert np.allclose(own, unit_contrast(torch.from_numpy(images / 255)).numpy() / 2, atol=1e-4)


def test_help_has_an_example() -> None:
    text = click.unstyle(typed("-h").stdout)
    assert "satae bench cifar10 --data DIR" in " ".join(text.split("Options")[0].split())


@pytest.mark.parametrize(
    "name",
    [
        "undercomplete", "overcomplete", "sparse", "denoising", "contractive", "variational", "adversarial",
        "residual", "skip", "attention", "mobile", "shuffle", "dense", "cifar10", "cifar10_refined",
    ],
)  # fmt: skip
def test_every_family_learns_to_rebuild_images(name: str) -> None:
    (full,) = families.families([name], ["train.epochs=1", "train.min_steps=2", "train.batch=8"])
    tiny = {k: v for k, v in small(MODELS, full.recipe.model.name).items() if k not in ("size", "code")}
    params = [f"model.params.{key}={value}" for key, value in tiny.items()]
    (chosen,) = families.families([name], ["train.epochs=1", "train.min_steps=2", "train.batch=8", *params])
    images = batches(24)["data_batch_1"][0]
    found = families.fit(images, chosen, CPU)
    row, own = families.rebuilding(found, Linear(images), images)
    assert own.shape == images.shape and np.isfinite(own).all() and found.code > 0
    assert row.own.mse == pytest.approx(((own - images / 255) ** 2).mean(), rel=1e-4) and row.pca.mse >= 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("corrupt.gaussian=0.1", "corrupt and images.restore are both on"),
        ("objective.terms={mse: 1.0, contractive: 0.1}", "needs derivatives of the input"),
    ],
)
def test_what_goes_with_no_restoration_is_refused(change: str, says: str) -> None:
    images = batches(24)["data_batch_1"][0]
    with pytest.raises(ConfigError, match=says):
        families.fit(images, family("images.restore=true", change), CPU)


def test_weights_lie_as_the_fast_kernels_want_them() -> None:
    images = batches(24)["data_batch_1"][0]
    found = families.fit(images, family("train.epochs=1", "train.min_steps=1"), CPU)
    kernels = [p for p in found.model.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert kernels and all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_learns_as_well() -> None:
    images = batches(60)["data_batch_1"][0]
    found = families.fit(images, family("train.epochs=8", "train.min_steps=10"), torch.device("cuda"))
    assert ((families.rebuild(found, images) - images / 255) ** 2).mean() < 0.05


def test_the_ratio_is_left_out_where_pca_keeps_all_of_an_image() -> None:
    one, none = (
        quality(*np.full((2, 1, 3, 16, 16), [[[[[0.5]]]], [[[[0.5 + off]]]]], np.float32))
        for off in (0.1, 0.0)
    )
    row = families.ReconstructionResult("conv", 0, 3072, one, none, 1, 1, 1.0)
    assert "none" in cifar_report.lines([row])[1].split()
    half = dataclasses.replace(row, pca=one)
    assert "1.000" in cifar_report.lines([half])[1].split()
