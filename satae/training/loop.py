"""The training loop, visible from top to bottom: tiles in, weights out. No raster library, no hidden state.

Every random draw is a function of (seed, epoch, step), so a run that was interrupted after any epoch goes on
to the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from satae import models, objectives
from satae.config import CorruptSettings, Recipe
from satae.detector.graph import Input
from satae.errors import ConfigError, DeviceError, DivergedError
from satae.models import BlindSpot, ClosedForm, Traits
from satae.nn import checkpoint, normalize
from satae.nn.checkpoint import CHECKPOINT, Epoch, Memory, State
from satae.nn.normalize import Normalizer
from satae.objectives import Objective
from satae.tiles.split import Split, split
from satae.tiles.store import TileSet
from satae.training.augment import Augmenter
from satae.training.corrupt import corrupt
from satae.training.deal import Deal
from satae.training.feed import SAMPLE_PIXELS, Batch, Feed, noise, pixel_sample
from satae.training.pixels import Pixels
from satae.training.schedule import learning_rate, optimizer_of, set_rate
from satae.training.step import CapturedStep, Forward, Step
from satae.training.team import ALONE, Team, joint

Indices = npt.NDArray[np.int64]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What follows from the recipe and the tiles alone, settled before anything is written. It is fitted once.

    `model` has its first weights; `drawn` is the state of torch's random numbers after they were drawn.
    """

    recipe: Recipe
    split: Split
    normalizer: Normalizer
    model: nn.Module
    drawn: Tensor


@dataclass(frozen=True)
class TrainedModel:
    """A network with its best weights, in evaluation mode on the CPU, and what it was fitted with."""

    model: nn.Module
    normalizer: Normalizer
    split: Split
    state: State


class Source(Protocol):
    """Where batches come from; `where` numbers samples in a way of the source's own.

    A batch is x (N, C, H, W), what the model is given beside it (`valid` (N, 1, H, W), or surroundings), and
    the pixels that count (N, 1, H, W), all on the device.
    """

    def batches(self, where: Indices, epoch: int, at_least: int) -> list[Indices]:
        """The samples of each batch of an epoch, always the same number of batches, at least so many."""
        ...

    def training(self, where: Indices, epoch: int, step: int) -> Batch:
        """A batch to learn from; what is drawn for it is a function of the seed, epoch and step."""
        ...

    def plain(self, where: Indices) -> Iterable[Batch]:
        """All of the given samples in order, as they are."""
        ...

    def tiles(self, where: Indices) -> list[str]:
        """What a batch is made of, for messages."""
        ...


@dataclass(frozen=True)
class Task:
    """What is learned from what: samples of a source to learn from and to hold out, and the loss.

    `forward` is what is asked for the output of a batch, the model itself where it is None. `alike`: all batches
    to learn from have one shape, so that a step can be captured. `team`: the processes that learn it together.
    """

    model: nn.Module
    source: Source
    train: Indices
    held_out: Indices
    recipe: Recipe
    loss_of: Objective
    device: torch.device
    forward: Forward | None = None
    alike: bool = False
    team: Team = ALONE

    @property
    def forward_pass(self) -> Forward:
        """What maps a batch to its output."""
        return self.forward or self.model

    def batch(self, x: Tensor, valid: Tensor, epoch: int, step: int, progress: float) -> objectives.Batch:
        """What the loss is told of a batch to learn from."""
        # 7 names this stream of draws: batches, augmentation and pixels have others, and none disturbs another
        key = (self.recipe.train.seed, 7, epoch, step)
        # (N, C, H, W); the loss still compares with x, which stays clean
        entered = corrupt(x, valid, self.recipe.corrupt, key)
        # a leaf of its own, for the loss takes the gradient by what entered and not by the weights alone
        if self.loss_of.differentiates:
            entered = entered.detach().requires_grad_()
        return objectives.Batch(x, valid, progress, entered)


Report = Callable[[int, int, Epoch | None], None]  # (steps done, of how many in all, a finished epoch)


