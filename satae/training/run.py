"""The tool inside `satae train`: tile sets in, a calibrated and checked model file out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import yaml

import satae
from satae import config, models
from satae import heads as scores
from satae.config import Recipe
from satae.detector import graph
from satae.detector.fusion import Mapping
from satae.errors import ConfigError, DivergedError, OutputError, TilesError
from satae.inference import runtime
from satae.inference.card import Band, Card, Normalization, Parity, TrainingScene, now
from satae.nn.checkpoint import CHECKPOINT
from satae.objectives import Objective
from satae.publish import check_target, locked, publish, staging, sweep, write_bytes
from satae.tiles.store import TileSet
from satae.training import diagnosis, export, figures, presets
from satae.training.calibration import calibrated
from satae.training.evidence import Evidence, Tiles, gather
from satae.training.feed import Feed
from satae.training.lattice import Lattice, lattice_of
from satae.training.learned import learned
from satae.training.loop import Plan, Report, Trained, device_named, fit, plan

CONFIG = "config.yaml"
PARITY_TILES = 8
TRIED = 16  # pixels a side of what a recipe is tried on
SHOWN_TILES = 500  # held-out tiles among which the worst is looked for
LOOKED = 60_000  # pixels of training and of held-out tiles on which a run is diagnosed
DIAGNOSIS = "diagnosis.md"
FIGURES = ("curves.png", "reconstructions.png", DIAGNOSIS, "evidence.json")


@dataclass(frozen=True)
class Result:
    """What `satae train` made."""

    model: Path
    run: Path
    card: Card
    epochs: int
    findings: list[str]


def train(
    sets: Sequence[TileSet],
    recipe: Recipe,
    out: Path,
    run: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    report: Report = lambda done, total, epoch: None,
) -> Result:
    """Fit, export, compare with torch, calibrate on the held-out blocks, publish to `out`.

    `run` keeps config.yaml, history.jsonl, checkpoint.pt, curves.png, reconstructions.png, diagnosis.md
    and evidence.json, the numbers behind it.
    Raises OutputError where `out` or `run` exist and neither `resume` nor `overwrite` is on, and what `plan`
    and `fit` raise. What is wrong with recipe or tiles is found before anything is replaced.
    """
    place = device_named(device)
    check_target(out, overwrite=overwrite or resume)
    with locked(out):
        recipe = _recipe(run, _settled(recipe, sets), resume=resume, overwrite=overwrite)
        planned = plan(sets, recipe)
        heads = [scores.head(settings, planned.normalizer) for settings in recipe.score]
        mapping = Mapping(recipe.map, len(heads))
        _tried(sets, planned, heads, mapping)
        with _held(run):
            if not resume:
                _begin(run, recipe)
            try:
                trained = fit(sets, planned, run, device=place, report=report)
            except DivergedError as error:
                said = diagnosis.stopped(str(error), recipe.train.learning_rate)
                write_bytes(run / DIAGNOSIS, said.encode())
                raise
            detector = graph.Detector(trained.normalizer, trained.model, heads, mapping)
            places = lattice_of(detector, len(sets[0].record.bands))
            detector.settle(_feed(sets, recipe, trained, context=places.context).sample)
            proto, card = _exported(sets, recipe, trained, detector, places, place.type)
            found = calibrated(
                sets, trained.split, runtime.from_bytes(export.with_card(proto, card), out.name, "cpu")
            )
            card = card.model_copy(update={"calibration": found})
            faults = _documented(sets, run, trained, detector, recipe)
        with staging(out) as folder:
            draft = folder / out.name
            draft.write_bytes(export.with_card(proto, card))
            runtime.load(draft, "cpu")
            publish(draft, out)
    return Result(out, run, card, trained.state.epoch, faults)


def _recipe(run: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> Recipe:
    """The recipe, with `resume` the one that the run was started with; refuses a run folder in use.

    A folder without a checkpoint has nothing to lose: that run was stopped in its first epoch.
    """
    if resume:
        if not (run / CONFIG).is_file():
            raise TilesError(f"{run} holds no interrupted run; start one without --resume")
        return config.load(run / CONFIG)
    if overwrite or not run.exists():
        return recipe
    if (run / CHECKPOINT).exists():
        raise OutputError(
            f"{run} holds an earlier run; pass --resume to go on with it, --overwrite to start again, or "
            "another --out"
        )
    if not run.is_dir() or {p.name for p in run.iterdir()} - {CONFIG, DIAGNOSIS}:
        raise OutputError(f"{run} is in the way; pass --overwrite to use it, or another --out")
    return recipe


@torch.no_grad()
def _tried(
    sets: Sequence[TileSet], planned: Plan, heads: Sequence[torch.nn.Module], mapping: Mapping
) -> None:
    """ConfigError where the loss or a head needs what the architecture does not give, or it does not fit tiles."""
    recipe, channels = planned.recipe, len(planned.normalizer.affine)
    model = models.build(recipe.model.name, channels, recipe.model.params)
    side = recipe.augment.crop or sets[0].record.size
    if side % (frame := int(getattr(model, "frame", 1))):
        raise ConfigError(
            f"{recipe.model.name} sees frames of {frame} pixels and what it learns from has {side} a side; set "
            "model.params.size or augment.crop so that one divides the other, or cut with another --size"
        )
    detector = graph.Detector(planned.normalizer, model, heads, mapping).eval()
    x, valid = _some_tiles(sets, planned)
    loss_of = Objective(recipe.objective, int(model.code_size))  # type: ignore[arg-type]
    with torch.set_grad_enabled(loss_of.differentiates):
        entered = x.clone().requires_grad_(loss_of.differentiates)
        loss_of(model(entered, valid), x, valid, 1.0, entered)
    loss_of(model(x, valid), x, valid)
    view = detector.view(x, valid)
    for head in heads:
        head(view)


def _some_tiles(sets: Sequence[TileSet], planned: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    """x and `valid` of the corners of two training tiles."""
    image, valid = _tiles(sets, planned.split.train[:2])
    dn = torch.from_numpy(image[..., :TRIED, :TRIED].astype(np.float32))
    good = torch.from_numpy(valid[:, None, :TRIED, :TRIED].astype(np.float32))
    return graph.Input(planned.normalizer)(dn, good), good


@contextmanager
def _held(run: Path) -> Iterator[None]:
    """The run folder is this process's alone, and what a killed one was writing in it is gone."""
    try:
        run.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run} cannot be made: {error.strerror}") from error
    with locked(run):
        for name in (CHECKPOINT, CONFIG):  # what staging folders are named after here
            sweep(run / name)
        yield


