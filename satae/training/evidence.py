"""Measures what a finished run did, on its own tiles, and judges nothing.

All errors are in the space of x. What they mean is said in `diagnosis`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from satae.config import CorruptSettings, Recipe
from satae.console import Bar
from satae.models import MODELS, BlindSpot, Output, Sample, Traits
from satae.nn.checkpoint import Epoch, State
from satae.objectives import Objective, in_cells, reconstructs
from satae.objectives.kl import divergence
from satae.training import patches
from satae.training.corrupt import corrupt
from satae.training.patches import Patches

PLANTED = 5, 16, 4.0  # side of a planted square and their distance, in pixels; its size in deviations
NOISE = 0.5  # deviation of the noise that is added, in deviations
PROBES = (-1.0, 4.0, -4.0, 16.0, -16.0)  # by which inputs are multiplied to see how far outputs reach
MARGIN = 0.02  # of that reach: so far beyond it is within it


@dataclass(frozen=True)
class Tiles:
    """The training tiles: how many, the share of valid pixels, the share of tiles that are constant.

    `inside` is the share of their pixels that lie in their scene, `smaller` the size in pixels of tiles that would
    reach less far over its edge.
    """

    count: int
    valid: float
    constant: float
    inside: float = 1.0
    smaller: int = 0


@dataclass(frozen=True)
class CopyShares:
    """How much of background, noise and planted squares, as energy, is in the reconstruction: 1 is a copy."""

    background: float
    noise: float
    planted: float


@dataclass(frozen=True)
class DenoisingErrors:
    """Mean squared distances to the clean input: of the corrupted input, and of what is made of it."""

    damage: float
    mse: float


@dataclass(frozen=True)
class Reach:
    """The values between which outputs stay whatever the input, the share of values of x beyond them, and the
    share of outputs for x at the one or the other."""

    low: float
    high: float
    beyond: float
    pressed: float


@dataclass(frozen=True)
class Evidence:
    """Everything that `diagnosis` judges; None or NaN where it does not apply.

    `train_loss`, `val_loss`: of the kept weights, on tiles as they are. `mse`, `variance`, `pca_mse`: the
    held-out squared error of the model, of the mean and of a PCA of the same code. `dead`: the share of units
    of each layer that never change. `kl`: nats in each number of the code. `spread`: mean and deviation of the
    numbers of the code, each the furthest from the prior's. `settings`: those of the recipe to turn, by purpose.
    """

    history: list[Epoch]
    best: int
    recipe: Recipe
    tiles: Tiles
    settings: dict[str, str] = field(default_factory=dict)
    learned: bool = False
    train_loss: float = math.nan
    val_loss: float = math.nan
    mse: float = math.nan
    variance: float = math.nan
    mean_loss: float = math.nan
    pca_mse: float | None = None
    code: tuple[int, int] = (0, 0)  # its numbers, and those of the input that they stand for
    copied: CopyShares | None = None
    denoised: DenoisingErrors | None = None
    reach: Reach | None = None
    dead: dict[str, float] = field(default_factory=dict)
    kl: list[float] | None = None
    spread: tuple[float, float] | None = None

    def json(self) -> str:
        """The evidence as JSON, but for the history and the recipe, which have files of their own; NaN as null."""
        values = asdict(self) | {"recipe": None, "history": None}
        told = {key: None if value != value else value for key, value in values.items()}
        return json.dumps({k: v for k, v in told.items() if k not in ("recipe", "history")}, indent=1) + "\n"


class HeldOutBatch(NamedTuple):
    """A batch of held-out tiles, x (N, K, H, W), `valid` and `chosen` (N, 1, H, W), and what the model makes of it."""

    x: Tensor
    valid: Tensor
    chosen: Tensor
    out: Output

    @property
    def reconstruction(self) -> Tensor:
        """The reconstruction (N, K, H, W)."""
        return self.out.reconstruction.float()


def gather(
    model: nn.Module,
    recipe: Recipe,
    state: State,
    tiles: Tiles,
    learned: Sample,
    held_out: Sample,
    bar: Bar | None = None,
) -> Evidence:
    """All that the kept weights show on samples of the tiles that were learned from and held out.

    `bar` counts what is measured, in addition to what it counts already.
    """
    start = Evidence(state.history, state.best_epoch, recipe, tiles, _settings(recipe))
    if not any(p.requires_grad for p in model.parameters()):
        return start
    model.eval()
    with torch.no_grad():
        # once: errors, codes, copying and reach are all measured on these outputs
        seen, dead = _rebuilt(model, held_out)
        found = _errors(model, seen, _mean(learned), _rival(model, learned))
        unexplained = found["mse"] / max(found["variance"], 1e-12)
        measures: dict[str, Callable[[], Any]] = {
            "train_loss": lambda: _loss(
                recipe, model, ((x, c, model(x, valid)) for x, valid, c in learned())
            ),
            "val_loss": lambda: _loss(recipe, model, ((s.x, s.chosen, s.out) for s in seen)),
            "mean_loss": lambda: _mean_loss(recipe, learned, held_out),
            "copied": lambda: _copied(model, seen, _deviation(held_out), unexplained),
            "denoised": lambda: _denoised(model, recipe, held_out),
            "reach": lambda: _reach(model, seen),
        }
        if bar is not None:
            bar.total += 1 + len(measures)
            bar.add(1)  # the errors
        for name, measure in measures.items():
            found[name] = measure()
            if bar is not None:
                bar.add(1)
        return replace(start, **found, learned=True, dead=dead, **_codes(recipe, seen))


def _settings(recipe: Recipe) -> dict[str, str]:
    """How to ask the architecture for a larger code, a smaller one and fewer weights."""

    def first(*turns: tuple[str, str]) -> str:
        known = (f"{verb} model.params.{key}" for key, verb in turns if MODELS.takes(recipe.model.name, key))
        return next(known, "change model.name or model.params")

    return {
        "larger": first(
            ("compression", "lower"), ("code", "raise"), ("components", "raise"), ("width", "raise")
        ),
        "smaller": first(
            ("compression", "raise"), ("code", "lower"), ("components", "lower"), ("width", "lower")
        ),
        "fewer": first(("width", "lower"), ("hidden", "lower"), ("code", "lower")),
    }


def _rival(model: nn.Module, learned: Sample) -> Patches | None:
    """The PCA of the same code; None for what predicts a pixel from others, or has no code."""
    traits = Traits.of(model)
    return None if isinstance(model, BlindSpot) else patches.fit(learned, traits.stride, traits.code_size)


def _mean(sample: Sample) -> Tensor:
    """The mean of each channel over the chosen pixels (1, C, 1, 1)."""
    parts = [((x * c).sum(dim=(0, 2, 3)), c.sum()) for x, _, c in sample()]
    total, count = (torch.stack(list(column)).sum(dim=0) for column in zip(*parts, strict=True))
    mean: Tensor = total / count.clamp(min=1)
    return mean[None, :, None, None]


def _deviation(sample: Sample) -> Tensor:
    """The deviation of each channel over the chosen pixels (1, C, 1, 1)."""
    mean = _mean(sample)
    parts = [(((x - mean) ** 2 * c).sum(dim=(0, 2, 3)), c.sum()) for x, _, c in sample()]
    total, count = (torch.stack(list(column)).sum(dim=0) for column in zip(*parts, strict=True))
    return (total / count.clamp(min=1)).sqrt()[None, :, None, None]


def _errors(
    model: nn.Module, seen: Sequence[HeldOutBatch], mean: Tensor, rival: Patches | None
) -> dict[str, Any]:
    """Squared errors of the model, the mean and the PCA: over the patches that the PCA sees whole, else over all
    chosen pixels."""
    totals, count, numbers = torch.zeros(3, dtype=torch.float64), 0.0, 0
    traits, stride = Traits.of(model), rival.stride if rival else 1
    for s in seen:
        x, rebuilt, chosen = (patches.whole(z, stride) for z in (s.x, s.reconstruction, s.chosen))
        if not x.numel():
            continue
        linear = rival.reconstruction(x) if rival else x
        # a patch counts where all of its pixels are chosen, and then at each of them
        kept = -nn.functional.max_pool2d(-chosen, stride)
        kept = kept.repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
        each = [((other - x) ** 2 * kept).sum().double() for other in (rebuilt, mean, linear)]
        totals, count = totals + torch.stack(each), count + float(kept.sum()) * x.shape[1]
        numbers = x.shape[1] * traits.stride**2
    mse, variance, pca = (totals / max(count, 1.0)).tolist()
    return {
        "mse": mse,
        "variance": variance,
        "pca_mse": pca if rival else None,
        "code": (traits.code_size, numbers),
    }


def _loss(recipe: Recipe, model: nn.Module | None, seen: Iterable[tuple[Tensor, Tensor, Output]]) -> float:
    """The loss of a recipe on (x, chosen pixels, output) of tiles as they are, without the terms of training alone."""
    loss_of = Objective(recipe.objective, Traits.of(model).code_size if model else 0)
    pairs = [(float(loss_of(out, x, chosen)), float(chosen.sum())) for x, chosen, out in seen]
    return sum(loss * n for loss, n in pairs) / max(1.0, sum(n for _, n in pairs))


def _mean_loss(recipe: Recipe, learned: Sample, held_out: Sample) -> float:
    """What predicting the mean everywhere costs; NaN where a term asks for more than a reconstruction."""
    if not reconstructs(recipe.objective.terms):
        return math.nan
    mean = _mean(learned)
    return _loss(recipe, None, ((x, chosen, Output(mean.expand_as(x))) for x, _, chosen in held_out()))


def _copied(model: nn.Module, seen: Sequence[HeldOutBatch], spread: Tensor, unexplained: float) -> CopyShares:
    """How much of added noise, and of planted squares, comes out again."""
    rng = torch.Generator().manual_seed(0)
    lost = {"noise": 0.0, "planted": 0.0}
    given = {"noise": 1e-12, "planted": 1e-12}
    for s in seen:
        x, chosen = s.x, s.chosen
        # on the CPU from a fixed seed: the same noise on every machine
        noise = torch.randn(x.shape, generator=rng) * NOISE * spread.cpu()
        for name, extra in (("noise", noise.to(x)), ("planted", _squares(x, spread, rng))):
            # what of it comes out: the difference of two reconstructions, the model need not be linear
            passed = model(x + extra, s.valid).reconstruction.float() - s.reconstruction
            # only where something was added: around a square its traces are no copy
            where = chosen * (extra != 0).any(dim=1, keepdim=True)
            lost[name] += float(((extra - passed) ** 2 * where).sum())
            given[name] += float((extra**2 * where).sum())
    return CopyShares(1 - unexplained, *(1 - lost[name] / given[name] for name in ("noise", "planted")))


def _squares(x: Tensor, spread: Tensor, rng: torch.Generator) -> Tensor:
    """Squares in a grid, each brighter or darker by so many deviations in each channel; 0 elsewhere."""
    side, apart, size = PLANTED
    n, channels, height, width = x.shape
    signs = (
        torch.randint(0, 2, (n, channels, -(-height // apart), -(-width // apart)), generator=rng) * 2.0 - 1
    )
    spots = torch.zeros(1, 1, apart, apart)
    first = (apart - side) // 2
    spots[..., first : first + side, first : first + side] = size
    return torch.kron(signs, spots)[..., :height, :width].to(x) * spread


def _denoised(model: nn.Module, recipe: Recipe, held_out: Sample) -> DenoisingErrors | None:
    if recipe.corrupt == CorruptSettings():
        return None
    damage = error = count = 0.0
    for i, (x, valid, chosen) in enumerate(held_out()):
        noisy = corrupt(x, valid, recipe.corrupt, (recipe.train.seed, 8, i))
        damage += float(((noisy - x) ** 2 * chosen).sum())
        error += float(((model(noisy, valid).reconstruction.float() - x) ** 2 * chosen).sum())
        count += float(chosen.sum()) * x.shape[1]
    return DenoisingErrors(damage / max(count, 1.0), error / max(count, 1.0))


def _reach(model: nn.Module, seen: Sequence[HeldOutBatch]) -> Reach:
    """Least and largest output over inputs as they are and multiplied by PROBES."""
    outputs = [s.reconstruction for s in seen]
    # far beyond what training holds: a bounded output is found by pushing against it
    outputs += [model(s.x * k, s.valid).reconstruction.float() for s in seen for k in PROBES]
    low, high = (float(f(torch.stack([f(o) for o in outputs]))) for f in (torch.min, torch.max))
    margin = MARGIN * (high - low)
    beyond = pressed = count = 0.0
    for s in seen:
        beyond += float((((s.x < low - margin) | (s.x > high + margin)) * s.chosen).sum())
        pressed += float(
            (((s.reconstruction <= low + margin) | (s.reconstruction >= high - margin)) * s.chosen).sum()
        )
        count += float(s.chosen.sum()) * s.x.shape[1]
    return Reach(low, high, beyond / max(count, 1.0), pressed / max(count, 1.0))


def _rebuilt(model: nn.Module, held_out: Sample) -> tuple[list[HeldOutBatch], dict[str, float]]:
    """What the model makes of the sample, and the share of channels of each activation that are the same at every
    pixel of every tile."""
    ends: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, out: Any) -> None:
            if not isinstance(out, Tensor) or out.dim() not in (2, 4):
                return
            # (channels, all numbers of each), of (N, C) or (N, C, H, W)
            each = out.detach().float().transpose(0, 1).flatten(1)
            key = f"{name or type(module).__name__} ({len(each)})"
            # least and largest over batches: a unit is dead where both are the same
            low, high = ends.get(key, (each.amin(dim=1), each.amax(dim=1)))
            ends[key] = torch.minimum(low, each.amin(dim=1)), torch.maximum(high, each.amax(dim=1))

        return hook

    hooks = [m.register_forward_hook(watch(name)) for name, m in model.named_modules() if _activates(m)]
    seen = [HeldOutBatch(x, valid, chosen, model(x, valid)) for x, valid, chosen in held_out()]
    for hook in hooks:
        hook.remove()
    moved = {key: high - low for key, (low, high) in ends.items()}
    return seen, {
        key: float((m <= 1e-4 * m.max().clamp(min=1e-12)).float().mean()) for key, m in moved.items()
    }


def _activates(module: nn.Module) -> bool:
    """Whether a module is one of torch's activation functions."""
    return type(module).__module__ == nn.ReLU.__module__ and not list(module.children())