def fit_normalizer(sets: Sequence[TileSet], chosen: Split, recipe: Recipe) -> Normalizer:
    """The normaliser of a recipe, fitted to the training tiles."""
    # (n, B) valid DN of training tiles alone: nothing of the held-out ones may be known to the model
    settings, pixels = recipe.input, pixel_sample(sets, chosen.train, recipe.train.seed)
    fitted = normalize.fit(
        pixels,
        whitened=settings.space == "whitened",
        unit=settings.space == "unit",
        logarithmic=settings.stretch == "log",
        common=settings.scale == "common",
        ridge=settings.ridge,
        components=settings.components,
        # only a logarithm needs the noise, which costs a pass over the tiles
        noise=noise(sets, chosen.train) if settings.stretch == "log" else 0.0,
    )
    for name, low, high in zip(sets[0].record.bands, pixels.min(axis=0), pixels.max(axis=0), strict=True):
        if low == high:
            log.warning("%s is %g in every training tile: it says nothing", name, low)
    return fitted


def plan(sets: Sequence[TileSet], recipe: Recipe, chosen: Split | None = None) -> Plan:
    """Settle which tiles are learned from, unless they are `chosen`, how they are normalised, and what model learns.

    Raises ConfigError where the recipe asks for what there is not, TilesError where nothing can be held out,
    TrainError where no band varies.
    """
    cfg = recipe.train
    # built and dropped again, here and below: a recipe that cannot work fails now, not after the tiles were read
    loss_of = Objective(recipe.objective)
    Augmenter(recipe.augment, sets[0].record.size)
    models.all_params(recipe.model.name, recipe.model.params)
    chosen = chosen or split(sets, share=cfg.validation, block=cfg.block, seed=cfg.seed, sample=cfg.sample)
    normalizer = fit_normalizer(sets, chosen, recipe)
    # first weights follow from the seed alone; what is drawn later goes on from behind them
    torch.manual_seed(cfg.seed)
    model = models.build(recipe.model.name, len(normalizer.affine), recipe.model.params)
    _together(model, loss_of, recipe)
    if objectives.reconstructs(recipe.objective.terms):
        # rounding is all there is to their gradients, and Adam would bring that to full steps
        nn.ParameterList(getattr(model, "idle", ())).requires_grad_(False)
    return Plan(recipe, chosen, normalizer, model, torch.get_rng_state())


def _together(model: nn.Module, loss_of: Objective, recipe: Recipe) -> None:
    """ConfigError where the recipe asks for whole tiles and the architecture learns from single pixels."""
    if not isinstance(model, BlindSpot):
        return
    # neither a term that looks at neighbours nor a spoiled input has a meaning where a batch is single pixels
    needs = [f"objective = {name!r}" for name in loss_of.whole]
    needs += ["corrupt"] * (recipe.corrupt != CorruptSettings())
    if needs:
        raise ConfigError(
            f"{needs[0]}: it needs whole tiles, and {recipe.model.name} learns from single pixels and their "
            "surroundings; conv does not"
        )


