"""The command `satae demo`: a folder out, in which the three commands were run on a made-up scene."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder to work in.")] = Path("satae-demo"),
) -> None:
    """Run the three commands on a made-up scene with planted anomalies."""
    from satae.demo.run import run

    run(out, context.obj)
