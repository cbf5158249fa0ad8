"""The command `satae train`: tile sets into a model file."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satae import interrupts
from satae.cli import outcome, rows
from satae.cli.flags import (
    RECIPE,
    Device,
    Feedback,
    Json,
    Overwrite,
    RecipeOptions,
    check_device,
    check_model_name,
)  # fmt: skip
from satae.cli.output import DAMAGED, end, note, say
from satae.cli.ranks import is_silent, several
from satae.console import Steps, quantity
from satae.errors import ConfigError

log = logging.getLogger(__name__)

SHOWN = 5  # findings on a terminal
TILES = Path("tiles")

if TYPE_CHECKING:
    from satae.batch.sample import Sample
    from satae.config import Recipe
    from satae.tiles.store import TileSet
    from satae.training.run import Result


def train(
    context: typer.Context,
    tilesets: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="TILESET|MANIFEST", help="Tile sets, or what lists them or scenes. Default: tiles"
        ),
    ] = None,
    settings: RecipeOptions = RECIPE,
    out: Annotated[Path, typer.Option(help="The model file.")] = Path("model.onnx"),
    device: Device = "auto",
    seed: Annotated[int | None, typer.Option(help="Same as --set train.seed=N.")] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=4, help="Same as --set train.sample=N: so many tiles a set or scene at most."),
    ] = None,
    feedback: Feedback = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit a model to what is normal and export it to ONNX."""
    if is_silent():
        logging.getLogger("satae").setLevel(logging.CRITICAL)
    check_device(device)
    check_model_name(out)
    changes = [*settings.all_changes, *([] if seed is None else [f"train.seed={seed}"])]
    changes += [] if sample is None else [f"train.sample={sample}"]
    from satae import config as recipes

    recipe = recipes.load(settings.config, changes)
    own = Path("runs", out.stem, "config.yaml")
    if resume and own.is_file():
        # what is cut for a run that is gone on with is what that run had, too
        asked, recipe = recipe, recipes.load(own)
        if other := recipes.difference(recipe, asked):
            raise ConfigError(
                f"--resume goes on with the recipe of {own}, which has another {other}; leave that out, or --resume"
            )
    steps: Steps = context.obj
    sets, taken = _sets(tilesets or [TILES], recipe, out, overwrite, resume, steps)
    heed = None
    if feedback:
        from satae.decisions.feedback import apply_feedback
        from satae.training.run import target_of

        sets, heed = apply_feedback(sets, feedback, target_of(sets, recipe))

    if several():
        result = _shared(sets, recipe, out, device, resume=resume, overwrite=overwrite, steps=steps)
    else:
        from satae.api import train as training

        result = training.train(
            sets, out, recipe=recipe, device=device, resume=resume, overwrite=overwrite, progress=steps
        )
    if result is None:
        return
    content = {
        "model": str(out), "run": str(result.run), "epochs": result.epochs,
        "train_loss": result.card.metrics["train_loss"], "val_loss": result.card.metrics["val_loss"],
        "device": result.card.trained_on, "parity": result.card.parity.model_dump(), "findings": result.findings,
        "feedback": asdict(heed) if heed else None, "scenes": _content(taken) if taken else None,
    }  # fmt: skip
    found = [*(heed.lines if heed else []), *[f"! {text}" for text in result.findings[:SHOWN]]]
    say(as_json, content, [*([_line(taken)] if taken else []), *_lines(result, settings.config), *found])
    end([] if steps.quiet else [*_verdict(result), _next(out, tilesets, taken is not None)])
    if taken and taken.failures:
        note(taken.failures.values())
        raise typer.Exit(DAMAGED)


def _sets(
    names: list[Path], recipe: "Recipe", out: Path, overwrite: bool, resume: bool, steps: Steps
) -> "tuple[list[TileSet], Sample | None]":
    """The tile sets that are named or listed, or those of a sample of the scenes that are, and what was taken."""
    from satae.batch import manifest
    from satae.publish import check_target
    from satae.tiles.store import load_all

    listed = list(map(str, names))
    found = [] if manifest.names_scenes(listed) else load_all(names)
    # before scenes are cut, and torch is loaded
    check_target(out, overwrite=overwrite or resume)
    if found:
        return found, None
    if several():
        raise ConfigError(
            f"{quantity(len(listed), 'list')} of scenes: each of several processes would cut them; "
            "type satae tile LIST first, and torchrun on the tile sets"
        )
    taken = _taken(listed, recipe, overwrite, steps)
    return taken.sets, taken


