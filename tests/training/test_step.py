"""A step of training: the arithmetic written out, and the same captured as a CUDA graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from satae import config, models, objectives
from satae.bench.families import Family, families, fit, rebuild, unit
from satae.config import ObjectiveSettings, TrainSettings
from satae.objectives import Objective
from satae.training.schedule import optimizer_of, set_rate
from satae.training.step import CapturedStep, Step, slopes

CPU = torch.device("cpu")
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")


def settings(**changes: object) -> TrainSettings:
    return config.Recipe().train.model_copy(update={"learning_rate": 0.1, "clip": 0.5, **changes})


class Twice(nn.Module):
    """Rebuilds x as weight times x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1, 1, 1), 2.0))

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> models.Output:
        return models.Output(self.weight * x, None)


def stepping(model: nn.Module, cfg: TrainSettings) -> Step:
    optimizer = optimizer_of(model.parameters(), cfg)
    return Step(
        model, model, Objective(ObjectiveSettings(terms={"mse": 1.0})), optimizer,
        torch.amp.GradScaler("cpu", enabled=False), None, cfg.clip,
    )  # fmt: skip


def batch(value: float = 1.0) -> tuple[objectives.Batch, torch.Tensor]:
    x, ones = torch.full((2, 1, 4, 4), value), torch.ones(2, 1, 4, 4)
    return objectives.Batch(x, ones), ones


def test_a_step_is_the_gradient_clipped_times_the_rate():
    model = Twice()
    take = stepping(model, settings(optimizer="sgd", momentum=0.0))
    loss, norm = take(*batch())  # (2x - x)^2 = 1, and its slope by the weight is 2
    assert (float(loss), float(norm)) == (1.0, 2.0)
    assert float(model.weight.detach()) == pytest.approx(2.0 - 0.1 * 0.5)


def test_slopes_are_those_before_clipping_over_the_weights():
    take = stepping(Twice(), settings(optimizer="sgd", momentum=0.0))
    take(*batch())
    assert not take.slopes
    take(*batch(), look=True)
    assert take.slopes == {"weight": pytest.approx(2 * 0.95 / 1.95)}


def test_a_model_without_matrices_has_no_slopes():
    assert slopes(nn.BatchNorm2d(3)) == {}


def test_the_rate_is_changed_where_it_is_a_number_and_where_it_is_a_tensor():
    one = optimizer_of(Twice().parameters(), settings())
    held = torch.optim.Adam(Twice().parameters(), lr=torch.tensor(0.1))
    before = held.param_groups[0]["lr"]
    for optimizer in (one, held):
        set_rate(optimizer, 0.25)
        assert float(optimizer.param_groups[0]["lr"]) == 0.25
    assert held.param_groups[0]["lr"] is before  # a captured step reads it from there


@pytest.mark.parametrize(
    ("given", "warm"),
    [
        ({"terms": {"mse": 1.0}}, 0.0),
        ({"terms": {"mse": 1.0, "kl": 0.1}, "params": {"kl": {"warm": 0.3}}}, 0.3),
        ({"terms": {"mse": 1.0}, "trim": 0.9, "warm": 0.2}, 1.0),
    ],
)
def test_a_loss_says_from_when_on_it_does_not_change_with_progress(given: dict, warm: float):
    assert Objective(ObjectiveSettings(**given)).warm == warm


@pytest.mark.parametrize(
    ("terms", "trim", "half", "device", "possible"),
    [
        ({"mse": 1.0}, 1.0, torch.bfloat16, "cuda", True),
        ({"mse": 1.0}, 1.0, None, "cuda", True),
        ({"mse": 1.0}, 1.0, None, "cpu", False),
        ({"mse": 1.0}, 1.0, torch.float16, "cuda", False),
        ({"mse": 1.0}, 0.9, None, "cuda", False),
        ({"mse": 1.0, "adversarial": 0.1}, 1.0, None, "cuda", False),
    ],
)
def test_only_steps_that_wait_for_nothing_are_captured(
    terms: dict, trim: float, half: torch.dtype | None, device: str, possible: bool
):
    loss_of = Objective(ObjectiveSettings(terms=terms, trim=trim), 4)
    assert CapturedStep.possible(loss_of, half, torch.device(device)) is possible


def small(name: str, *changes: str) -> Family:
    (family,) = families([name], ["train.epochs=4", "train.batch=16", "train.patience=100", *changes])
    return family


@cuda
@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cifar10", "cifar10_refined", "undercomplete", "contractive", "denoising"])
def test_captured_steps_learn_what_steps_by_hand_learn(monkeypatch, name: str):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
    family, device = small(name, "train.precision=fp32"), torch.device("cuda")
    torch.backends.cudnn.deterministic = True
    one = fit(pixels, family, device)
    monkeypatch.setattr(CapturedStep, "possible", staticmethod(lambda *_: False))
    other = fit(pixels, family, device)
    ours, theirs = (rebuild(found, pixels) for found in (one, other))
    apart, error = np.mean((ours - theirs) ** 2), np.mean((theirs - unit(pixels)) ** 2)
    assert apart < 0.01 * error  # rounding adds up: sums are taken in another order


@cuda
@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
def test_every_optimiser_can_be_captured(optimizer: str):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
    found = fit(pixels, small("cifar10", f"train.optimizer={optimizer}"), torch.device("cuda"))
    assert found.epochs == 4
    assert all(torch.isfinite(p).all() for p in found.model.parameters())
