"""Compares detectors on scenes with known targets; each goes the way of the commands, from tiles to the map.

The methods are the recipe that was asked for and the classics, which share its map steps, its split and what it
says of the targets. Truth is read to measure with, never to train on. Scenes and maps are held in memory.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import numpy as np
import numpy.typing as npt

from satae import config
from satae.bench import lanes, matfile
from satae.config import Recipe
from satae.errors import ConfigError, SceneError
from satae.grid import Grid
from satae.inference import runtime
from satae.inference.calibrate import Calibration
from satae.inference.scan import scan
from satae.scene import readers
from satae.scene.describe import describe
from satae.scene.scene import Limits, Scene
from satae.tiles import store
from satae.tiles.cut import Cut, cut
from satae.tiles.store import TileSet
from satae.training import run as training
from satae.training.presets import complete_recipe

CLASSICS = ("rx", "rx_shrunk", "annulus", "memory", "pca")
SHIPS = "_shipmask.tif"
TILES_A_SIDE = 5  # at the least, where a scene is small
LARGEST_TILE, SMALLEST_TILE = 64, 16  # pixels
TRAINING = 0.9  # of the way to the maps of a model
SAME_PLACE = 1e-2  # pixels by which two grids may lie apart

Made = TypeVar("Made")
Given = TypeVarTuple("Given")
Bools = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]
Progress = lanes.Progress  # (maps done, of how many, what is being done)


@dataclass(frozen=True)
class Case:
    """A scene with known targets: `truth` (row, col) True = target, `counted` (row, col) True = measured.

    `source` is the file that the user named.
    """

    scene: Scene
    truth: Bools
    counted: Bools
    source: Path

    @property
    def name(self) -> str:
        """The name of the scene."""
        return self.scene.name


@dataclass(frozen=True)
class Contest:
    """What is compared, and how. `library`: one model a method, trained on all scenes, instead of one a scene."""

    recipe: Recipe
    name: str = "default"
    seeds: tuple[int, ...] = (0,)
    library: bool = False
    device: str = "auto"
    workers: int = 1
    classics: tuple[str, ...] = CLASSICS

    @property
    def methods(self) -> tuple[str, ...]:
        """The recipe's name, then the classics."""
        return (self.name, *(c for c in self.classics if c != self.name))

    def recipes(self, scene: Scene, seed: int) -> dict[str, Recipe]:
        """The recipe of each method for scenes of this kind."""
        train = self.recipe.train.model_copy(update={"seed": seed})
        own = self.recipe.model_copy(update={"train": train})
        full = complete_recipe(own, len(scene.names), scene.grid.gsd_m)
        shared = {
            "map": full.map.model_dump(),
            "target": full.target.model_dump(),
            "train": full.train.model_dump(include={"seed", "validation", "block"}),
        }
        classics = {name: config.recipe_of({"model": {"name": name}} | shared) for name in self.methods[1:]}
        return {self.name: full} | classics


@dataclass(frozen=True)
class Cost:
    """CPU seconds of training a model and of scoring so many valid `pixels` with it; 0 where not measured."""

    train_s: float = 0.0
    score_s: float = 0.0
    pixels: int = 0


UNTIMED = Cost()


@dataclass(frozen=True)
class Result:
    """The anomaly map (row, col) of a method, NaN where the scene is not valid, and what it took.

    `calibration` is that of its model, None where there is no model.
    """

    case: Case
    method: str
    seed: int
    scores: Map
    cost: Cost = UNTIMED
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Trial:
    """A method with its seed, to be trained on the tile sets of cases, and tried on each of these.

    `folder` is a place to work in, of its own.
    """

    cases: Sequence[Case]
    sets: Sequence[Path]
    method: str
    seed: int
    recipe: Recipe
    contest: Contest
    folder: Path

    def __str__(self) -> str:
        return f"{self.cases[0].name if len(self.cases) == 1 else 'library'}, {self.method}"

    @property
    def place(self) -> str:
        """Which of all it is, with its seed."""
        return f"{self}, seed {self.seed}"


