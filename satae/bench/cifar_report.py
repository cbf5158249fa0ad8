"""Runs `satae bench cifar10` and writes what it found: a table for people, JSON for scripts, a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.bench import cifar
from satae.bench.cifar import CLASSES, Cifar
from satae.bench.families import (
    ClassResult,
    Family,
    FittedFamily,
    Linear,
    ReconstructionResult,
    fit,
    flat,
    rebuild,
    rebuilding,
    telling,
    unit,
    with_seed,
)
from satae.bench.report import save, staged_output
from satae.errors import ConfigError
from satae.training import figures
from satae.training.loop import device_of

TASKS = ("reconstruction", "one-class")
EXACT = 1e-9  # mean squared error that is rounding
FEWEST = 20  # images to learn from, of which some are held out

Progress = Callable[[float, float, str], None]  # (trainings done, of how many, what is being done)
Picture = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Contest:
    """Which families take part in which task. `limit`: images to learn from, of each class with one-class, 0 for all.

    `classes` are numbers in CLASSES: with one-class each is the normal one in turn, else only they are learned
    and measured.
    """

    task: str
    families: Sequence[Family]
    classes: tuple[int, ...] = tuple(range(len(CLASSES)))
    seeds: tuple[int, ...] = (0,)
    limit: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"--task {self.task}: there are {', '.join(TASKS)}")
        if self.limit and self.limit < FEWEST:
            raise ConfigError(f"--limit {self.limit} is less than {FEWEST} images to learn from")
        for family in self.families if self.task == TASKS[0] else ():
            for setting in ("restore", "contrast"):
                if getattr(family.recipe.images, setting):
                    raise ConfigError(
                        f"{family.name} has images.{setting} on, so its error is none of the image itself; it can "
                        "take part in --task one-class"
                    )

    @property
    def trainings(self) -> int:
        """How many models are trained."""
        rounds = len(self.classes) if self.task == TASKS[1] else 1
        return rounds * len(self.families) * len(self.seeds)


def class_numbers(names: str) -> tuple[int, ...]:
    """Numbers of classes, given by name or number between commas; ConfigError lists what there is."""
    known = {name: i for i, name in enumerate(CLASSES)} | {str(i): i for i in range(len(CLASSES))}
    parts = [part.strip() for part in names.split(",")]
    for part in parts:
        if part not in known:
            raise ConfigError(f"--classes {part}: there is no such class; there are {', '.join(CLASSES)}")
    return tuple(sorted({known[part] for part in parts}))


def run(
    data: Path,
    contest: Contest,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress = lambda done, total, note: None,
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Hold a contest on the images under `data`; (content, table, remarks).

    Publishes the folder `out`: bench.json, table.txt, config.yaml of the first family, reconstructions.png.
    Raises DataError where the images are not to be had, OutputError where `out` is there.
    """
    device_of(contest.device)
    images = cifar.read(data)
    with staged_output(out, overwrite=overwrite) as (draft, _):
        hold = _reconstruction if contest.task == TASKS[0] else _one_class
        rows, pictures = hold(images, contest, progress)
        table = lines(rows)
        said = content(contest, rows)
        save(draft, said, table, contest.families[0].recipe)
        figures.gallery(draft / "reconstructions.png", pictures)
    return {"out": str(out)} | said, table, _remarks(contest)


def _reconstruction(
    data: Cifar, contest: Contest, progress: Progress
) -> tuple[Sequence[ReconstructionResult], dict[str, Picture]]:
    train = _limited(data.train[np.isin(data.train_classes, contest.classes)], contest.limit)
    chosen = np.isin(data.test_classes, contest.classes)
    test, classes = data.test[chosen], data.test_classes[chosen]
    shown = _firsts(classes)
    linear, rows, pictures = Linear(train), [], {"original": unit(test[shown])}
    for found in _trained(train, contest, progress, 0, "all classes"):
        row, own = rebuilding(found, linear, test)
        rows.append(row)
        if row.seed == contest.seeds[0]:
            pictures[f"PCA {row.code}"] = linear.reconstruction(test[shown], row.code)
            pictures[found.family.name] = own[shown]
    return rows, pictures


def _one_class(
    data: Cifar, contest: Contest, progress: Progress
) -> tuple[Sequence[ClassResult], dict[str, Picture]]:
    rows, shown = [], _firsts(data.test_classes)
    pictures = {"original": unit(data.test[shown])}
    for place, normal in enumerate(contest.classes):
        train = _limited(data.train[data.train_classes == normal], contest.limit)
        linear = Linear(train)
        before = place * len(contest.families) * len(contest.seeds)
        for found in _trained(train, contest, progress, before, CLASSES[normal]):
            rows.append(telling(found, linear, data, normal))
            if not place and found.family.recipe.train.seed == contest.seeds[0]:
                pictures[f"{found.family.name}, {CLASSES[normal]}"] = _pictured(found, data.test[shown])
    return rows, pictures


def _trained(train: Bytes, contest: Contest, progress: Progress, before: int, note: str) -> Any:
    """Each family with each seed, fitted, in turn."""
    if len(train) < FEWEST:
        raise ConfigError(f"{note}: {len(train)} images to learn from are less than {FEWEST}")
    done = before
    for seed in contest.seeds:
        for family in contest.families:

            def report(share: float, done: int = done, text: str = f"{note}, {family.name}") -> None:
                progress(done + share, contest.trainings, text)

            yield fit(train, with_seed(family, seed), device_of(contest.device), report)
            done += 1
            report(0.0, done)


