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
    width = max(len(key) for key in content)
    say(as_json, content, [f"{key:<{width}}  {_shown(value)}" for key, value in content.items()])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_shown(v) for v in value)
    return str(value)
