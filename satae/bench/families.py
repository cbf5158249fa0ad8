"""Measures on CIFAR-10 how well families of autoencoders rebuild images, and tell one class from the others.

A family is a recipe. All see the images as `images` gives them and learn in `train.descend`; beside each stands
PCA with a code of the same size, fitted to the same images. Test images are measured and never learned from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from satae import config, models
from satae.bench.cifar import CLASSES, Cifar
from satae.bench.images import TURNS, Images
from satae.bench.metrics import ranking_of
from satae.bench.quality import Quality, quality
from satae.config import CorruptSettings, Recipe
from satae.errors import ConfigError
from satae.nn.checkpoint import State
from satae.nn.pca import Components, principal
from satae.objectives import Objective
from satae.training.loop import Task, descend
from satae.training.presets import complete_recipe

CHUNK = 1000  # images that are turned into floats at once

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Scores = dict[str, Floats]  # of each image (n,), by the name of the score; larger is stranger
Share = Callable[[float], None]  # called with the share done


@dataclass(frozen=True)
class Family:
    """A recipe with nothing left open, by the name that it has in the table."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class FittedFamily:
    """A family with its weights, on the device; `code` numbers an image, `seconds` an epoch."""

    family: Family
    model: nn.Module
    source: Images
    device: torch.device
    train: npt.NDArray[np.int64]
    code: int
    epochs: int
    seconds: float

    @property
    def parameters(self) -> int:
        """Weights that were learned by gradients."""
        return sum(p.numel() for p in self.model.parameters())


@dataclass(frozen=True)
class ReconstructionResult:
    """How well a family rebuilds the test images, beside PCA of the same code size."""

    family: str
    seed: int
    code: int
    own: Quality
    pca: Quality
    parameters: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class ClassResult:
    """AUROC by score of one class against the others, and that of PCA of the same code size."""

    family: str
    seed: int
    normal: str
    code: int
    own: dict[str, float]
    pca: dict[str, float]
    parameters: int
    epochs: int
    seconds: float


def families(names: Sequence[str], changes: list[str]) -> list[Family]:
    """Recipes by name: a YAML file, one of satae's, or an architecture with what suits it; `changes` to all.

    Raises ConfigError where there is none of that name, or one is named twice.
    """
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"--families {','.join(names)} does not name different families")
    return [_family(name, changes) for name in names]


def _family(name: str, changes: list[str]) -> Family:
    recipes = config.recipes()
    if name.endswith(".yaml") or name in recipes:
        recipe = config.load(Path(name), changes)
    elif name in models.NAMES:
        recipe = config.load(None, [f"model.name={name}", *changes])
    else:
        raise ConfigError(
            f"--families {name}: there is no such recipe ({', '.join(recipes)}) or architecture "
            f"({', '.join(models.NAMES)}); name one of these, or a .yaml file"
        )
    return Family(Path(name).stem, complete_recipe(recipe, 3, None))


def with_seed(family: Family, seed: int) -> Family:
    """The family with another seed."""
    train = family.recipe.train.model_copy(update={"seed": seed})
    return Family(family.name, family.recipe.model_copy(update={"train": train}))


def fit(
    pixels: Bytes, family: Family, device: torch.device, report: Share = lambda share: None
) -> FittedFamily:
    """Train a family on images (n, 3, S, S), a share of which is held out for early stopping.

    Raises ConfigError and TrainError as `satae train` does.
    """
    recipe, cfg = family.recipe, family.recipe.train
    torch.manual_seed(cfg.seed)
    torch.backends.cudnn.benchmark = True  # all batches have one shape
    source = Images(pixels, recipe, device)
    built = models.build(recipe.model.name, 3, recipe.model.params)
    model = built.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    order = np.random.default_rng([cfg.seed, 7]).permutation(len(pixels))
    held_out, train = np.split(order, [max(1, round(cfg.validation * len(pixels)))])
    started = time.perf_counter()
    if isinstance(model, models.ClosedForm):
        model.fit(lambda: source.sample(train))
    state = State()
    if any(p.requires_grad for p in model.parameters()):
        loss_of = Objective(recipe.objective, models.Traits.of(model).code_size).to(device)
        forward = _Restoring(model) if recipe.images.restore else None
        _check_restored(family, loss_of)
        task = Task(model, source, train, held_out, recipe, loss_of, device, forward, alike=True)
        state = descend(task, report=lambda done, total, epoch: report(done / max(1, total)))
    model.eval()
    seconds = [epoch.seconds for epoch in state.history] or [time.perf_counter() - started]
    code = _code_size(model, source)
    return FittedFamily(family, model, source, device, train, code, state.epoch, float(np.median(seconds)))


def _check_restored(family: Family, loss_of: Objective) -> None:
    """What is shown to be restored is no change to what is wanted, so that neither can be corrupted or derived."""
    if not family.recipe.images.restore:
        return
    if family.recipe.corrupt != CorruptSettings():
        raise ConfigError(f"{family.name}: corrupt and images.restore are both on; choose one")
    if loss_of.differentiates:
        raise ConfigError(
            f"{family.name}: a loss that needs derivatives of the input goes with no images.restore"
        )


