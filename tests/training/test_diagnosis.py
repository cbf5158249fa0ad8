"""What a run says about itself: every finding provoked by a run that deserves it, and healthy runs with none."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from endings import GOOD, Net, Pixelwise, ended, waves
from scenes import make_tiles
from shared import run_of
from torch import nn

from satae import config
from satae.nn.checkpoint import Epoch
from satae.training import diagnosis, documents
from satae.training.diagnosis import findings
from satae.training.evidence import Evidence, Tiles


def net(**how: object) -> Net:
    torch.manual_seed(0)
    return Net(**{"code_size": 2, **how})  # type: ignore[arg-type]


@cache
def healthy() -> Evidence:
    return ended(net())


@cache
def cramped() -> Evidence:
    """The waves span few components: six of them leave noise alone."""
    return ended(net(code_size=6))


def faults(e: Evidence) -> list[str]:
    return [f.fault for f in findings(e)]


def test_a_healthy_run_raises_nothing():
    assert faults(healthy()) == []


@pytest.mark.parametrize(
    "changes",
    [
        ["corrupt.gaussian=0.3", "corrupt.salt=0.02"],
        ["objective.terms={mse: 1.0, kl: 0.003}"],
        ["objective.terms={mse: 1.0, adversarial: 0.1}"],
        ["objective.terms={mse: 1.0, ssim: 0.1, sparse_l1: 1.0e-3}"],
        ["train.optimizer=rmsprop", "train.schedule=onecycle"],
        ["train.epochs=25", "train.patience=3"],
    ],
)
def test_healthy_runs_of_other_kinds_raise_nothing(changes: list[str]):
    assert faults(ended(net(variational="kl" in changes[0]), *changes)) == []


def test_a_code_that_does_no_better_than_a_pca_of_its_size_is_told_so():
    found = cramped()
    assert faults(found) == ["bottleneck too small, or not made use of"]
    assert found.mse > found.pca_mse


def test_a_network_that_copies_is_told_so():
    found = ended(Pixelwise(1, 8), "train.epochs=30", x=waves(256, 0, channels=1))
    assert faults(found) == ["copies its input"]
    assert min(found.copied.noise, found.copied.planted) > 0.9 > healthy().copied.planted


@pytest.mark.parametrize(("rate", "warmup"), [(1.0, 0), (0.3, 0.05)])
def test_too_high_a_learning_rate_is_told_of(rate: float, warmup: float):
    changes = f"train.learning_rate={rate}", "train.schedule=constant", f"train.warmup={warmup}"
    found = findings(ended(net(norm=False), *changes))
    assert found[0].fault == "learning rate too high" or rate < 1  # it may kill its units before a loss rises
    assert "lower train.learning_rate" in found[0].remedy
    assert not any(f.remedy.startswith("raise train.epochs") for f in found)


def losses(e: Evidence, train: list[float], held_out: list[float]) -> Evidence:
    """The evidence of a run as good, with other losses on the way."""
    history = [
        Epoch(i + 1, t, v, 1e-3, 0.5, 1.0) for i, (t, v) in enumerate(zip(train, held_out, strict=True))
    ]
    recipe = config.load(None, ["model.name=conv", f"train.epochs={len(train)}"])
    best = 1 + held_out.index(min(held_out))
    return dataclasses.replace(e, history=history, best=best, recipe=recipe)


def test_losses_that_oscillate_or_rise_are_told_of():
    swinging = [0.3 * 1.5 ** (i % 2) for i in range(12)]
    rising = [0.1, 0.1, 0.12, 0.2, 0.3]
    for both in (swinging, rising):
        assert "learning rate too high" in faults(losses(healthy(), both, both))
    falling = sorted(rising, reverse=True)
    assert "learning rate too high" not in faults(losses(healthy(), rising, falling))  # a penalty warms up
    assert "learning rate too high" not in faults(losses(healthy(), falling, rising))  # it overfits


def test_too_low_a_learning_rate_is_told_of():
    assert "learning rate too low, or too few epochs: still falling at the end" in faults(
        ended(net(), "train.learning_rate=1e-5")
    )


def test_too_few_epochs_are_told_of():
    found = ended(net(), "train.epochs=2", "train.schedule=constant", "train.learning_rate=0.001")
    assert "still falling at the end" in "".join(faults(found))


def test_gradients_that_vanish_are_told_of_with_their_layer():
    found = findings(ended(net(activation=nn.Sigmoid, norm=False, depth=8)))
    (vanishing,) = (f for f in found if f.fault == "vanishing gradients")
    assert "encoder.0.0" in vanishing.evidence


def test_gradients_that_explode_are_told_of_with_their_layer():
    model = net(norm=False, depth=4)
    for weight in model.parameters():
        weight.data *= 6
    found = findings(ended(model, "train.epochs=3", "train.learning_rate=1e-4"))
    (exploding,) = (f for f in found if f.fault == "exploding gradients")
    assert "most in " in exploding.evidence


def test_dead_units_are_told_of_with_their_layer():
    model = net(norm=False)
    model.encoder[1][0].bias.data -= 100  # below 0 whatever comes
    found = findings(ended(model))
    (dead,) = (f for f in found if f.fault == "dead units")
    assert "100% of the units of encoder.1.1 (16)" in dead.evidence


@pytest.mark.parametrize("output", [nn.Sigmoid(), nn.Tanh(), nn.ReLU()], ids=lambda m: type(m).__name__)
def test_an_output_that_cannot_reach_the_data_is_told_of(output: nn.Module):
    assert faults(ended(net(output=output)))[0] == "the output cannot reach the data"


def test_an_output_that_just_reaches_the_data_is_fine():
    x = waves(256, 0)
    unit = (x - x.min()) / (x.max() - x.min())
    assert faults(ended(net(output=nn.Sigmoid()), x=unit)) == []


def test_a_run_that_learns_only_the_mean_is_told_so():
    found = ended(net(), "train.learning_rate=1e-7")
    assert faults(found) == ["reconstructs little more than the mean"]


def test_a_run_that_overfits_is_told_so():
    found = ended(net(width=48, code_size=24), "train.epochs=120", x=waves(70, 0), held_out=62)
    assert faults(found) == ["overfitting"]


@pytest.mark.parametrize("change", ["corrupt.salt=0.95", "corrupt.masking=0.97"])
def test_too_strong_a_corruption_is_told_of(change: str):
    assert faults(ended(net(), change)) == ["corruption too strong"]


def test_too_mild_a_corruption_is_told_of():
    assert faults(ended(net(), "corrupt.gaussian=0.01")) == ["corruption too mild"]


def test_a_collapsed_posterior_is_told_of():
    found = ended(net(variational=True), "objective.terms={mse: 1.0, kl: 1000.0}")
    assert "posterior collapse" in faults(found)
    assert max(found.kl) < 0.01


@pytest.mark.parametrize(
    ("weight", "rate", "fault"),
    [(1e-6, 5e-3, "the discriminator won"), (1e-3, 1e-6, "the discriminator lost")],
)
def test_a_discriminator_that_won_or_lost_is_told_of(weight: float, rate: float, fault: str):
    terms = f"objective.terms={{mse: 1.0, adversarial: {weight:f}}}"
    own = f"objective.params={{adversarial: {{learning_rate: {rate:f}}}}}"
    assert faults(ended(net(code_size=6), terms, own))[0] == fault


@pytest.mark.parametrize(
    ("tiles", "fault"),
    [
        (Tiles(5, 1.0, 0.0), "too few tiles"),
        (Tiles(100, 0.4, 0.0), "mostly invalid tiles"),
        (Tiles(100, 1.0, 0.3), "constant tiles"),
    ],
)
def test_poor_tiles_are_told_of_also_where_nothing_is_learned(tiles: Tiles, fault: str):
    closed = dataclasses.replace(healthy(), tiles=tiles, learned=False)
    assert faults(dataclasses.replace(healthy(), tiles=tiles)) == faults(closed) == [fault]


@pytest.mark.parametrize(
    ("height", "width", "hole", "remedy"),
    [
        (30, 600, 0, "cut smaller ones: satae tile --size 30"),
        (70, 70, 0, "cut smaller ones: satae tile --size 32"),
        (30, 600, 20, "cut again with satae tile --min-valid 0.8"),
        (256, 256, 160, "cut again with satae tile --min-valid 0.8"),
    ],
)
def test_tiles_over_the_edge_of_a_scene_are_to_be_smaller(height: int, width: int, hole: int, remedy: str):
    image, valid = np.ones((1, height, width), np.uint16), np.ones((height, width), bool)
    valid[:hole] = False
    tiles = make_tiles(image, valid, size=64)
    quality = documents.quality([tiles], np.array([(0, t) for t in range(len(tiles))]))
    (found,) = (f for f in findings(dataclasses.replace(healthy(), tiles=quality)) if "invalid" in f.fault)
    assert found.remedy == remedy and ("over the edge" in found.evidence) == ("--size" in remedy)


def test_every_rule_is_tested_here():
    text = Path(__file__).read_text()
    named = {
        "few_tiles": "too few tiles", "invalid_tiles": "mostly invalid tiles", "constant_tiles": "constant tiles",
        "learning_rate_too_high": "learning rate too high", "unreachable": "the output cannot reach the data",
        "only_the_mean": "reconstructs little more than the mean", "posterior_collapse": "posterior collapse",
        "discriminator_balance": "the discriminator won", "gradients": "vanishing gradients",
        "dead_units": "dead units", "small_code": "bottleneck too small", "copying": "copies its input",
        "overfitting": "overfitting", "noise_too_high": "corruption too strong",
        "noise_too_mild": "corruption too mild", "learning_rate_too_low": "still falling at the end",
    }  # fmt: skip
    assert set(named) == {rule.__name__ for rule in (*diagnosis.TILES, *diagnosis.RULES)}
    assert all(text.count(fault) >= 2 for fault in named.values())


def test_what_was_fitted_in_closed_form_is_not_told_to_train_longer():
    only = Epoch(1, 1.0, 1.0, 0.0, 0.0, 0.0)
    assert findings(Evidence([only], 1, config.Recipe(), GOOD)) == []


def test_findings_name_numbers_and_the_setting_to_change():
    bad = ended(net(code_size=6, output=nn.Sigmoid()), "train.learning_rate=1e-6", "corrupt.gaussian=10")
    found = findings(dataclasses.replace(bad, tiles=Tiles(5, 0.4, 0.5)))
    assert len(found) >= 5
    for each in found:
        assert any(c.isdigit() for c in each.evidence)
        assert any(s in each.remedy for s in ("train.", "model.", "objective.", "corrupt.", "satae tile"))
        assert "\n" not in str(each)


def test_the_report_holds_losses_the_pca_and_the_findings():
    bad = cramped()
    text = diagnosis.report(bad, findings(bad))
    assert text.startswith("# Diagnosis\n") and all(f.fault in text for f in findings(bad))
    assert f"a PCA with the same 6 numbers {bad.pca_mse:.4g}" in text
    assert "Nothing stands out." in diagnosis.report(healthy(), [])


def test_the_evidence_is_kept_as_json_without_nan():
    text = dataclasses.replace(healthy(), mean_loss=float("nan")).json()
    values = json.loads(text)
    assert values["mean_loss"] is None and values["pca_mse"] == healthy().pca_mse
    assert values["copied"]["noise"] == healthy().copied.noise and "history" not in values


def test_a_run_holds_its_history_its_evidence_and_its_diagnosis(model_path):
    run = run_of(model_path)
    lines = [Epoch(**json.loads(line)) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [e.epoch for e in lines] == [1, 2] and lines[0].gradients
    assert json.loads((run / "evidence.json").read_text())["pca_mse"] > 0
    text = (run / "diagnosis.md").read_text()
    assert text.startswith("# Diagnosis\n\n- epochs run: 2, weights kept from epoch") and "a PCA with" in text
