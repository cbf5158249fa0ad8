"""Measures how large and how different a target must be to be found, by planting targets into held-out tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.bench.contest import Contest, Progress, tile_set_of, time_call, train_model
from satae.bench.plant import Cell, Ground, PlantedSource, Target
from satae.bench.report import save, staged_output
from satae.config import Recipe
from satae.errors import ConfigError
from satae.grid import Window
from satae.inference.calibrate import SPECK
from satae.inference.regions import labels_of, of_array, regions
from satae.inference.runtime import Model
from satae.inference.scan import scan_windows
from satae.scene.scene import Scene
from satae.scene.stream import Source
from satae.scoring.rule import Far
from satae.tiles.split import split, spread_evenly
from satae.tiles.store import TileSet
from satae.training import figures

TILE = 64  # pixels, as `satae tile` cuts by default
MOST_PIXELS = 4_000_000  # held-out pixels that are planted in
SAMPLE_TILES = 200  # from which the spread of the bands is taken

Reported = list[tuple[Window, npt.NDArray[np.bool_]]]


@dataclass(frozen=True)
class Planting:
    """What is planted, how often each, and the regions among which it is looked for.

    Those have at least `min_pixels` pixels and a peak over the threshold at which `far` of them are expected per
    100 km2 of background.
    """

    sizes: tuple[int, ...] = (1, 2, 4, 8, 16)
    contrasts: tuple[float, ...] = (0.5, 1, 2, 4)
    shares: tuple[float, ...] = (0.25, 0.5, 1)
    number: int = 30
    far: float = 10.0
    min_pixels: int = SPECK

    def __post_init__(self) -> None:
        if not self.sizes or not all(1 <= size <= TILE for size in self.sizes):
            raise ConfigError(f"--sizes {_listed(self.sizes)} must be widths from 1 to {TILE} pixels")
        if not all(c > 0 for c in self.contrasts):
            raise ConfigError(f"--contrasts {_listed(self.contrasts)} must be larger than 0")
        if not all(0 < a <= 1 for a in self.shares):
            raise ConfigError(f"--shares {_listed(self.shares)} must lie between 0 and 1")
        if not self.contrasts and not self.shares:
            raise ConfigError("--contrasts and --shares are both empty, so there is nothing to plant")
        if not self.far > 0:
            raise ConfigError(f"--far {self.far:g} is out of range")

    @property
    def levels(self) -> list[tuple[str, float]]:
        """(kind, contrast) of all that is planted."""
        return [("synthetic", c) for c in self.contrasts] + [("transplanted", a) for a in self.shares]

    @property
    def cells(self) -> list[Cell]:
        """Every kind, contrast and size once."""
        return [Cell(kind, size, contrast) for kind, contrast in self.levels for size in self.sizes]


@dataclass
class Tally:
    """How many targets of each cell a method found, and at how many of their places it reports something anyhow.

    `train_s` are the CPU seconds that its training took.
    """

    model: Model
    threshold: float
    min_pixels: int
    found: dict[Cell, int]
    chance: dict[Cell, int]
    train_s: float

    def share(self, cells: Sequence[Cell], number: int) -> float:
        """The share of the targets of some cells that was found, of which each has `number`."""
        return _mean({cell: self.found[cell] for cell in cells}, number)


@dataclass(frozen=True)
class Search:
    """What came of one planting: the held-out `blocks` that were planted in, a tally a method, remarks for people."""

    recipe: Recipe
    blocks: Sequence[Window]
    tallies: Mapping[str, Tally]
    remarks: list[str]


def run(
    scene: Scene,
    contest: Contest,
    planting: Planting,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress = lambda done, total, note: None,
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Search with every method; (content, table, remarks). Publishes the folder `out`."""
    with staged_output(out, overwrite=overwrite) as (draft, work):
        done = search(scene, contest, planting, work, progress)
        table = lines(planting, done.tallies)
        said = content(done.recipe, planting, scene, done.blocks, done.tallies)
        save(draft, said, table, done.recipe)
        _draw(draft / "detection.png", planting, done.tallies)
    return {"out": str(out)} | said, table, done.remarks