class _Restoring(nn.Module):
    """What is shown is given beside what is wanted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, shown: Tensor) -> models.Output:
        found: models.Output = self.model(shown, torch.ones_like(x[:, :1]))
        return found


@torch.no_grad()
def _code_size(model: nn.Module, source: Images) -> int:
    """Numbers that the model keeps of an image, 0 where it has no code."""
    x, _, ones = next(source.plain(np.arange(1)))
    code = model(x, ones).code
    return 0 if code is None else int(code.numel())


@torch.no_grad()
def rebuild(fitted: FittedFamily, pixels: Bytes) -> npt.NDArray[np.float32]:
    """What a family makes of images (n, 3, S, S), in its own space: [0, 1], or a common contrast."""
    source = Images(pixels, fitted.family.recipe, fitted.device)
    out = []
    for x, shown, ones in source.plain(np.arange(len(pixels))):
        given = shown if source.settings.restore else x
        out.append(fitted.model(given, ones).reconstruction.float().cpu().numpy())
    return np.concatenate(out)


class Linear:
    """PCA of images, decomposed once for the largest code so far."""

    def __init__(self, pixels: Bytes) -> None:
        self.pixels, self.asked = pixels, 0

    def components(self, code: int) -> Components:
        """The leading components, at least so many where there are so many, in units of DN."""
        if code > self.asked:
            self.asked = code
            self._found = principal(self.pixels.reshape(len(self.pixels), -1), code)
        return self._found

    def reconstruction(self, pixels: Bytes, code: int) -> npt.NDArray[np.float32]:
        """Images in [0, 1] as far as a code of that size tells."""
        flat = pixels.reshape(len(pixels), -1)
        found = self.components(code)
        parts = [found.reconstruction(flat[i : i + CHUNK], code) for i in range(0, len(flat), CHUNK)]
        out: npt.NDArray[np.float32] = (np.concatenate(parts) / 255).astype(np.float32)
        return out.reshape(pixels.shape)


def unit(pixels: Bytes) -> npt.NDArray[np.float32]:
    """Bytes as [0, 1]."""
    return np.asarray(pixels, np.float32) / np.float32(255)


def rebuilding(
    found: FittedFamily, linear: Linear, test: Bytes
) -> tuple[ReconstructionResult, npt.NDArray[np.float32]]:
    """The figures of a family on test images, and its reconstructions of them."""
    x, own = unit(test), rebuild(found, test)
    pca = linear.reconstruction(test, found.code)
    row = ReconstructionResult(
        found.family.name, found.family.recipe.train.seed, found.code, quality(x, own), quality(x, pca),
        found.parameters, found.epochs, found.seconds,
    )  # fmt: skip
    return row, own


@torch.no_grad()
def scores(fitted: FittedFamily, pixels: Bytes) -> Scores:
    """How strange each image is to a family, by its error of reconstruction or restoration.

    `error` is the mean squared error, `contrast` the same over the variance of the image: flat images are easy to
    rebuild. Where an image is restored, the means over the turns it is shown in, of errors over their mean on
    the training images (Fei et al. 2020); and `turn`, the error over that against the image in the three wrong
    turns, which is how sure the restoration is of what is up.
    """
    own = _errors(fitted, Images(pixels, fitted.family.recipe, fitted.device), np.arange(len(pixels)))
    if not fitted.source.settings.restore:
        return {name: values[0] for name, values in own.items()}
    usual = _errors(fitted, fitted.source, fitted.train)
    return {name: (v / usual[name].mean(axis=1, keepdims=True)).mean(axis=0) for name, v in own.items()}


def _errors(fitted: FittedFamily, source: Images, where: npt.NDArray[np.int64]) -> Scores:
    """Errors (turns, n) by name, before they are normalised."""
    restored = source.settings.restore
    turns: list[dict[str, list[Tensor]]] = []
    for turn in range(TURNS if restored else 1):
        parts: dict[str, list[Tensor]] = {}
        for x, shown, ones in source.plain_at(where, turn):
            out = fitted.model(shown if restored else x, ones).reconstruction.float()
            error = ((out - x) ** 2).mean(dim=(1, 2, 3))
            found = {"error": error, "contrast": error / _variance(x)}
            if restored:
                wrong = [((out - x.rot90(k, (2, 3))) ** 2).mean(dim=(1, 2, 3)) for k in range(1, TURNS)]
                found["turn"] = error / torch.stack(wrong).mean(dim=0).clamp(min=1e-8)
            for name, values in found.items():
                parts.setdefault(name, []).append(values)
        turns.append(parts)
    return {
        name: np.stack([torch.cat(parts[name]).cpu().double().numpy() for parts in turns])
        for name in turns[0]
    }


def _variance(x: Tensor) -> Tensor:
    return x.var(dim=(1, 2, 3), unbiased=False).clamp(min=1e-4)


def linear_scores(linear: Linear, pixels: Bytes, code: int) -> Scores:
    """How strange each image is to PCA, by its error of reconstruction."""
    x = unit(pixels)
    error = ((linear.reconstruction(pixels, code) - x) ** 2).mean(axis=(1, 2, 3), dtype=np.float64)
    variance = x.var(axis=(1, 2, 3), dtype=np.float64)
    return {"error": error, "contrast": error / np.maximum(variance, 1e-4)}


def telling(found: FittedFamily, linear: Linear, data: Cifar, normal: int) -> ClassResult:
    """AUROC of the classes other than the one that was learned, over all test images."""
    strange = data.test_classes != normal
    own, pca = scores(found, data.test), linear_scores(linear, data.test, found.code)
    one, other = ({name: ranking_of(v, strange).auroc for name, v in s.items()} for s in (own, pca))
    return ClassResult(
        found.family.name, found.family.recipe.train.seed, CLASSES[normal], found.code, one, other,
        found.parameters, found.epochs, found.seconds,
    )  # fmt: skip


def flat(row: ReconstructionResult | ClassResult) -> dict[str, object]:
    """A result as one flat object, for JSON."""
    return asdict(row)
