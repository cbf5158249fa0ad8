"""The tool inside `satae train`: tile sets in, a calibrated and checked model file out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml

from satae import config, heap
from satae import heads as scores
from satae.config import Recipe
from satae.console import SILENT, Steps
from satae.detector import graph
from satae.detector.fusion import Mapping
from satae.errors import ConfigError, DivergedError, OutputError, TilesError
from satae.inference import runtime
from satae.inference.card import Card
from satae.nn.checkpoint import CHECKPOINT, HISTORY, Epoch
from satae.objectives import Objective
from satae.publish import check_target, lock, publish, staging, sweep, write_bytes
from satae.tiles.store import TileSet, rest
from satae.training import calibration, cards, diagnosis, documents, export, presets
from satae.training.calibration import Block
from satae.training.domain import conventions
from satae.training.loop import Plan, Report, TrainedModel, device_of, fit, plan
from satae.training.team import ALONE, Team, check_shareable

CONFIG = "config.yaml"
PARITY_TILES = 8
TRIED = 16  # pixels a side of what a recipe is tried on


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What `satae train` made."""

    model: Path
    run: Path
    card: Card
    epochs: int
    findings: list[str]
    purpose: str = ""  # what the recipe looks for that was chosen by the kind of the scenes


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
    steps: Steps = SILENT,
    team: Team = ALONE,
) -> Result:
    """Fit, export, compare with torch, calibrate on the held-out blocks, publish to `out`.

    `run` keeps config.yaml, history.jsonl, checkpoint.pt, history.csv, curves.png, reconstructions.png, diagnosis.md
    and evidence.json, the numbers behind it. The others of a `team` are in `assist` meanwhile.
    Raises OutputError where `out` or `run` exist and neither `resume` nor `overwrite` is on, or `resume` alone and
    the run is finished, and what `plan` and `fit` raise. What is wrong with recipe or tiles is found before
    anything is replaced.
    """
    place = device_of(device)
    check_target(out, overwrite=overwrite or resume)
    with lock(out):
        purpose = "" if resume else presets.purpose(recipe, **_kind(sets))
        settled = presets.complete_recipe(recipe, **_kind(sets))
        recipe = _recipe(run, settled, resume=resume, overwrite=overwrite)
        if resume and not overwrite and out.exists() and (run / documents.EVIDENCE).exists():
            raise OutputError(
                f"{run} is finished and {out} exists, so there is nothing to resume; pass --overwrite too to export "
                "the run again, or leave --resume out to train anew"
            )
        # from here on the others follow, who have the recipe from nobody else
        team.message(recipe.model_dump_json())
        with steps.stage("look at the tiles"):
            for doubt in conventions(sets):
                log.warning("%s", doubt)
            planned = plan(sets, recipe)
            heads = [scores.head(settings, planned.normalizer) for settings in recipe.score]
            detector = graph.Detector(planned.normalizer, planned.model, heads, Mapping.of(recipe))
            _try(sets, planned, detector)
            check_shareable(planned.model, recipe, len(planned.normalizer.affine), team)
        with _held(run):
            try:
                if not resume:
                    _begin(run, recipe)
                trained = _fitted(sets, planned, run, place, report, steps, team)
            except OutputError:
                _withdraw(run)
                raise
            proto, card = _exported(sets, recipe, trained, detector, place.type, steps)
            blocks = _scored(sets, trained, export.with_card(proto, card), out.name, steps)
            card = card.model_copy(update={"calibration": calibration.tails(blocks)})
            with steps.stage("diagnose", 0, "part") as bar:
                faults = documents.document(sets, recipe, trained, detector, blocks, run, bar)
        with steps.stage("verify"), staging(out) as folder:
            draft = folder / out.name
            draft.write_bytes(export.with_card(proto, card))
            runtime.load(draft, "cpu")
            publish(draft, out)
    return Result(out, run, card, trained.state.epoch, faults, purpose)


def assist(sets: Sequence[TileSet], run: Path, team: Team) -> None:
    """What the other processes of a team do while that of rank 0 is in `train`: learn, write nothing, say nothing."""
    recipe = Recipe.model_validate_json(team.message())
    planned = plan(sets, recipe)
    check_shareable(planned.model, recipe, len(planned.normalizer.affine), team)
    # rank 0 has settled by now what the run folder holds
    team.message()
    fit(sets, planned, run, device=team.device, team=team)
    team.part_ways()


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
    if not run.is_dir() or {p.name for p in run.iterdir()} - {CONFIG, documents.DIAGNOSIS}:
        raise OutputError(f"{run} is in the way; pass --overwrite to use it, or another --out")
    return recipe


@torch.no_grad()
def _try(sets: Sequence[TileSet], planned: Plan, detector: graph.Detector) -> None:
    """ConfigError where the loss or a head needs what the architecture does not give, or it does not fit tiles."""
    recipe, model = planned.recipe, planned.model
    side = recipe.augment.crop or sets[0].record.size
    if side % (frame := max(1, detector.traits.frame)):
        raise ConfigError(
            f"{recipe.model.name} sees frames of {frame} pixels and what it learns from has {side} a side; set "
            "model.params.size or augment.crop so that one divides the other, or cut with another --size"
        )
    detector.eval()
    x, valid = _some_tiles(sets, planned)
    loss_of = Objective(recipe.objective, detector.traits.code_size)
    with torch.set_grad_enabled(loss_of.differentiates):
        entered = x.clone().requires_grad_(loss_of.differentiates)
        loss_of(model(entered, valid), x, valid, 1.0, entered)
    loss_of(model(x, valid), x, valid)
    view = detector.view(x, valid)
    for head in detector.heads:
        head(view)
    export.to_onnx(detector, len(sets[0].record.bands))


