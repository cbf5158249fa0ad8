"""The command `satae models`: what a recipe can name."""

import typer

from satae.cli.flags import Json
from satae.cli.output import say
from satae.console import Steps


def models(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes, architectures, losses and scores."""
    from satae.cli.catalogue import catalogue, lines
    from satae.models import NAMES

    steps: Steps = context.obj
    with steps.stage("measure the architectures", len(NAMES), "model") as bar:
        rows = catalogue(bar.add)
    say(as_json, {"models": rows}, lines(rows))
