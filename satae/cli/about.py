"""The command `satae info`: a file in, what it is out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from satae.cli.flags import Json
from satae.cli.output import say
from satae.console import Steps, printable


def info(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A scene, tile set, model or result.")],
    check: Annotated[bool, typer.Option("--check", help="Read every block.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a file is."""
    from satae.cli.info import about

    steps: Steps = context.obj
    with steps.stage(f"read {printable(path.name)}"):
        content = about(path, check=check)
    if content["kind"] == "product":
        from satae.cli.products import lines

        say(as_json, content, lines(content) + ["every block was read"] * check)
        return
    # what is not known is null in JSON, and no line
    known = {key: value for key, value in content.items() if value is not None}
    width = max(len(key) for key in known)
    say(as_json, content, [f"{key:<{width}}  {_shown(value)}" for key, value in known.items()])


def _shown(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_shown(v)}" for k, v in value.items() if v is not None) or "none"
    if isinstance(value, list):
        return ("; " if any(isinstance(v, dict) for v in value) else ", ").join(map(_shown, value)) or "none"
    return "unknown" if value is None else str(value)
