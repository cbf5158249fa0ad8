"""The command `satae train`: tile sets into a model file."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satae import interrupts
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
from satae.cli.output import end, say
from satae.cli.ranks import is_silent, several
from satae.console import Steps, quantity
from satae.errors import ConfigError

SHOWN = 5  # findings on a terminal

if TYPE_CHECKING:
    from satae.config import Recipe
    from satae.tiles.store import TileSet
    from satae.training.run import Result


def train(
    context: typer.Context,
    tilesets: Annotated[
        list[Path] | None,
        typer.Argument(metavar="TILESET|LIST", help="Folders, or text files that list them. Default: tiles"),
    ] = None,
    settings: RecipeOptions = RECIPE,
    out: Annotated[Path, typer.Option(help="The model file.")] = Path("model.onnx"),
    device: Device = "auto",
    seed: Annotated[int | None, typer.Option(help="Same as --set train.seed=N.")] = None,
    sample: Annotated[
        int | None, typer.Option(min=4, help="Same as --set train.sample=N: so many tiles a set at most.")
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
    if resume and (changes or settings.config):
        raise ConfigError(
            "--resume goes on with the run's own recipe; leave --config, --set, --epochs, --seed, --sample out"
        )
    from satae import config as recipes
    from satae.publish import check_target
    from satae.tiles.store import load_all

    recipe = recipes.load(settings.config, changes)
    sets, heed = load_all(tilesets or [Path("tiles")]), None
    check_target(out, overwrite=overwrite or resume)  # before torch is loaded
    if feedback:
        from satae.decisions.feedback import apply_feedback

        sets, heed = apply_feedback(sets, feedback)

    steps: Steps = context.obj
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
        "feedback": asdict(heed) if heed else None,
    }  # fmt: skip
    say(
        as_json,
        content,
        [*_lines(result), *(heed.lines if heed else []), *[f"! {text}" for text in result.findings[:SHOWN]]],
    )
    end([] if steps.quiet else [_verdict(result), _next(out, tilesets)])


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


def _verdict(result: "Result") -> str:
    """What the diagnosis says, in a line."""
    number, page = len(result.findings), result.run / "diagnosis.md"
    if not number:
        return f"diagnosis: nothing stands out ({page})"
    more = f", the first {SHOWN} above" if number > SHOWN else ""
    return f"diagnosis: {quantity(number, 'thing')} to look at{more}; {page} says more"


def _next(out: Path, tilesets: list[Path] | None) -> str:
    """What to type next."""
    scenes = " SCENE" if tilesets else ""
    model = "" if out == Path("model.onnx") else f" --model {out}"
    return f"next: satae score{scenes}{model}"


def _lines(result: "Result") -> list[str]:
    card, losses = result.card, result.card.metrics
    learned = (
        f"{card.architecture}, {card.weights} weights, score {card.score}, "
        f"{quantity(result.epochs, 'epoch')} on {card.trained_on}, loss {losses['train_loss']:.4g}, "
        f"held out {losses['val_loss']:.4g}"
    )
    fitted = f"{card.architecture} in closed form, score {card.score}"
    return [
        f"{result.model}: {learned if card.weights else fitted}",
        f"ONNX equals torch to {card.parity.share_of_range:.1e} of the score's range; run in {result.run}",
    ]