def search(
    scene: Scene,
    contest: Contest,
    planting: Planting,
    work: Path,
    progress: Progress = lambda done, total, note: None,
) -> Search:
    """Train every method, plant, look for the targets; `work` is a place to work in.

    A target is found where a region that `satae score --far` would report shares a pixel with it. Remarks say
    where a threshold is extrapolated. The split, and so the held-out tiles, are those of the training, which no
    weight was fitted to. The contest's first seed is that of training and planting.
    """
    seed = contest.seeds[0]
    tiles = tile_set_of(scene, work, TILE)
    recipes = contest.recipes(scene, seed)
    blocks = held_out_blocks(tiles, recipes[contest.name], seed)
    total, tallies, remarks = 2.0 * len(recipes), dict[str, Tally](), []
    for i, (method, recipe) in enumerate(recipes.items()):

        def report(share: float, done: int = i, note: str = f"train {method}") -> None:
            progress(done + share, total, note)

        model, train_s = time_call(train_model, [tiles], recipe, contest, work, report)
        report(1.0)
        tallies[method], remark = _tally(model, scene, planting, train_s)
        remarks += [f"{method}: {remark}"] if remark else []
    rounds = _rounds(tiles, blocks, planting, max(t.model.card.halo for t in tallies.values()), seed)
    for i, (method, tally) in enumerate(tallies.items(), len(recipes)):
        _look(tiles, blocks, rounds, tally)
        progress(i + 1, total, f"look with {method}")
    return Search(recipes[contest.name], blocks, tallies, remarks)


def held_out_blocks(tiles: TileSet, recipe: Recipe, seed: int) -> list[Window]:
    """The held-out blocks of a training, up to MOST_PIXELS of them drawn at random."""
    how = recipe.train
    chosen = split([tiles], share=how.validation, block=how.block, seed=how.seed)
    where = chosen.held_out[:, 1]
    ids = tiles.index[where] // (chosen.block_tiles * tiles.record.size)
    blocks = []
    for block in np.random.default_rng([seed, 3]).permutation(np.unique(ids, axis=0)):
        whole = tiles.span(where[(ids == block).all(axis=1)])
        blocks.append(whole.clip(tiles.grid.window))
        if sum(b.height * b.width for b in blocks) >= MOST_PIXELS:
            break
    return blocks


def _rounds(
    tiles: TileSet, blocks: Sequence[Window], planting: Planting, halo: int, seed: int
) -> list[list[Target]]:
    """The same targets for every method, further apart than the largest halo: none changes another's score."""
    picked = spread_evenly(np.arange(len(tiles)), SAMPLE_TILES)
    pixels = np.concatenate([tiles.images[t][:, tiles.valid[t]] for t in picked], axis=1)
    ground = Ground(tiles, blocks, pixels.std(axis=1, dtype=np.float64))
    rng = np.random.default_rng([seed, 4])
    return list(ground.rounds(planting.cells * planting.number, halo, rng))


def _tally(model: Model, scene: Scene, planting: Planting, train_s: float) -> tuple[Tally, str]:
    """Nothing counted yet, and what is to be said of the threshold."""
    calibration = model.card.calibration
    assert calibration is not None
    rule, known = Far(planting.far), (calibration, scene.grid.pixel_area_m2, planting.min_pixels)
    threshold = calibration.level(rule.rate, *known[1:])
    found, chance = (dict.fromkeys(planting.cells, 0) for _ in range(2))
    said = rule.remark(*known) or str(rule.doubt(*known) or "")
    return Tally(model, threshold, planting.min_pixels, found, chance, train_s), said


