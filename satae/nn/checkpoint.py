"""A run's memory: what each epoch was like, where the run stands, and the file from which it goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from satae.errors import TilesError, TrainError
from satae.publish import publish_all, staging

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.jsonl"


@dataclass(frozen=True)
class Epoch:
    """A line of history.jsonl. Losses are means over pixels in the space that the autoencoder sees.

    `gradient_norm` is the mean over the steps, before clipping, and `clipped` the share that was clipped.
    `gradients`: of each layer at the last step, over its weights. `measures`: what terms of the loss say.
    """

    epoch: int
    train_loss: float
    val_loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    measures: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, float] = field(default_factory=dict)
    clipped: float = 0.0


@dataclass
class State:
    """Where a run stands; all of it is in a checkpoint."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)
    finished: bool = False


class Keeping(Protocol):
    """Whatever has a state of its own that a checkpoint must hold."""

    def state(self) -> dict[str, Any]:
        """All that an interrupted run needs to go on, for torch.save."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take up such a state."""
        ...


@dataclass(frozen=True)
class Memory:
    """The parts of a run that an interrupted one goes on with: each part's state is in a checkpoint."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    rivals: Mapping[str, Keeping]


def save(run: Path, identity: str, state: State, memory: Memory) -> None:
    """Replace checkpoint and history in one step each; torch's generator is saved for layers that draw."""
    rest = asdict(state)
    weights = rest.pop("best_weights")
    content: dict[str, Any] = {
        "identity": identity,
        "state": json.dumps(rest),
        "best_weights": weights,
        "model": memory.model.state_dict(),
        "optimizer": memory.optimizer.state_dict(),
        "scaler": memory.scaler.state_dict(),
        "rivals": {name: rival.state() for name, rival in memory.rivals.items()},
        # dropout and draws of codes go on from here, or a resumed run would not be the same one
        "torch_rng": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        content["cuda_rng"] = torch.cuda.get_rng_state()
    target = run / CHECKPOINT
    with staging(target) as folder:
        torch.save(content, folder / CHECKPOINT)
        lines = "".join(json.dumps(asdict(e)) + "\n" for e in state.history)
        (folder / HISTORY).write_text(lines, newline="\n")
        publish_all([(folder / name, run / name) for name in (HISTORY, CHECKPOINT)])


def restore_run(run: Path, identity: str, memory: Memory) -> State:
    """Where the run stands, all else put back as it was; a fresh `State` where it has no checkpoint.

    Raises TrainError where that is damaged, TilesError where it has another identity.
    """
    path = run / CHECKPOINT
    if not path.exists():
        return State()
    try:
        # weights_only: a checkpoint is data, and nothing in it is run
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["identity"] == identity:
            return _restored(content, memory)
    except Exception as error:  # torch.load raises many types on damaged files
        raise TrainError(f"{path} is damaged; train again with --overwrite") from error
    raise TilesError(
        f"{run} was trained with another recipe or on other tiles; --resume needs the same of both "
        "(or start again with --overwrite)"
    )


def _restored(content: dict[str, Any], memory: Memory) -> State:
    """Put all that a checkpoint holds back where it came from."""
    saved = json.loads(content["state"])
    memory.model.load_state_dict(content["model"])
    memory.optimizer.load_state_dict(content["optimizer"])
    if content["scaler"]:  # empty where it was not in use, and then it may not be loaded
        memory.scaler.load_state_dict(content["scaler"])
    for name, rival in memory.rivals.items():
        rival.restore(content["rivals"][name])
    torch.set_rng_state(content["torch_rng"])
    if "cuda_rng" in content and torch.cuda.is_available():
        torch.cuda.set_rng_state(content["cuda_rng"])
    history = [Epoch(**line) for line in saved.pop("history")]
    return State(**saved, best_weights=content["best_weights"], history=history)
