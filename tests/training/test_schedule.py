"""Learning rates by step, and optimisers by name, against torch's own and numbers written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from satae.config import TrainSettings
from satae.training.schedule import learning_rate, optimizer_of, stalls


def rate(step: int, steps: int = 100, losses: tuple[float, ...] = (), **how: Any) -> float:
    return learning_rate(step, steps, TrainSettings(**{"learning_rate": 1.0, "warmup": 0.1, **how}), losses)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (40, 0.75), (55, 0.5), (100, 0.0)]
)
def test_the_learning_rate_rises_in_a_line_and_falls_in_half_a_cosine(step: int, expected: float):
    assert rate(step) == pytest.approx(expected, abs=1e-12)


def test_a_run_of_one_step_has_its_full_learning_rate():
    assert rate(0, 1, learning_rate=2e-3, warmup=0.0) == 2e-3
    for schedule in ("constant", "plateau"):
        assert rate(0, 1, schedule=schedule, warmup=0.0) == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "constant", "plateau"])
def test_every_schedule_warms_up(schedule: str):
    assert [rate(s, schedule=schedule) for s in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])


def test_a_constant_rate_stays():
    assert {rate(s, schedule="constant") for s in range(10, 100)} == {1.0}


def test_onecycle_is_torchs():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    # torch reaches the peak a step earlier and so falls over one more
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=100,
        pct_start=0.31,
        final_div_factor=1e4 / 25,
        cycle_momentum=False,
    )
    expected = []
    for _ in range(100):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step() if len(expected) < 100 else None
    assert [rate(s, schedule="onecycle") for s in range(100)] == pytest.approx(expected, rel=1e-6)


def test_the_rise_of_onecycle_can_be_longer():
    rates = [rate(s, schedule="onecycle", warmup=0.5) for s in range(100)]
    assert max(rates) == rates[50] == 1.0


@pytest.mark.parametrize(
    ("losses", "count"),
    [
        ((), 0),
        ((3, 2, 1), 0),
        ((1, 2, 2), 1),
        ((1, 2, 2, 0.5, 2), 1),
        ((1, 2, 2, 2, 2), 2),
        ((1, 1, 1), 1),
    ],
)
def test_losses_that_stall_are_counted(losses: tuple[float, ...], count: int):
    assert stalls(losses, 2) == count
    assert rate(50, losses=losses, schedule="plateau", patience=6) == 0.5**count


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
        ("sgd", torch.optim.SGD),
    ],
)
def test_optimizers_are_torchs_with_the_settings_of_the_recipe(name: Any, kind: type):
    settings = TrainSettings(optimizer=name, learning_rate=0.3, weight_decay=0.2, momentum=0.7)
    made = optimizer_of([torch.nn.Parameter(torch.zeros(1))], settings)
    assert type(made) is kind
    assert made.defaults["lr"] == 0.3 and made.defaults["weight_decay"] == 0.2
    assert name != "sgd" or made.defaults["momentum"] == 0.7
