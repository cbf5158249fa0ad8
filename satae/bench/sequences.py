"""Networks over dates in `satae bench series`: what `satae series --model` does with each, on one ground for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from satae import config
from satae.bench.place import Floats, Ground, Method, ours
from satae.errors import ConfigError
from satae.series import networks
from satae.series.rules import NETWORKS
from satae.training.sequence import trainer

NAMES = NETWORKS


def method_of(place: Ground, name: str, *, steps: int, seed: int) -> tuple[Floats, Method]:
    """(agreement (date, pixel) of the held-out history, and what is said of new dates) of a recipe in so many steps."""
    if not place.rules.seasonal:
        raise ConfigError(
            f"--steps: {name} learns what a season leaves, and the history is too short for one"
        )
    epochs = config.load(Path(name)).train.epochs
    changes = [f"train.seed={seed}", f"train.min_steps={-(-steps // epochs)}"]
    x, valid, _ = place.history()
    rules = replace(place.rules, model=name)
    bands = tuple(f"band{i + 1}" for i in range(rules.bands))
    rules = networks.learn(rules, x, valid, bands, trainer(config.load(Path(name), changes)))
    return ours(replace(place, rules=rules))