def _limited(pixels: Bytes, limit: int) -> Bytes:
    """The first images, which are in no order."""
    return pixels[:limit] if limit else pixels


def _firsts(classes: Bytes) -> npt.NDArray[np.int64]:
    """The first test image of each class."""
    return np.sort(np.unique(classes, return_index=True)[1])


def _pictured(found: FittedFamily, pixels: Bytes) -> Picture:
    """Reconstructions as they can be shown; those of a common contrast about the middle of the range."""
    own = rebuild(found, pixels)
    return own if not found.family.recipe.images.contrast else 0.5 + 0.25 * own


def lines(rows: Sequence[ReconstructionResult | ClassResult]) -> list[str]:
    """The table of a task, one line a family and seed."""
    return _rebuilt_lines(rows) if isinstance(rows[0], ReconstructionResult) else _told_lines(rows)  # type: ignore[arg-type]


def _rebuilt_lines(rows: Sequence[ReconstructionResult]) -> list[str]:
    first = max(8, *(len(r.family) + 2 for r in rows))
    head = (
        "seed",
        "code",
        "MSE",
        "PCA",
        "ratio",
        "PSNR",
        "PCA",
        "SSIM",
        "PCA",
        "weights",
        "epochs",
        "s/epoch",
    )
    out = [f"{'family':<{first}}" + "".join(f"{title:>9}" for title in head)]
    for r in rows:
        cells = (
            f"{r.seed}", f"{r.code}", f"{r.own.mse:.5f}", f"{r.pca.mse:.5f}", _ratio(r),
            f"{r.own.psnr:.2f}", f"{r.pca.psnr:.2f}", f"{r.own.ssim:.4f}", f"{r.pca.ssim:.4f}",
            f"{r.parameters}", f"{r.epochs}", f"{r.seconds:.1f}",
        )  # fmt: skip
        out.append(f"{r.family:<{first}}" + "".join(f"{cell:>9}" for cell in cells))
    return [
        *out,
        "means over test images in [0, 1], not clipped; PSNR in dB; SSIM in Gaussian windows of 11 x 11 pixels; "
        "ratio: MSE over that of PCA with the same code size, where that has any",
    ]


def _ratio(row: ReconstructionResult) -> str:
    """The error over that of PCA, which has none where its code is as large as an image."""
    return f"{row.own.mse / row.pca.mse:.3f}" if row.pca.mse > EXACT else "none"


def _told_lines(rows: Sequence[ClassResult]) -> list[str]:
    """AUROC by class and score, and the mean, of each family over its seeds, and of PCA beside it."""
    names = list(dict.fromkeys(r.family for r in rows))
    columns: list[tuple[str, dict[str, float], str]] = []
    classes = list(dict.fromkeys(r.normal for r in rows))
    for name in names:
        own = [r for r in rows if r.family == name]
        spent = f"{np.median([r.seconds for r in own]):.1f}"
        columns += [(f"{name}, {score}", _means(own, score), spent) for score in own[0].own]
        columns += [(f"PCA {own[0].code}, {score}", _means(own, score, pca=True), "") for score in own[0].pca]
    columns = list({title: (title, values, spent) for title, values, spent in columns}.values())
    first = max(len(title) for title, _, _ in columns) + 2
    out = [f"{'AUROC':<{first}}" + "".join(f"{c[:9]:>10}" for c in [*classes, "mean", "s/epoch"])]
    for title, values, spent in columns:
        figures_ = [*(values[c] for c in classes), float(np.mean(list(values.values())))]
        out.append(f"{title:<{first}}" + "".join(f"{v:>10.4f}" for v in figures_) + f"{spent:>10}")
    return out


def _means(rows: Sequence[ClassResult], score: str, *, pca: bool = False) -> dict[str, float]:
    """AUROC by class, the mean over seeds."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row.normal, []).append((row.pca if pca else row.own)[score])
    return {name: float(np.mean(values)) for name, values in found.items()}


def content(contest: Contest, rows: Sequence[ReconstructionResult | ClassResult]) -> dict[str, Any]:
    """All of it, ready for JSON; with one-class the means over classes and seeds too."""
    said = {
        "kind": "cifar10",
        "task": contest.task,
        "classes": [CLASSES[i] for i in contest.classes],
        "seeds": list(contest.seeds),
        "limit": contest.limit,
        "families": {f.name: f.recipe.model_dump() for f in contest.families},
        "rows": [flat(row) for row in rows],
    }
    told = [row for row in rows if isinstance(row, ClassResult)]
    if not told:
        return said
    means = {}
    for family in contest.families:
        own = [row for row in told if row.family == family.name]
        means[family.name] = {score: float(np.mean([r.own[score] for r in own])) for score in own[0].own}
    return said | {"mean": means}


def _remarks(contest: Contest) -> list[str]:
    if not contest.limit:
        return []
    each = " of each class" if contest.task == TASKS[1] else ""
    return [
        f"learned from {contest.limit} images{each} alone: figures with --limit compare with nothing in print"
    ]
