"""Training of every architecture: the same twice, and after an interruption; what learns nothing is done at once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectors import small, toy
from scenes import make_tiles

from satae import config, models
from satae.detector.graph import Input
from satae.nn.checkpoint import Epoch
from satae.tiles.split import Split
from satae.tiles.store import TileSet
from satae.training import presets
from satae.training.loop import TrainedModel, fit, plan

CPU = torch.device("cpu")


def same_weights(one: TrainedModel, other: TrainedModel) -> bool:
    a, b = one.model.state_dict(), other.model.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def kind_of(name: str) -> list[str]:
    """Settings of a quick run of another architecture."""
    shrunk = [f"model.params.{key}={value}" for key, value in small(models.MODELS, name).items()]
    suits = presets.complete_recipe(config.load(None, [f"model.name={name}"]), 3, None)
    terms = f"objective.terms={json.dumps(suits.objective.terms)}"
    return [
        f"model.name={name}",
        *shrunk,
        terms,
        "train.batch=4",
        "train.min_steps=3",
        "train.validation=0.25",
    ]


@pytest.mark.parametrize("name", models.NAMES)
def test_every_architecture_trains_repeatably_and_goes_on_after_an_interruption(tmp_path, name: str):
    toy_tiles = make_tiles(toy())
    recipe = config.load(None, [*kind_of(name), "train.epochs=2", "train.pixels=500"])

    def trained(run: str, **how: Any) -> TrainedModel:
        (tmp_path / run).mkdir(exist_ok=True)
        return fit([toy_tiles], plan([toy_tiles], recipe), tmp_path / run, device=CPU, **how)

    whole = trained("whole")
    assert math.isfinite(whole.state.best_loss) and not whole.model.training
    if list(whole.model.parameters()):
        with pytest.raises(KeyboardInterrupt):
            trained("broken", report=interrupted)
    assert same_weights(whole, trained("broken"))


def interrupted(done: int, total: int, epoch: Epoch | None) -> None:
    """Stop after the first epoch."""
    if epoch is not None and epoch.epoch == 1:
        raise KeyboardInterrupt


def test_what_learns_nothing_is_done_at_once_and_leaves_no_checkpoint(tmp_path):
    toy_tiles = make_tiles(toy())
    steps: list[int] = []
    recipe = config.load(None, ["model.name=pca", "train.validation=0.25"])
    done = fit(
        [toy_tiles], plan([toy_tiles], recipe), tmp_path, device=CPU, report=lambda *a: steps.append(1)
    )
    assert not steps and not list(tmp_path.iterdir())
    assert (
        done.state.finished
        and done.state.epoch == done.state.best_epoch == 1
        and len(done.state.history) == 1
    )
    assert done.state.history[0].val_loss == done.state.best_loss > 0


def held_out_changed(tiles: TileSet, chosen: Split) -> TileSet:
    """The same tiles with noise in those that are held out."""
    image = toy()
    for _, t in chosen.held_out:
        row, col = tiles.index[t]
        part = image[:, row : row + 32, col : col + 32]
        image[:, row : row + 32, col : col + 32] = np.random.default_rng(t).normal(1e4, 5e3, part.shape)
    return make_tiles(image)


@pytest.mark.parametrize("name", models.NAMES)
def test_what_is_held_out_is_never_learned_from(tmp_path: Path, name: str):
    toy_tiles = make_tiles(toy())
    """Neither by gradients nor in closed form, nor by the normaliser, nor as surroundings of what is."""
    recipe = config.load(None, [*kind_of(name), "train.epochs=1", "augment.noise=0.01"])
    chosen = plan([toy_tiles], recipe).split
    sets = [toy_tiles, held_out_changed(toy_tiles, chosen)]
    done = []
    for i, tiles in enumerate(sets):
        (tmp_path / str(i)).mkdir()
        planned = plan([tiles], recipe)
        assert np.array_equal(planned.split.held_out, chosen.held_out)
        done.append(fit([tiles], planned, tmp_path / str(i), device=CPU))
    assert same_weights(*done)
    assert done[0].state.history[0].train_loss == done[1].state.history[0].train_loss or not [
        *done[0].model.parameters()
    ]
    one, other = (Input(d.normalizer).state_dict() for d in done)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert done[0].state.best_loss != done[1].state.best_loss