def _begin(run: Path, recipe: Recipe) -> None:
    """Make the run folder, or clear it of an earlier run."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        for name in (CHECKPOINT, "history.jsonl", *FIGURES):
            (run / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{run} cannot be written: {error.strerror}") from error
    write_bytes(run / CONFIG, yaml.safe_dump(recipe.model_dump(), sort_keys=False).encode())


def _settled(recipe: Recipe, sets: Sequence[TileSet]) -> Recipe:
    """The recipe with what follows from the bands and the GSD of the scenes."""
    gsd = [g for s in sets if (g := s.grid.gsd_m) is not None]
    return presets.settled(recipe, len(sets[0].record.bands), min(gsd) if gsd else None)


def _feed(sets: Sequence[TileSet], recipe: Recipe, trained: Trained, context: int = 0) -> Feed:
    inputs = graph.Input(trained.normalizer)
    return Feed(sets, inputs, recipe, trained.split, torch.device("cpu"), context)


def _exported(
    sets: Sequence[TileSet],
    recipe: Recipe,
    trained: Trained,
    detector: graph.Detector,
    places: Lattice,
    device: str,
) -> tuple[onnx.ModelProto, Card]:
    record = sets[0].record
    bands = len(record.bands)
    proto = export.to_onnx(detector, bands, record.size)
    image, valid = _tiles(sets, trained.split.held_out[:PARITY_TILES])
    agreed = export.parity(detector, proto.SerializeToString(), image, valid)
    return proto, _card(sets, recipe, trained, places, agreed, device)


def _tiles(
    sets: Sequence[TileSet], where: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    return np.stack([sets[s].images[t] for s, t in where]), np.stack([sets[s].valid[t] for s, t in where])


def _card(
    sets: Sequence[TileSet],
    recipe: Recipe,
    trained: Trained,
    places: Lattice,
    agreed: Parity,
    device: str,
) -> Card:
    record, n, model = sets[0].record, trained.normalizer, trained.model
    best = trained.state.history[trained.state.best_epoch - 1]
    gsd = [s.grid.gsd_m for s in sets]
    names = zip(record.bands, record.scales, record.offsets, strict=True)
    return Card(
        satae_version=satae.__version__,
        created=now(),
        architecture=recipe.model.name,
        parameters=models.resolved(recipe.model.name, recipe.model.params),
        weights=sum(p.numel() for p in model.parameters()),
        objective=" + ".join(recipe.objective.terms),
        score=" + ".join(head.name for head in recipe.score),
        bands=[Band(name=name, scale=scale, offset=offset) for name, scale, offset in names],
        dtype=record.dtype,
        gsd_m=[g for g in gsd if g is not None],
        tile=record.size,
        **dataclasses.asdict(places),
        code_size=int(model.code_size),  # type: ignore[arg-type]
        normalization=Normalization(
            space=recipe.input.space,
            stretch="log" if n.logarithmic else "linear",
            log_floor=n.log_floor if n.logarithmic else None,
            low=n.low.tolist(),
            high=n.high.tolist(),
            floor=n.floor.tolist(),
            ceiling=n.ceiling.tolist(),
            components=len(n.whitening),
            ridge=recipe.input.ridge,
        ),
        recipe=recipe.model_dump(),
        trained_on=device,
        scenes=[_training_scene(s) for s in sets],
        metrics={"train_loss": best.train_loss, "val_loss": best.val_loss},
        parity=agreed,
        domain=learned(sets, trained.split.train),
        feedback=_decided(sets),
    )


def _decided(sets: Sequence[TileSet]) -> dict[str, int] | None:
    count = {kind: sum(getattr(s.heed, kind) for s in sets) for kind in ("accepted", "rejected")}
    return count if any(count.values()) else None


def _training_scene(tiles: TileSet) -> TrainingScene:
    record = tiles.record
    ring = tiles.grid.lonlat(tiles.grid.footprint())
    return TrainingScene(
        name=record.scene,
        sha256=record.sha256,
        tiles=len(tiles),
        gsd_m=tiles.grid.gsd_m,
        footprint=ring.round(7).tolist() if np.isfinite(ring).all() else [],
    )


def _documented(
    sets: Sequence[TileSet], run: Path, trained: Trained, detector: graph.Detector, recipe: Recipe
) -> list[str]:
    """Write FIGURES to the run folder; gives the findings."""
    history = trained.state.history
    losses = [e.train_loss for e in history], [e.val_loss for e in history]
    seen = _evidence(sets, recipe, trained)
    found = diagnosis.findings(seen)
    with staging(run / CONFIG) as folder:
        curves, rebuilt, report, evidence = (folder / name for name in FIGURES)
        figures.curves(curves, *losses, trained.state.best_epoch, seen.mean_loss, *_beside(seen))
        figures.reconstructions(rebuilt, _worst_and_median(sets, trained, detector))
        report.write_text(diagnosis.report(seen, found), encoding="utf-8")
        evidence.write_text(seen.json(), encoding="utf-8")
        for draft in (curves, rebuilt, report, evidence):
            publish(draft, run / draft.name)
    return [str(f) for f in found]


def _evidence(sets: Sequence[TileSet], recipe: Recipe, trained: Trained) -> Evidence:
    """What the run shows on some of its tiles."""
    feed = _feed(sets, recipe, trained, context=int(getattr(trained.model, "context", 0)))
    learned, held_out = (feed.some(where, LOOKED) for where in (trained.split.train, trained.split.held_out))
    return gather(
        trained.model,
        recipe,
        trained.state,
        _quality(sets, trained.split.train),
        lambda: feed.plain(learned, hide=True),
        lambda: feed.plain(held_out),
    )


def _quality(sets: Sequence[TileSet], where: npt.NDArray[np.int64]) -> Tiles:
    """How good the training tiles are, by evenly spread ones of them."""
    some = where[np.unique(np.linspace(0, len(where) - 1, SHOWN_TILES).astype(int))]
    valid = [float(sets[s].valid[t].mean()) for s, t in some]
    flat = [_constant(sets[s].images[t][:, sets[s].valid[t]]) for s, t in some]
    return Tiles(len(where), float(np.mean(valid)), float(np.mean(flat)))


def _constant(pixels: npt.NDArray[Any]) -> bool:
    """Whether pixels (B, n) are all the same."""
    return bool((pixels == pixels[:, :1]).all())


def _beside(seen: Evidence) -> tuple[float, str]:
    """For the curves: what the PCA costs in the loss of the run, NaN where that is another; and its error in
    words."""
    if seen.pca_mse is None:
        return math.nan, ""
    weight = seen.recipe.objective.terms.get("mse", math.nan)
    alone = len(seen.recipe.objective.terms) == 1
    told = f"held-out squared error {seen.mse:.3g}, PCA of the same code {seen.pca_mse:.3g}"
    return weight * seen.pca_mse if alone else math.nan, told


@torch.no_grad()
def _worst_and_median(
    sets: Sequence[TileSet], trained: Trained, detector: graph.Detector
) -> list[tuple[str, Any, Any, Any]]:
    """Rows for `figures.reconstructions`: the two held-out tiles with the largest score, the two in the middle.

    Of very many held-out tiles, SHOWN_TILES evenly spread ones are looked at.
    """
    held_out, peaks = trained.split.held_out, []
    held_out = held_out[np.unique(np.linspace(0, len(held_out) - 1, SHOWN_TILES).astype(int))]
    for where in held_out:
        image, valid = _tensors(sets, where)
        peaks.append(float(detector(image, valid)[1]))
    order = np.argsort(peaks)[::-1]
    middle = len(order) // 2
    chosen = {int(order[0]): "worst", int(order[min(1, middle)]): "second worst"}
    chosen |= {
        int(order[i]): "median"
        for i in (middle, min(middle + 1, len(order) - 1))
        if int(order[i]) not in chosen
    }
    rows: list[tuple[str, Any, Any, Any]] = []
    for i, title in chosen.items():
        image, valid = _tensors(sets, held_out[i])
        scores, _, _, rebuilt = (output.numpy() for output in detector(image, valid))
        good = valid[0, 0].numpy() > 0
        shown = [figures.composite(dn, trained.normalizer) for dn in (image[0].numpy(), rebuilt[0])]
        error = np.where(good, scores[0, 0], np.nan)
        masked = [np.where(good[..., None], s, 0.5) for s in shown]
        rows.append((title, masked[0], masked[1], error))
    return rows


def _tensors(sets: Sequence[TileSet], where: npt.NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    image, valid = _tiles(sets, where[None])
    return torch.from_numpy(image.astype(np.float32)), torch.from_numpy(valid[:, None].astype(np.float32))
