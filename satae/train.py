"""The training loop, visible from top to bottom: tiles in, weights out. No raster library, no hidden state.

Every random draw is a function of (seed, epoch, step), so a run that was interrupted after any epoch goes on
to the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from satae import models, normalize, objectives
from satae.augment import Augmenter
from satae.config import Recipe
from satae.errors import DeviceError, TilesError, TrainError
from satae.feed import Feed, noise, pixel_sample
from satae.graph import Input
from satae.normalize import Normalizer
from satae.pixels import Pixels
from satae.publish import publish, staging
from satae.split import Split, split
from satae.tiles import TileSet

CHECKPOINT = "checkpoint.pt"

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Plan:
    """What follows from the recipe and the tiles alone, settled before anything is written."""

    recipe: Recipe
    split: Split
    normalizer: Normalizer


@dataclass(frozen=True)
class Trained:
    """A network with its best weights, in evaluation mode on the CPU, and what it was fitted with."""

    model: nn.Module
    normalizer: Normalizer
    split: Split
    state: State


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda weights, rate, decay: torch.optim.Adam(weights, lr=rate, weight_decay=decay),
    "adamw": lambda weights, rate, decay: torch.optim.AdamW(weights, lr=rate, weight_decay=decay),
}
Report = Callable[[int, int, Epoch | None], None]  # (steps done, of how many in all, a finished epoch)


def fit_normalizer(sets: Sequence[TileSet], chosen: Split, recipe: Recipe) -> Normalizer:
    """The normaliser of a recipe, fitted to the training tiles."""
    settings, pixels = recipe.input, pixel_sample(sets, chosen.train, recipe.train.seed)
    fitted = normalize.fit(
        pixels,
        whitened=settings.space == "whitened",
        logarithmic=settings.stretch == "log",
        common=settings.scale == "common",
        ridge=settings.ridge,
        components=settings.components,
        noise=noise(sets, chosen.train),
    )
    for name, low, high in zip(sets[0].record.bands, pixels.min(axis=0), pixels.max(axis=0), strict=True):
        if low == high:
            log.warning("%s is %g in every training tile: it says nothing", name, low)
    return fitted


def plan(sets: Sequence[TileSet], recipe: Recipe) -> Plan:
    """Which tiles are learned from, and how they are normalised.

    Raises ConfigError where the recipe asks for what there is not, TilesError where nothing can be held out,
    TrainError where no band varies.
    """
    cfg = recipe.train
    objectives.Objective(recipe.objective)
    Augmenter(recipe.augment, sets[0].record.size)
    models.build(recipe.model.name, len(sets[0].record.bands), recipe.model.params)
    chosen = split(sets, share=cfg.validation, block=cfg.block, seed=cfg.seed)
    return Plan(recipe, chosen, fit_normalizer(sets, chosen, recipe))


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then half a cosine down to 0 (Loshchilov and Hutter 2017)."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def device_named(name: str) -> torch.device:
    """The device for 'auto', 'cpu' or 'cuda'; DeviceError where CUDA was asked for and is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda: torch sees no CUDA device; use --device auto to train on the CPU")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def precision_of(setting: str, device: torch.device) -> torch.dtype | None:
    """The autocast type: on CUDA bf16 where the chip computes in it, else fp16; None (fp32) on a CPU."""
    if setting == "auto" and device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(setting)


