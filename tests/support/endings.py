"""Tiny runs, on made-up tiles, that end well or badly; and what is asked of runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae import config
from satae.models import Output
from satae.nn.checkpoint import Epoch
from satae.objectives import Objective
from satae.training import loop
from satae.training.evidence import Evidence, Tiles, gather
from satae.training.loop import TrainedModel

CPU = torch.device("cpu")
SMALL = [  # 12 of 16 tiles are learned from, in 3 steps an epoch
    "model.name=conv",
    "model.params.width=4",
    "model.params.compression=4",
    "train.batch=4",
    "train.min_steps=3",
    "train.validation=0.25",
    "augment.noise=0.01",
]
SIDE = 16
GOOD = Tiles(100, 1.0, 0.0)


def waves(count: int, seed: int, channels: int = 3) -> Tensor:
    """Tiles of smooth waves with a little noise, of deviation about 1 and mean 0: (n, C, SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    angle, phase = rng.uniform(0, np.pi, (count, 2, 1, 1)), rng.uniform(0, 6, (count, 2, 1, 1))
    base = np.sin((np.cos(angle) * rows + np.sin(angle) * cols) / 3 + phase) * 1.4
    mixed = np.einsum("cb,nbij->ncij", np.random.default_rng(9).normal(size=(channels, 2)), base)
    mixed /= np.sqrt((np.random.default_rng(9).normal(size=(channels, 2)) ** 2).sum(axis=1))[:, None, None]
    return torch.tensor(mixed + 0.05 * rng.normal(size=mixed.shape), dtype=torch.float32)


class Waves:
    """A source of made-up tiles: the first `learned` of them are learned from, the rest are held out."""

    def __init__(self, recipe: config.Recipe, x: Tensor) -> None:
        self.recipe, self.x = recipe, x

    def batches(self, where: Any, epoch: int, at_least: int) -> list[Any]:
        order = np.random.default_rng([self.recipe.train.seed, epoch]).permutation(where)
        return np.array_split(order, max(1, len(order) // self.recipe.train.batch))

    def training(self, where: Any, epoch: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
        return self._batch(where)

    def plain(self, where: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for part in np.array_split(where, max(1, len(where) // 32)):
            yield self._batch(part)

    def tiles(self, where: Any) -> list[str]:
        return [f"wave {i}" for i in where]

    def _batch(self, where: Any) -> tuple[Tensor, Tensor, Tensor]:
        x = self.x[torch.as_tensor(where)]
        return x, torch.ones_like(x[:, :1]), torch.ones_like(x[:, :1])


class Net(nn.Module):
    """A small autoencoder with a choice of everything that can go wrong."""

    stride = 4

    def __init__(
        self,
        code_size: int = 6,
        *,
        width: int = 16,
        activation: type[nn.Module] = nn.ReLU,
        norm: bool = True,
        depth: int = 0,
        output: nn.Module | None = None,
        variational: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.code_size, self.variational = code_size, variational

        def layer(i: int, o: int, stride: int = 1) -> nn.Sequential:
            steps = [nn.Conv2d(i, o, 3, stride, 1), *([nn.BatchNorm2d(o)] if norm else []), activation()]
            return nn.Sequential(*steps)

        self.encoder = nn.Sequential(
            layer(channels, width, 2), layer(width, width, 2), *(layer(width, width) for _ in range(depth))
        )
        self.to_code = nn.Conv2d(width, code_size * (2 if variational else 1), 1)
        self.decoder = nn.Sequential(
            layer(code_size, width), nn.Upsample(scale_factor=2), layer(width, width)
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.output = output or nn.Identity()

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        code, log_variance = self.to_code(self.encoder(x)), None
        if self.variational:
            code, log_variance = code.chunk(2, dim=1)
        drawn = code
        if log_variance is not None and self.training:
            drawn = code + torch.randn_like(code) * (log_variance / 2).exp()
        z = F.interpolate(self.decoder(drawn), size=x.shape[-2:])
        return Output(self.output(self.last(z)), code, None, log_variance)


class Pixelwise(nn.Module):
    """An overcomplete code of each pixel by itself: it can copy."""

    stride = 1

    def __init__(self, channels: int, code_size: int) -> None:
        super().__init__()
        self.code_size = code_size
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv2d(channels, code_size, 1), nn.LeakyReLU())
        self.decoder = nn.Conv2d(code_size, channels, 1)

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        code = self.encoder(x)
        return Output(self.decoder(code), code)


def ended(
    model: nn.Module, *changes: str, x: Tensor | None = None, held_out: int = 64, tiles: Tiles = GOOD
) -> Evidence:
    """The evidence of a run: `model` fitted to tiles by the loop of satae, the last ones held out."""
    quick = ["train.epochs=15", "train.batch=16", "train.learning_rate=0.005", "train.patience=100"]
    recipe = config.load(None, ["model.name=conv", *quick, *changes])
    torch.manual_seed(0)
    x = waves(256, 0) if x is None else x
    every = np.arange(len(x))
    source = Waves(recipe, x)
    loss_of = Objective(recipe.objective, int(model.code_size))
    task = loop.Task(model, source, every[:-held_out], every[-held_out:], recipe, loss_of, CPU)
    state = loop.descend(task)
    learned, checked = every[:-held_out][:held_out], every[-held_out:]
    return gather(model, recipe, state, tiles, lambda: source.plain(learned), lambda: source.plain(checked))


def recipe(*changes: str) -> config.Recipe:
    return config.load(None, [*SMALL, *changes])


def same_weights(one: TrainedModel, other: TrainedModel) -> bool:
    a, b = one.model.state_dict(), other.model.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def losses(of: TrainedModel) -> list[tuple[float, ...]]:
    """All that history says but the seconds."""
    return [(e.epoch, e.train_loss, e.val_loss, e.learning_rate, e.gradient_norm) for e in of.state.history]


def stop_at(step: int, *, between_epochs: bool) -> loop.Report:
    def report(done: int, total: int, epoch: Epoch | None) -> None:
        if done == step and (epoch is not None) == between_epochs:
            raise KeyboardInterrupt

    return report