def _some_tiles(sets: Sequence[TileSet], planned: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    """x and `valid` of the corners of two training tiles."""
    image, valid = documents.tiles(sets, planned.split.train[:2])
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
    try:
        with lock(run):
            _sweep(run)
            try:
                yield
            finally:
                # an interrupt may come between the making of a staging folder and the block that removes it
                _sweep(run)
    finally:
        with suppress(OSError):  # others' runs are in it
            run.parent.rmdir()


def _sweep(run: Path) -> None:
    """Remove what was being written in a run folder."""
    for name in (CHECKPOINT, CONFIG, documents.DIAGNOSIS):  # what staging folders are named after here
        sweep(run / name)


def _begin(run: Path, recipe: Recipe) -> None:
    """Make the run folder, or clear it of an earlier run."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        for name in (CHECKPOINT, HISTORY, *documents.FIGURES):
            (run / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{run} cannot be written: {error.strerror}") from error
    write_bytes(run / CONFIG, yaml.safe_dump(recipe.model_dump(), sort_keys=False).encode())


def _withdraw(run: Path) -> None:
    """Remove a run that could not be written before it had anything to go on from, as on a full disk."""
    if (run / CHECKPOINT).exists():
        return
    with suppress(OSError):
        for name in (CONFIG, HISTORY):
            (run / name).unlink(missing_ok=True)
        run.rmdir()


def target_of(sets: Sequence[TileSet], recipe: Recipe, run: Path | None = None) -> str:
    """What a model of these scenes looks for, object or area; of a `run` that is gone on with what its recipe says."""
    if run is not None and (run / CONFIG).is_file():
        recipe = config.load(run / CONFIG)
    return presets.complete_recipe(recipe, **_kind(sets)).target.kind


def _kind(sets: Sequence[TileSet]) -> dict[str, Any]:
    """What a recipe follows from: the bands and the GSD of the scenes, and what their bands are."""
    gsd = [g for s in sets if (g := s.grid.gsd_m) is not None]
    record = sets[0].record
    return {"bands": len(record.bands), "gsd_m": min(gsd) if gsd else None, "embedded": record.embedded}


def _fitted(
    sets: Sequence[TileSet],
    planned: Plan,
    run: Path,
    device: torch.device,
    report: Report,
    steps: Steps,
    team: Team,
) -> TrainedModel:
    """The trained network; of a run that diverged the diagnosis says so."""
    with steps.stage("train", 0, "step", brief=0) as bar:

        def tell(done: int, total: int, epoch: Epoch | None) -> None:
            bar.total = total
            bar.update(done, _losses(epoch) if epoch else None)
            report(done, total, epoch)

        try:
            # the run folder is as it shall be: the others look for a checkpoint in it
            team.message()
            trained = fit(sets, planned, run, device=device, report=tell, team=team)
            team.part_ways()
        except DivergedError as error:
            said = diagnosis.report_of_divergence(str(error), planned.recipe.train.learning_rate)
            write_bytes(run / documents.DIAGNOSIS, said.encode())
            raise
        bar.total = bar.done  # where it ended early
    heap.trim()
    rest(sets)
    return trained


def _losses(epoch: Epoch) -> str:
    return f"epoch {epoch.epoch} loss {epoch.train_loss:.4g} / {epoch.val_loss:.4g}"


def _exported(
    sets: Sequence[TileSet],
    recipe: Recipe,
    trained: TrainedModel,
    detector: graph.Detector,
    device: str,
    steps: Steps,
) -> tuple[onnx.ModelProto, Card]:
    """The detector, its heads and map fitted to the training sample, as ONNX; and its card, not calibrated yet."""
    record = sets[0].record
    with steps.stage("measure the reach"):
        places = export.lattice_of(detector, len(record.bands))
    feed = documents.feed(sets, recipe, trained, context=places.context)
    with steps.stage("fit scores and map", detector.passes * len(feed.pieces), "piece") as bar:
        detector.settle(feed.sample, lambda: bar.add(1))
        heap.trim()
    with steps.stage("export to ONNX"):
        proto = export.to_onnx(detector, len(record.bands))
    with steps.stage("compare with torch"):
        image, valid = documents.tiles(sets, trained.split.held_out[:PARITY_TILES])
        agreed = export.parity(detector, proto.SerializeToString(), image, valid)
    return proto, cards.card(sets, recipe, trained, places, agreed, device)


def _scored(
    sets: Sequence[TileSet], trained: TrainedModel, content: bytes, name: str, steps: Steps
) -> list[Block]:
    """The held-out blocks, scored by the model as it will be used."""
    model = runtime.from_bytes(content, name, "cpu")
    with steps.stage("calibrate", 0, "px") as bar:
        blocks = calibration.sample(sets, [(trained.split, model)], bar)
    rest(sets)
    return blocks