def fit(
    sets: Sequence[TileSet],
    planned: Plan,
    run: Path,
    *,
    device: torch.device,
    report: Report = lambda done, total, epoch: None,
) -> Trained:
    """Train to the end of the recipe or until early stopping, from the run's checkpoint where there is one.

    Raises TilesError where that belongs to other tiles or another recipe, TrainError where the loss is no
    longer finite: the last good checkpoint stays in `run`.
    """
    recipe, chosen, normalizer = planned.recipe, planned.split, planned.normalizer
    cfg = recipe.train
    torch.manual_seed(cfg.seed)
    model = models.build(recipe.model.name, len(normalizer.affine), recipe.model.params).to(device)
    loss_of = objectives.Objective(recipe.objective)
    feed = Feed(sets, Input(normalizer), recipe, chosen, device, context=getattr(model, "context", 0))
    closed: Callable[[models.Sample], None] | None = getattr(model, "fit", None)
    if closed is not None:
        closed(feed.sample)
    if not any(p.requires_grad for p in model.parameters()):
        return Trained(model.cpu().eval(), normalizer, chosen, _closed(model, feed, loss_of, chosen))
    source: Feed | Pixels = feed
    forward: Callable[[Tensor, Tensor], models.Output] = model
    if hasattr(model, "predict"):
        source = Pixels(feed, model, cfg.pixels)
        forward = model.predict  # type: ignore[assignment]
    optimizer = OPTIMIZERS[cfg.optimizer](model.parameters(), cfg.learning_rate, cfg.weight_decay)
    half = precision_of(cfg.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
    identity = _identity(sets, recipe)
    state = _resumed(run, identity, model, optimizer, scaler)
    steps = len(source.batches(chosen.train, 0, cfg.min_steps))
    total = steps * cfg.epochs

    while state.epoch < cfg.epochs and not state.finished:
        epoch, started = state.epoch, time.perf_counter()
        model.train()
        losses, norms, rate = [], [], 0.0
        for step, where in enumerate(source.batches(chosen.train, epoch, cfg.min_steps)):
            rate = learning_rate(epoch * steps + step, total, cfg.learning_rate, cfg.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            x, seen, counted = source.training(where, epoch, step)
            with torch.autocast(device.type, dtype=half, enabled=half is not None):
                loss = loss_of(forward(x, seen), x, counted, (epoch * steps + step) / total)
            if not torch.isfinite(loss):
                raise TrainError(_not_finite(sets, source.tiles(where), epoch, step, run))
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(model.parameters(), cfg.clip)
            if not torch.isfinite(norm) and half is not torch.float16:  # fp16 skips such a step by design
                raise TrainError(_not_finite(sets, source.tiles(where), epoch, step, run))
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
            norms.append(float(norm))
            report(epoch * steps + step + 1, total, None)
        model.eval()
        val_loss = evaluate(forward, source, chosen.held_out, loss_of)
        if not math.isfinite(val_loss):
            raise TrainError(_not_finite(sets, chosen.held_out[:1], epoch, steps, run))
        state.epoch += 1
        if val_loss < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, val_loss
            state.best_weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        state.finished = state.epoch - state.best_epoch >= cfg.patience or state.epoch == cfg.epochs
        seconds = time.perf_counter() - started
        entry = Epoch(state.epoch, float(np.mean(losses)), val_loss, rate, float(np.mean(norms)), seconds)
        state.history.append(entry)
        _save(run, identity, state, model, optimizer, scaler)
        report(state.epoch * steps, total, entry)

    model.load_state_dict(state.best_weights)
    return Trained(model.cpu().eval(), normalizer, chosen, state)


@torch.no_grad()
def evaluate(
    forward: Callable[[Tensor, Tensor], models.Output],
    source: Feed | Pixels,
    where: npt.NDArray[np.int64],
    loss_of: objectives.Loss,
) -> float:
    """The loss over tiles as they are, weighted by their valid pixels."""
    total = count = 0.0
    for x, seen, counted in source.plain(where):
        pixels = float(counted.sum())
        total += float(loss_of(forward(x, seen), x, counted, 1.0)) * pixels
        count += pixels
    return total / max(count, 1.0)


def _closed(model: nn.Module, feed: Feed, loss_of: objectives.Loss, chosen: Split) -> State:
    """Where a run stands whose model has no weights to learn by gradients."""
    train_loss, val_loss = (
        evaluate(model, feed, where, loss_of) for where in (chosen.train, chosen.held_out)
    )
    only = Epoch(1, train_loss, val_loss, 0.0, 0.0, 0.0)
    return State(1, 1, val_loss, dict(model.state_dict()), [only], finished=True)


def _not_finite(
    sets: Sequence[TileSet], where: npt.NDArray[np.int64], epoch: int, step: int, run: Path
) -> str:
    names = [
        f"{sets[s].record.scene} row {sets[s].index[t][0]} col {sets[s].index[t][1]}" for s, t in where[:3]
    ]
    kept = (
        f"the last good checkpoint is {run / CHECKPOINT}"
        if (run / CHECKPOINT).exists()
        else "none was saved yet"
    )
    return (
        f"the loss is not finite in epoch {epoch + 1}, step {step + 1} (tiles {'; '.join(names)}); {kept}: "
        "lower train.learning_rate or train.clip and train again"
    )


def _identity(sets: Sequence[TileSet], recipe: Recipe) -> str:
    """What a checkpoint belongs to: the recipe and the tiles."""
    text = recipe.model_dump_json() + "".join(s.record.model_dump_json() for s in sets)
    return hashlib.sha256(text.encode()).hexdigest()


def _save(
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


def _resumed(
    run: Path,
    identity: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> State:
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
