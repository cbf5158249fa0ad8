"""A run's memory: what each epoch was like, where the run stands, and the file from which it goes on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from satae.errors import TilesError, TrainError
from satae.publish import publish, staging

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Epoch:
    """A line of history.jsonl. Losses are means over pixels in the space that the autoencoder sees."""

    epoch: int
    train_loss: float
    val_loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float


@dataclass
class State:
    """Where a run stands; all of it is in a checkpoint."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)
    finished: bool = False


def save(
    run: Path,
    identity: str,
    state: State,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Replace checkpoint and history in one step each; torch's generator is saved for layers that draw."""
    rest = asdict(state)
    weights = rest.pop("best_weights")
    content: dict[str, Any] = {
        "identity": identity,
        "state": json.dumps(rest),
        "best_weights": weights,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "torch_rng": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        content["cuda_rng"] = torch.cuda.get_rng_state()
    target = run / CHECKPOINT
    with staging(target) as folder:
        torch.save(content, folder / CHECKPOINT)
        publish(folder / CHECKPOINT, target)
        lines = "".join(json.dumps(asdict(e)) + "\n" for e in state.history)
        (folder / "history.jsonl").write_text(lines, newline="\n")
        publish(folder / "history.jsonl", run / "history.jsonl")


def resumed(
    run: Path,
    identity: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> State:
    """Where the run stands, all else put back as it was; a fresh `State` where it has no checkpoint.

    Raises TrainError where that is damaged, TilesError where it has another identity.
    """
    path = run / CHECKPOINT
    if not path.exists():
        return State()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["identity"] == identity:
            return _restored(content, model, optimizer, scaler)
    except Exception as error:  # torch.load raises many types on damaged files
        raise TrainError(f"{path} is damaged; train again with --overwrite") from error
    raise TilesError(
        f"{run} was trained with another recipe or on other tiles; --resume needs the same of both "
        "(or start again with --overwrite)"
    )


def _restored(
    content: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> State:
    """Put all that a checkpoint holds back where it came from."""
    saved = json.loads(content["state"])
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    if content["scaler"]:  # empty where it was not in use, and then it may not be loaded
        scaler.load_state_dict(content["scaler"])
    torch.set_rng_state(content["torch_rng"])
    if "cuda_rng" in content and torch.cuda.is_available():
        torch.cuda.set_rng_state(content["cuda_rng"])
    history = [Epoch(**line) for line in saved.pop("history")]
    return State(**saved, best_weights=content["best_weights"], history=history)