def results(
    cases: Sequence[Case], contest: Contest, folder: Path, progress: Progress = lambda done, total, note: None
) -> Iterator[Result]:
    """Train and score every method on every case, seed by seed; `folder` is a place to work in.

    Raises SataeError as the commands do.
    """
    done, total = 0.0, float(len(cases) * len(contest.seeds) * len(contest.methods))
    for trial in trials(cases, contest, folder):

        def report(share: float, before: float = done, trial: Trial = trial) -> None:
            progress(before + TRAINING * len(trial.cases) * share, total, str(trial))

        for result in _tried(trial, contest.device, report):
            done += 1
            progress(done, total, str(trial))
            yield result


def trials(cases: Sequence[Case], contest: Contest, folder: Path) -> Iterator[Trial]:
    """All of a contest, scene by scene or all scenes at once, and seed by seed; the tiles of a scene are cut once."""
    groups = [list(cases)] if contest.library else [[case] for case in cases]
    if contest.library:
        _check_alike(cases)
    for number, group in enumerate(groups):
        size = min(tile_size(case.scene.grid) for case in group)
        sets = [tile_set_of(case.scene, folder, size).path for case in group]
        for seed in contest.seeds:
            for method, recipe in contest.recipes(group[0].scene, seed).items():
                own = folder / f"{number}-{seed}-{method}"
                yield Trial(group, sets, method, seed, recipe, contest, own)


def try_out(trial: Trial) -> list[Result]:
    """The results of a trial in a process that was started for it, on the device that this is shown."""
    return list(_tried(trial, lanes.device()))


def _tried(
    trial: Trial, device: str, report: Callable[[float], None] = lambda share: None
) -> Iterator[Result]:
    contest = replace(trial.contest, device=device)
    trial.folder.mkdir(exist_ok=True)
    sets = [store.load(path) for path in trial.sets]
    model, train_s = time_call(train_model, sets, trial.recipe, contest, trial.folder, report)
    for case in trial.cases:
        scores, score_s = time_call(anomaly_map, case.scene, model, contest.workers)
        cost = Cost(train_s, score_s, int(np.isfinite(scores).sum()))
        yield Result(case, trial.method, trial.seed, scores, cost, model.card.calibration)
    # of hundreds of trials the models would fill the disk
    shutil.rmtree(trial.folder)


def time_call(make: Callable[[*Given], Made], *given: *Given) -> tuple[Made, float]:
    """What a call returns, and the CPU seconds of this process that it took, all threads together."""
    started = time.process_time()
    made = make(*given)
    return made, time.process_time() - started


def train_model(
    sets: Sequence[TileSet], recipe: Recipe, contest: Contest, folder: Path, report: Callable[[float], None]
) -> runtime.Model:
    """A model of a recipe, trained, exported and opened as the commands do; `report` is told the share done."""
    path = folder / "model.onnx"
    training.train(
        sets, recipe, path, folder / "run", device=contest.device, overwrite=True,
        report=lambda step, steps, epoch: report(step / max(1, steps)),
    )  # fmt: skip
    return runtime.load(path, contest.device, threads=contest.workers)


def tile_set_of(scene: Scene, folder: Path, size: int) -> TileSet:
    """The tile set of a scene, with every valid pixel in it."""
    (folder / "tiles").mkdir(exist_ok=True)
    return cut(scene, folder / "tiles" / scene.name, Cut(size=size, min_valid=0))


def anomaly_map(scene: Scene, model: runtime.Model, workers: int = 1) -> Map:
    """The whole map (row, col), NaN where not valid."""
    out = np.full((scene.grid.height, scene.grid.width), np.nan, np.float32)
    for window, scores in scan(scene, model, workers):
        out[window.slices(scene.grid.window)] = scores
    return out


def tile_size(grid: Grid) -> int:
    """Tiles so small that a scene has TILES_A_SIDE of them on its short side, within limits; a multiple of 4."""
    fitting = min(grid.height, grid.width) // TILES_A_SIDE // 4 * 4
    return max(SMALLEST_TILE, min(LARGEST_TILE, fitting))


def _check_alike(cases: Sequence[Case]) -> None:
    first = cases[0].scene
    for other in (case.scene for case in cases[1:]):
        if (len(other.names), other.dtype) != (len(first.names), first.dtype):
            raise ConfigError(
                f"{other.name} has {len(other.names)} bands of {other.dtype} and {first.name} {len(first.names)} of "
                f"{first.dtype}, so no one model fits both; leave --library out"
            )


