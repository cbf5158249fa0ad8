"""Tile sets into a model file, as `satae train` does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satae import config
from satae.api.progress import Tell, steps_of
from satae.config import Recipe
from satae.console import Steps
from satae.decisions.feedback import apply_feedback
from satae.later import Later
from satae.publish import check_target
from satae.tiles.store import TileSet, load_all

if TYPE_CHECKING:
    from satae.training import run as training
else:
    training = Later("satae.training.run")  # with it comes torch


def train(
    tiles: str | Path | TileSet | Sequence[str | Path | TileSet] = "tiles",
    out: str | Path = "model.onnx",
    *,
    recipe: str | Path | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    run: str | Path | None = None,
    device: str = "auto",
    feedback: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Tell | Steps | None = None,
) -> training.Result:
    """Fit a model to tile sets, or to all below folders, and export it to `out`.

    `recipe` is a name of satae's own, a YAML file or a `Recipe`; `settings` change some of it, such as
    {"train.epochs": 20}. `run` is the folder for the run's own files, runs/ and the model's name by default. Of the
    decisions in a reviewed result, `feedback`, what was rejected is learned as normal; those on regions of the kind
    that the model does not look for are left out.
    """
    out = Path(out)
    how = recipe if isinstance(recipe, Recipe) else _recipe(recipe, settings)
    sets = _sets([tiles] if isinstance(tiles, str | Path | TileSet) else tiles)
    # before torch is loaded, which takes seconds
    check_target(out, overwrite=overwrite or resume)
    folder = Path("runs") / out.stem if run is None else Path(run)
    if feedback is not None:
        kind = training.target_of(sets, how, folder if resume else None)
        sets, _ = apply_feedback(sets, Path(feedback), kind)
    return training.train(
        sets, how, out, folder, device=device, resume=resume, overwrite=overwrite, steps=steps_of(progress)
    )


def _recipe(recipe: str | Path | None, settings: Mapping[str, Any] | None) -> Recipe:
    changes = [f"{key}={value}" for key, value in (settings or {}).items()]
    return config.load(None if recipe is None else Path(recipe), changes)


def _sets(tiles: Sequence[str | Path | TileSet]) -> list[TileSet]:
    # sets that were handed over may hold decisions, and are not opened again
    made = [each for each in tiles if isinstance(each, TileSet)]
    if len(made) == len(tiles):
        return made
    return load_all([each.path if isinstance(each, TileSet) else Path(each) for each in tiles])
