"""The command `satae models`: what a recipe can name."""

import shutil
import sys

import typer

from satae.cli.flags import Json
from satae.cli.output import say
from satae.console import Steps


def models(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes, architectures, losses and scores."""
    from satae.cli.catalogue import lines, parts, recipes
    from satae.models import NAMES

    steps: Steps = context.obj
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    rows = recipes()
    # to measure takes a while, and recipes are what is asked for most
    if not as_json:
        say(False, {}, lines(rows, width))
    with steps.stage("measure the architectures", len(NAMES), "model") as bar:
        measured = parts(bar.add)
    say(as_json, {"models": rows + measured}, lines(measured, width))
