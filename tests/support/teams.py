"""A process of a team, started several times with torchrun's variables: python teams.py FOLDER."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from detectors import toy
from endings import CPU, recipe, stop_at
from scenes import make_tiles

from satae.errors import TrainError
from satae.nn.checkpoint import Epoch
from satae.tiles.store import TileSet
from satae.training import loop
from satae.training.loop import TrainedModel
from satae.training.team import ALONE, Team, muster

# 12 of 16 tiles are learned from, 5 a batch and 2 in the last
QUICK = "train.batch=5", "train.min_steps=1", "train.epochs=3"
PLAIN = *QUICK, "model.params.norm=none"
CASES: dict[str, tuple[str, ...]] = {
    # shares in which other numbers of pixels are valid, and a limit and a penalty that follow from the whole batch
    "trimmed": (
        *PLAIN, "train.batch=3", "objective.terms={mse: 1.0, sparse_kl: 0.1}", "objective.trim=0.9",
        "objective.warm=0.3", "corrupt.gaussian=0.2", "corrupt.salt=0.01",
    ),
    # batch norm and Adam, which makes steps of whatever a gradient is, rounding too
    "adam": QUICK,
    # batch norm, and a last batch of one tile, of which a process has none
    "alone": (*QUICK, "train.batch=11", "train.optimizer=sgd", "train.learning_rate=0.05"),
    "fitted": (*QUICK, "model.name=refined", "model.params={size: 8, code: 4, width: 4}"),
}  # fmt: skip


def sets() -> list[TileSet]:
    """Tiles of which the right ones have gaps."""
    valid = torch.ones(128, 128).numpy() > 0
    valid[::3, 80:] = False
    return [make_tiles(toy(), valid)]


def fitted(changes: tuple[str, ...], team: Team = ALONE, run: Path | None = None, **how: Any) -> TrainedModel:
    """A small model, learned by a team."""
    tiles = sets()
    planned = loop.plan(tiles, recipe(*changes))
    return loop.fit(tiles, planned, run, device=CPU, team=team, **how)  # type: ignore[arg-type]


def history(of: TrainedModel) -> list[list[float]]:
    """Losses of each epoch, and the norm of the gradient."""
    return [[e.train_loss, e.val_loss, e.gradient_norm] for e in of.state.history]


def die_at(step: int) -> loop.Report:
    """Be killed after so many steps."""

    def report(done: int, total: int, epoch: Epoch | None) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return report


def work(folder: Path) -> None:
    """Train what `tests/training/test_team.py` looks at; at the end rank 1 is killed."""
    found: dict[str, Any] = {}
    try:
        with muster(CPU) as team:
            for name, changes in CASES.items():
                found[name] = history(fitted(changes, team))
            # every process is interrupted, after the first epoch of three steps
            with suppress(KeyboardInterrupt):
                fitted(PLAIN, team, folder / "run", report=stop_at(3, between_epochs=True))
            fitted(PLAIN, team, **({} if team.leads else {"report": die_at(2)}))
    except TrainError as error:
        found["lost"] = str(error)
    (folder / "found.json").write_text(json.dumps(found))
    # as the command does: threads that wait for a lost process abort when they are ended
    os._exit(0)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
