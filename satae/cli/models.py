"""The command `satae models`: what a recipe can name."""

from __future__ import annotations

from satae.cli.flags import Json
from satae.cli.output import say


def models(as_json: Json = False) -> None:
    """List the architectures, losses and scores."""
    from satae.cli.catalogue import catalogue, lines

    rows = catalogue()
    say(as_json, {"models": rows}, lines(rows))
