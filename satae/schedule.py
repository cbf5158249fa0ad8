"""How large a step is, and how it is taken: optimisers by name, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from satae.config import TrainSettings

PLATEAU = 3  # held-out losses stall when a third of the patience is over
CYCLE = 0.3, 25.0, 1e4  # share of the rise; the peak over the first rate, and over the last


def optimizer_of(weights: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser of a recipe."""
    rate, decay = settings.learning_rate, settings.weight_decay
    match settings.optimizer:
        case "adam":
            return torch.optim.Adam(weights, lr=rate, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(weights, lr=rate, weight_decay=decay)
        case "rmsprop":
            return torch.optim.RMSprop(weights, lr=rate, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(weights, lr=rate, weight_decay=decay, momentum=settings.momentum)


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
