"""Runs `satae bench cifar10` and writes what it found: a table for people, JSON for scripts, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from satae.bench import cifar
from satae.bench.cifar import CLASSES
from satae.bench.families import ClassResult, ReconstructionResult, flat, unit
from satae.bench.lanes import Progress, lanes_of, spread
from satae.bench.report import save, staged_output
from satae.bench.trainings import Contest, Material, in_turn, trainings
from satae.errors import ConfigError
from satae.training import figures
from satae.training.loop import device_of

EXACT = 1e-9  # mean squared error that is rounding


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
    devices: Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress = lambda done, total, note: None,
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Hold a contest on the images under `data`; (content, table, remarks).

    With `devices` each training has a process and a device of its own, so many at a time. Publishes the folder `out`:
    bench.json, table.txt, config.yaml of the first family, reconstructions.png.
    Raises DataError where the images are not to be had, OutputError where `out` is there.
    """
    device_of(contest.device)
    lanes_of(devices)
    material, todo, failed = Material(cifar.read(data)), trainings(data, contest), list[str]()
    with staged_output(out, overwrite=overwrite) as (draft, _):
        if devices:
            found, failed = spread("satae.bench.trainings:work", todo, devices, progress)
        else:
            found = list(in_turn(todo, material, contest.device, progress))
        pictures = {"original": unit(material.examples(contest))}
        for one in found:
            pictures |= one.pictures
        rows = [one.row for one in found]
        table = lines(rows, [CLASSES[i] for i in contest.classes])
        said = content(contest, rows) | ({"failed": failed} if failed else {})
        save(draft, said, table, contest.families[0].recipe)
        figures.gallery(draft / "reconstructions.png", pictures)
    return {"out": str(out)} | said, table, [*_remarks(contest), *failed]


def lines(rows: Sequence[ReconstructionResult | ClassResult], classes: Sequence[str] = ()) -> list[str]:
    """The table of a task, one line a family and seed; or a family and score, with a column for each of `classes`."""
    told = [row for row in rows if isinstance(row, ClassResult)]
    return _told_lines(told, classes) if told else _rebuilt_lines(rows)  # type: ignore[arg-type]


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


def _told_lines(rows: Sequence[ClassResult], classes: Sequence[str]) -> list[str]:
    """AUROC by class and score, and the mean, of each family over its seeds, and of PCA beside it."""
    names = list(dict.fromkeys(r.family for r in rows))
    columns: list[tuple[str, dict[str, float], str]] = []
    seeds = len({r.seed for r in rows})
    for name in names:
        own = [r for r in rows if r.family == name]
        spent = f"{np.median([r.seconds for r in own]):.1f}"
        columns += [(f"{name}, {score}", _means(own, score, seeds), spent) for score in own[0].own]
        columns += [
            (f"PCA {own[0].code}, {score}", _means(own, score, seeds, pca=True), "") for score in own[0].pca
        ]
    columns = list({title: (title, values, spent) for title, values, spent in columns}.values())
    first = max(len(title) for title, _, _ in columns) + 2
    out = [f"{'AUROC':<{first}}" + "".join(f"{c[:9]:>10}" for c in [*classes, "mean", "s/epoch"])]
    for title, values, spent in columns:
        # where a training failed there is no figure, and no mean that would compare with another
        known = [values.get(c) for c in classes]
        cells = [*known, None if None in known else float(np.mean([v for v in known if v is not None]))]
        shown = "".join(f"{'none' if v is None else f'{v:.4f}':>10}" for v in cells)
        out.append(f"{title:<{first}}{shown}{spent:>10}")
    return out


def _means(rows: Sequence[ClassResult], score: str, seeds: int, *, pca: bool = False) -> dict[str, float]:
    """AUROC by class, the mean over seeds, of those that have all of them."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row.normal, []).append((row.pca if pca else row.own)[score])
    return {name: float(np.mean(values)) for name, values in found.items() if len(values) == seeds}


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
    means, whole = {}, len(contest.classes) * len(contest.seeds)
    for family in contest.families:
        own = [row for row in told if row.family == family.name]
        # a mean over fewer classes would compare with no other
        if len(own) == whole:
            means[family.name] = {score: float(np.mean([r.own[score] for r in own])) for score in own[0].own}
    return said | {"mean": means}


def _remarks(contest: Contest) -> list[str]:
    if not contest.limit:
        return []
    each = " of each class" if contest.tells else ""
    return [
        f"learned from {contest.limit} images{each} alone: figures with --limit compare with nothing in print"
    ]