def _look(tiles: TileSet, blocks: Sequence[Window], rounds: Sequence[Sequence[Target]], tally: Tally) -> None:
    clean = _reported(tiles, blocks, tally)
    for targets in rounds:
        planted = _reported(PlantedSource(tiles, targets), blocks, tally)
        for target in targets:
            tally.found[target.cell] += _hit(target, planted)
            tally.chance[target.cell] += _hit(target, clean)


def _reported(source: Source, blocks: Sequence[Window], tally: Tally) -> Reported:
    """Where regions are reported, block by block."""
    calibration, out = tally.model.card.calibration, []
    assert calibration is not None
    windows = [block.from_multiple(tally.model.card.stride) for block in blocks]
    for window, scores in scan_windows(source, tally.model, windows, workers=1):
        found = regions(
            *of_array(scores), tally.threshold, calibration.candidate, min_pixels=tally.min_pixels
        )
        out.append((window, labels_of(found, Window(0, 0, *scores.shape)) > 0))
    return out


def _hit(target: Target, reported: Reported) -> bool:
    for window, mask in reported:
        part = target.window.within(window)
        if part is not None and (mask[part.slices(window)] & target.shape[part.slices(target.window)]).any():
            return True
    return False


def content(
    recipe: Recipe,
    planting: Planting,
    scene: Scene,
    blocks: Sequence[Window],
    tallies: Mapping[str, Tally],
) -> dict[str, Any]:
    """All of it, ready for JSON; shares of targets found, and of their places where something is reported anyhow."""
    n = planting.number
    return {
        "kind": "inject",
        "recipe": recipe.model_dump(),
        "seeds": [recipe.train.seed],
        "far": planting.far,
        "min_pixels": planting.min_pixels,
        "methods": list(tallies),
        "scenes": [
            {
                "scene": scene.name,
                "path": str(scene.path),
                "pixels": sum(b.height * b.width for b in blocks),
                "cells": [
                    {
                        "kind": cell.kind, "size": cell.size, "contrast": cell.contrast, "n": n,
                        "found": {m: t.found[cell] / n for m, t in tallies.items()},
                        "chance": {m: t.chance[cell] / n for m, t in tallies.items()},
                    }
                    for cell in planting.cells
                ],
            }
        ],
        "mean": {m: {"found": _mean(t.found, n), "chance": _mean(t.chance, n)} for m, t in tallies.items()},
    }  # fmt: skip


def _mean(counts: Mapping[Cell, int], number: int) -> float:
    return sum(counts.values()) / number / len(counts)


def lines(planting: Planting, tallies: Mapping[str, Tally]) -> list[str]:
    """A block a method: the share found by kind and contrast (down) and size (across)."""
    wide, n, out = 20, planting.number, list[str]()
    for method, tally in tallies.items():
        out.append(f"{method:<{wide}}" + "".join(f"{f'{size} px':>8}" for size in planting.sizes))
        for kind, contrast in planting.levels:
            shares = [tally.found[Cell(kind, size, contrast)] / n for size in planting.sizes]
            out.append(f"{f'  {kind} {contrast:g}':<{wide}}" + "".join(f"{v:>8.2f}" for v in shares))
    out.append("")
    out += [
        f"{method:<{wide}} found {_mean(t.found, n):.3f}, reported without them {_mean(t.chance, n):.3f}"
        for method, t in tallies.items()
    ]
    return [
        *out,
        f"share of {n} targets found, at {planting.far:g} false alarms per 100 km2, in regions of at least "
        f"{planting.min_pixels} pixels",
    ]


def _draw(path: Path, planting: Planting, tallies: Mapping[str, Tally]) -> None:
    panels = {
        f"{kind} {contrast:g}": {
            method: np.array([t.found[Cell(kind, s, contrast)] / planting.number for s in planting.sizes])
            for method, t in tallies.items()
        }
        for kind, contrast in planting.levels
    }
    figures.detection(path, planting.sizes, panels)


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{v:g}" for v in values)