def _taken(listed: list[str], recipe: "Recipe", overwrite: bool, steps: Steps) -> "Sample":
    """The tile sets of a sample of the scenes of lists."""
    from satae.api import CORES
    from satae.api.tile import make_folder
    from satae.batch import manifest, sample

    scenes, total = sample.choose(manifest.entries(listed, list(rows.COLUMNS)), rows.asked_of)
    made = make_folder(TILES)
    try:
        return sample.take(scenes, total, TILES, recipe, CORES, overwrite, steps)
    finally:
        # a folder that was made for nothing goes again
        if made and not any(TILES.iterdir()):
            TILES.rmdir()


def _content(taken: "Sample") -> dict[str, Any]:
    used = [{"name": s.record.scene, "path": str(s.path), "tiles": len(s)} for s in taken.sets]
    failures = [{"name": name, "reason": reason} for name, reason in taken.failures.items()]
    return {"listed": taken.total, "used": used, "failures": failures}


def _line(taken: "Sample") -> str:
    """What was taken of a list of scenes."""
    few = taken.total > len(taken.sets) + len(taken.failures)
    how = f"{len(taken.sets):,} of {quantity(taken.total, 'scene')}{', by a hash of their names' * few}"
    tiles = quantity(sum(map(len, taken.sets)), "tile")
    return f"{TILES}: {tiles} of {how}, no more than {taken.most:,} of each"


def _shared(
    sets: "Sequence[TileSet]",
    recipe: "Recipe",
    out: Path,
    device: str,
    *,
    resume: bool,
    overwrite: bool,
    steps: Steps,
) -> "Result | None":
    """What the processes that torchrun started make together; only that of rank 0 has a result, and says anything."""
    from satae.training import run as training
    from satae.training.loop import device_of
    from satae.training.team import muster

    # a signal must reach whoever waits for others as an exception, which ends this process and with it their waiting
    with interrupts.tidying(), muster(device_of(device)) as team:
        folder = Path("runs") / out.stem
        if team.leads:
            return training.train(
                sets,
                recipe,
                out,
                folder,
                device=device,
                resume=resume,
                overwrite=overwrite,
                steps=steps,
                team=team,
            )
        training.assist(sets, folder, team)
    return None


def _verdict(result: "Result") -> list[str]:
    """What the diagnosis says, and how much rests on what was held out, a line each."""
    number, page = len(result.findings), result.run / "diagnosis.md"
    more = f", the first {SHOWN} above" if number > SHOWN else ""
    said = f"{quantity(number, 'thing')} to look at{more}; {page} says more"
    return [
        f"diagnosis: {said if number else f'nothing stands out ({page})'}",
        f"calibration: {outcome.calibration(result.card)}",
    ]


def _next(out: Path, named: list[Path] | None, are_scenes: bool) -> str:
    """What to type next."""
    if named and are_scenes:
        return f"next: satae run {' '.join(map(str, named))} --model {out} --out FOLDER"
    return f"next: {outcome.next_command(out, 'SCENE' if named else '')}"


def _lines(result: "Result", recipe: Path | None) -> list[str]:
    card, losses = result.card, result.card.metrics
    purpose = f"recipe for {result.purpose}" if result.purpose else card.architecture
    learned = (
        f"{card.weights:,} weights, {quantity(result.epochs, 'epoch')} on {card.trained_on}, "
        f"loss {losses['train_loss']:.4g}, held out {losses['val_loss']:.4g}"
    )
    log.info("%s, score %s", card.architecture, card.score)
    log.info("ONNX equals torch to %.1e of the score's range", card.parity.share_of_range)
    named = f"recipe {recipe}" if recipe else purpose
    return [
        f"{result.model}: {named}, {learned if card.weights else 'in closed form'}",
        f"{result.run}: diagnosis, curves, reconstructions and all settings",
    ]