def mat_cases(folder: Path, work: Path) -> list[Case]:
    """The `.mat` scenes of a folder, by name, written as GeoTIFFs to `work`."""
    paths = _listed(folder, "*.mat", "scene (.mat with data and map)")
    cases = []
    for path in paths:
        cube, truth = matfile.read(path)
        _check_truth(path, truth, np.ones_like(truth))
        file = work / f"{path.stem}.tif"
        matfile.to_geotiff(cube, file)
        with _no_warning_of_place():
            cases.append(Case(describe([file]), truth, np.ones_like(truth), path))
    return cases


def ship_cases(
    folder: Path, bands: Sequence[int | str] | None, limits: str | None, zone: str | None
) -> list[Case]:
    """The scenes NAME.tif of a folder that have a NAME_shipmask.tif; for `limits`, `zone` see `raster_case`."""
    masks = _listed(folder, f"*{SHIPS}", f"NAME{SHIPS} beside a NAME.tif")
    scenes = [path.with_name(f"{path.name.removesuffix(SHIPS)}.tif") for path in masks]
    return [raster_case(s, t, bands, limits, zone) for s, t in zip(scenes, masks, strict=True)]


def raster_case(
    path: Path,
    truth: Path,
    bands: Sequence[int | str] | None = None,
    limits: str | None = None,
    zone: str | None = None,
) -> Case:
    """A scene and its truth raster, in which a pixel over 0 is a target and declared nodata other than 0 unknown.

    NAME + `limits` is a raster beside the scene outside of which pixels do not count, neither in training nor in
    scoring; NAME + `zone` one outside of which they are scored but not measured.
    """
    mask = None if limits is None else path.with_name(f"{path.stem}{limits}")
    scene = describe([path], bands=bands, limits=Limits(mask=mask))
    targets, counted = _on_grid(truth, scene)
    for suffix in (limits, zone):
        if suffix is not None:
            inside, known = _on_grid(path.with_name(f"{path.stem}{suffix}"), scene)
            counted &= inside & known
    _check_truth(truth, targets, counted)
    return Case(scene, targets, counted, path)


def check_names(cases: Sequence[Case]) -> None:
    """ConfigError where two scenes have one name: outputs are named after them."""
    names = [case.name for case in cases]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two scenes are named {twice[0]}; rename one of them")


def _listed(folder: Path, pattern: str, what: str) -> list[Path]:
    if not folder.is_dir():
        raise SceneError(f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist")
    if found := sorted(folder.glob(pattern)):
        return found
    raise SceneError(f"{folder} holds no {what}")


def _on_grid(path: Path, scene: Scene) -> tuple[Bools, Bools]:
    """(pixels over 0, pixels known) of a one-band raster on the grid of a scene; SceneError where it is not."""
    source = readers.source(path)
    grid, window = source.grid, scene.grid.window
    if (grid.height, grid.width) != (window.height, window.width) or not _same_place(grid, scene.grid):
        raise SceneError(
            f"{path} ({grid.height} x {grid.width} pixels) is not on the grid of {scene.path} "
            f"({window.height} x {window.width}); bring it there with `gdalwarp -te ... -ts ...`"
        )
    with readers.open_pixels(source) as pixels:
        values, fill = pixels.read([1], window)[0], source.bands[0].nodata
    known = np.isfinite(values)
    if fill is not None and fill != 0:
        known &= values != fill
    return (values > 0) & known, known


def _same_place(one: Grid, other: Grid) -> bool:
    """Whether the corners of two grids of one shape lie within SAME_PLACE pixels of each other.

    A raster without a CRS is taken to lie where the scene does.
    """
    if one.crs is None or other.crs is None:
        return True
    apart = np.abs(one.footprint() - other.footprint()).max()
    return bool(apart <= SAME_PLACE * abs(other.transform.determinant) ** 0.5)


def _check_truth(path: Path, truth: Bools, counted: Bools) -> None:
    inside = truth[counted]
    if not inside.any():
        raise SceneError(f"{path} has no target (a pixel over 0) among those that count")
    if inside.all():
        raise SceneError(f"{path} has nothing but targets among the pixels that count")


@contextmanager
def _no_warning_of_place() -> Iterator[None]:
    """A .mat scene lies nowhere, as its user knows."""
    log = logging.getLogger("satae.scene.describe")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