def _codes(recipe: Recipe, seen: Sequence[HeldOutBatch]) -> dict[str, Any]:
    """Nats in each number of a variational code; mean and deviation of an adversarial one."""
    terms = recipe.objective.terms
    if "kl" not in terms and "adversarial" not in terms:
        return {}
    nats, firsts, seconds, weights = [], [], [], []
    for _, _, chosen, out in seen:
        code = out.code.float()  # type: ignore[union-attr]
        firsts.append(in_cells(code, chosen))
        seconds.append(in_cells(code**2, chosen))
        weights.append(chosen.sum())
        if out.log_variance is not None:
            nats.append(in_cells(divergence(code, out.log_variance.float()), chosen))
    weight = torch.stack(weights) / torch.stack(weights).sum().clamp(min=1)
    first, second = (torch.einsum("b,bd->d", weight, torch.stack(z)) for z in (firsts, seconds))
    # over all cells of the sample, by the weight of each batch
    deviation = (second - first**2).clamp(min=0).sqrt()
    # in ratios: half the prior's deviation is as far as twice it
    furthest = int((deviation.clamp(min=1e-6).log()).abs().argmax())
    kl = torch.einsum("b,bd->d", weight, torch.stack(nats)).tolist() if "kl" in terms else None
    spread = (float(first.abs().max()), float(deviation[furthest])) if "adversarial" in terms else None
    return {"kl": kl, "spread": spread}