def device_of(name: str) -> torch.device:
    """The device for 'auto', 'cpu' or 'cuda'; DeviceError where CUDA was asked for and is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda: torch sees no CUDA device; use --device auto to train on the CPU")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def precision_of(setting: str, device: torch.device) -> torch.dtype | None:
    """The autocast type: on CUDA bf16 where the chip computes in it, else fp16; None (fp32) on a CPU."""
    if setting == "auto" and device.type == "cuda":
        # bf16 has the range of float32, so that no loss has to be scaled; chips before Ampere (8) do not compute in it
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(setting)


def fit(
    sets: Sequence[TileSet],
    planned: Plan,
    run: Path | None,
    *,
    device: torch.device,
    report: Report = lambda done, total, epoch: None,
    team: Team = ALONE,
) -> TrainedModel:
    """Train to the end of the recipe or until early stopping, from the run's checkpoint where there is one.

    Without `run` nothing is written. In a `team` each process calls this with the same tiles and plan. Raises
    TilesError where that checkpoint belongs to other tiles or another recipe, DivergedError where the loss is no
    longer finite: the last good one stays in `run`.
    """
    recipe, chosen, normalizer = planned.recipe, planned.split, planned.normalizer
    cfg = recipe.train
    # both: CUDA draws from the seed, the CPU from behind the first weights
    torch.manual_seed(cfg.seed)
    torch.set_rng_state(planned.drawn)  # whatever was tried with the model since
    model = planned.model.train().to(device)
    traits = Traits.of(model)
    loss_of = Objective(recipe.objective, traits.code_size).to(device)
    # tiles with as much around them as the architecture looks at, so that tiles learn at their edges what scenes show
    feed = Feed(sets, Input(normalizer), recipe, chosen, device, context=traits.context)
    # before the optimiser sees any weight: what is settled here is part of what the weights learn from
    if isinstance(model, ClosedForm):
        model.fit(feed.sample)
    # the classics: nothing is left to be learned by gradients, and the loss is only reported
    if not any(p.requires_grad for p in model.parameters()):
        return TrainedModel(model.cpu().eval(), normalizer, chosen, _closed(model, feed, loss_of, chosen))
    # whole tiles, (N, C, H, W) and their masks
    task = Task(model, feed, chosen.train, chosen.held_out, recipe, loss_of, device)
    if isinstance(model, BlindSpot):
        # what surrounds a pixel does not change, so it is computed once for pixels drawn from the tiles
        task = replace(task, source=Pixels(feed, model, cfg.pixels), forward=model.predict)
    identity = _identity(sets, recipe)
    if team.size == 1:
        state = descend(task, run, identity, report=report)
    else:
        with joint(model, team) as forward:
            task = replace(task, source=Deal(feed, team), forward=forward, team=team)
            state = descend(task, run, identity, report=report)
    return TrainedModel(model.cpu().eval(), normalizer, chosen, state)


def descend(
    task: Task,
    run: Path | None = None,
    identity: str = "",
    *,
    report: Report = lambda done, total, epoch: None,
) -> State:
    """Fit the model of a task, which then has its best weights, in evaluation mode.

    With a folder `run` it leaves history and checkpoint there, and goes on from those of the same `identity`;
    with None it writes nothing. Raises as `fit`.
    """
    model, source, cfg, device = task.model, task.source, task.recipe.train, task.device
    # weights and their gradients stay in float32; `half` is the type in which layers compute
    half, loss_of = precision_of(cfg.precision, device), task.loss_of
    # on CUDA a step of batches of one shape is captured once and replayed: some hundred launches become one
    captured = task.alike and CapturedStep.possible(loss_of, half, device)
    optimizer = optimizer_of(model.parameters(), cfg, device if captured else None)
    # fp16 loses small gradients to 0: the loss is scaled up, and gradients are scaled back before they are clipped
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
    by_hand = Step(model, task.forward_pass, loss_of, optimizer, scaler, half, cfg.clip)
    take = CapturedStep(by_hand) if captured else by_hand
    # all that an interrupted run needs to go on bit for bit, beside the seed
    memory = Memory(model, optimizer, scaler, loss_of.rivals)
    state = State() if run is None else checkpoint.restore_run(run, identity, memory)
    # every epoch has as many steps as the first, so the place of a step in the whole is known from the start
    steps = len(source.batches(task.train, 0, cfg.min_steps))
    total = steps * cfg.epochs

    while state.epoch < cfg.epochs and not state.finished:
        # from the state and not a counter: a resumed run begins with the epoch that it was killed in
        epoch, started = state.epoch, time.perf_counter()
        model.train()
        # the order of tiles is drawn from (seed, epoch), not from what was drawn before
        rate, order = 0.0, source.batches(task.train, epoch, cfg.min_steps)
        waiting: list[Tensor] = []
        # losses wait on the device as tensors: reading one back stops it until all steps before are done
        known: list[npt.NDArray[np.float64]] = []  # (steps, 2): loss and norm of the gradient
        for step, where in enumerate(order):
            # the rate is a function of the step and of the losses so far, never of a clock or a counter of its own
            rate = learning_rate(epoch * steps + step, total, cfg, [e.val_loss for e in state.history])
            set_rate(optimizer, rate)
            x, seen, counted = source.training(where, epoch, step)
            # x (N, C, H, W) clean, what enters the model corrupted where the recipe says so; `counted` what is learned
            # `seen` is `valid` (N, 1, H, W) for whole tiles, the surroundings (1, D, n, 1) for single pixels
            batch = task.batch(x, counted, epoch, step, (epoch * steps + step) / total)
            # a tensor of two numbers a step; gradients of the last step are looked at layer by layer
            waiting.append(torch.stack(take(batch, seen, look=step == steps - 1)))
            if device.type == "cpu" or step == steps - 1:  # another device would be waited for
                known.append(torch.stack(waiting).double().cpu().numpy())
                # fp16 skips a step whose gradient is not finite, by design
                wanted = known[-1][:, :1] if half is torch.float16 else known[-1]
                # on a device the whole epoch is checked at once, and the first step that was not finite is named
                good = np.atleast_1d(np.isfinite(wanted).all(axis=1))
                if not good.all():
                    # the rows of `good` are the last len(good) steps up to this one
                    at = step + 1 - len(good) + int(good.argmin())
                    # before anything is saved: the checkpoint on disk is that of the last epoch that was sound
                    raise DivergedError(_not_finite(source, order[at], epoch, at, run))
                waiting = []
            report(epoch * steps + step + 1, total, None)
        model.eval()
        # with the weights as they are, in evaluation mode: dropout and draws are off, norms use their running means
        val_loss = evaluate(task.forward_pass, source, task.held_out, loss_of, task.team)
        # training losses can be finite while what the norms have gathered for evaluation is not
        if not math.isfinite(val_loss):
            raise DivergedError(_not_finite(source, task.held_out[:1], epoch, steps, run))
        # from here on `state` counts this epoch as done
        state.epoch += 1
        # the weights of the best epoch are the result, not those of the last
        if val_loss < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, val_loss
            # copies on the CPU: the optimiser goes on to change the model's own in place
            state.best_weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        # early stopping: as many epochs as the patience without a better one
        state.finished = state.epoch - state.best_epoch >= cfg.patience or state.epoch == cfg.epochs
        seconds, (losses, norms) = time.perf_counter() - started, np.concatenate(known).T
        entry = Epoch(
            state.epoch, float(losses.mean()), val_loss, rate, float(norms.mean()), seconds,
            # measures are since they were last asked: asking once an epoch makes them the epoch's
            measures=loss_of.measures(), gradients=take.slopes, clipped=float((norms > cfg.clip).mean()),
        )  # fmt: skip
        state.history.append(entry)
        # after each epoch, in one step: a run that is killed has lost an epoch at the most
        if run is not None and task.team.leads:
            checkpoint.save(run, identity, state, memory)
        report(state.epoch * steps, total, entry)

    # an interrupted run that had finished comes here at once
    model.load_state_dict(state.best_weights)
    model.eval()
    return state


@torch.no_grad()
def evaluate(
    forward: Callable[[Tensor, Tensor], models.Output],
    source: Source,
    where: Indices,
    loss_of: Objective,
    team: Team = ALONE,
) -> float:
    """The loss over tiles as they are, weighted by their valid pixels; in a team over those of all its processes."""
    # a mean over pixels and not over batches: the last batch is smaller, and tiles differ in what is valid
    total = count = 0.0
    for x, seen, counted in source.plain(where):
        pixels = float(counted.sum())
        # progress 1: the loss as it is at the end of training, whatever is trimmed or warming up by now, so that epochs
        # compare with each other
        total += float(loss_of(forward(x, seen), x, counted, 1.0)) * pixels
        count += pixels
    # each process has seen some of the batches: sums and not means are put together
    total, count = team.sums(total, count)
    return total / max(count, 1.0)


def _closed(model: nn.Module, feed: Feed, loss_of: Objective, chosen: Split) -> State:
    """Where a run stands whose model has no weights to learn by gradients."""
    # the same figures as of an epoch, so that report and diagnosis need not know the difference; nothing is chosen by
    # them, so some of very many tiles are enough
    train_loss, val_loss = (
        evaluate(model, feed, feed.some(where, SAMPLE_PIXELS), loss_of)
        for where in (chosen.train, chosen.held_out)
    )
    only = Epoch(1, train_loss, val_loss, 0.0, 0.0, 0.0)
    return State(1, 1, val_loss, dict(model.state_dict()), [only], finished=True)


def _not_finite(source: Source, where: Indices, epoch: int, step: int, run: Path | None) -> str:
    kept = (
        f"the last good checkpoint is {run / CHECKPOINT}"
        if run is not None and (run / CHECKPOINT).exists()
        else "none was saved yet"
    )
    return (
        f"the loss is not finite in epoch {epoch + 1}, step {step + 1} "
        f"(tiles {'; '.join(source.tiles(where)[:3])}); {kept}: lower train.learning_rate or train.clip "
        "and train again"
    )


def _identity(sets: Sequence[TileSet], recipe: Recipe) -> str:
    """What a checkpoint belongs to: the recipe, the tiles, and what was decided on them."""
    # tiles by their record, which names the scene by its hash, and by what was decided on them
    text = recipe.model_dump_json() + "".join(s.record.model_dump_json() + s.heed.digest for s in sets)
    return hashlib.sha256(text.encode()).hexdigest()
