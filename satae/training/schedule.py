"""Chooses the optimiser by its name, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from satae.config import TrainSettings

PLATEAU = 3  # held-out losses stall when a third of the patience is over
CYCLE = 0.3, 25.0, 1e4  # share of the rise; the peak over the first rate, and over the last


def optimizer_of(
    weights: Iterable[nn.Parameter], settings: TrainSettings, captured_on: torch.device | None = None
) -> torch.optim.Optimizer:
    """The optimiser of a recipe; one whose steps can be captured keeps its rate on that device."""
    shared: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if captured_on is not None:
        # a number would be captured as it is: as a tensor it can change between replays
        shared["lr"] = torch.tensor(settings.learning_rate, device=captured_on)
        shared |= {} if settings.optimizer == "sgd" else {"capturable": True}
        shared |= {} if settings.optimizer == "rmsprop" else {"fused": True}
    match settings.optimizer:
        case "adam":
            return torch.optim.Adam(weights, **shared)
        case "adamw":
            return torch.optim.AdamW(weights, **shared)
        case "rmsprop":
            return torch.optim.RMSprop(weights, **shared)
        case "sgd":
            return torch.optim.SGD(weights, momentum=settings.momentum, **shared)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next steps."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def learning_rate(step: int, steps: int, settings: TrainSettings, losses: Sequence[float] = ()) -> float:
    """The rate of a step out of so many, after epochs with these held-out losses.

    All schedules rise in a line over the share `warmup`. Then `cosine` falls to 0 by half a cosine (Loshchilov
    and Hutter 2017), `constant` stays, `plateau` is halved whenever held-out losses stall. `onecycle` rises
    and falls by half cosines (Smith and Topin 2018).
    """
    if settings.schedule == "onecycle":
        return settings.learning_rate * _cycle(step, steps, max(settings.warmup, CYCLE[0]))
    rising = max(1, round(settings.warmup * steps))
    if step < rising:
        # from 1 / rising on: a first step at rate 0 would learn nothing
        return settings.learning_rate * (step + 1) / rising
    if settings.schedule == "cosine":
        return (
            settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
        )
    if settings.schedule == "plateau":
        return settings.learning_rate * 0.5 ** stalls(losses, max(1, settings.patience // PLATEAU))
    return settings.learning_rate


def _cycle(step: int, steps: int, share: float) -> float:
    """From 1 / 25 to 1 and down to 1 / 10,000."""
    rising = max(1, round(share * steps))
    rises = step < rising
    first, last = (1 / CYCLE[1], 1.0) if rises else (1.0, 1 / CYCLE[2])
    # share of this half that is over; the last step of all is at its end
    gone = step / rising if rises else (step - rising) / max(1, steps - rising - 1)
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, gone)))


def stalls(losses: Sequence[float], patience: int) -> int:
    """How often so many losses in a row were no better than the best before them."""
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == patience:
            waited, count = 0, count + 1
    return count
