"""What a command leaves in the terminal: its result on stdout, notes on stderr, and the code that it ends with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from satae.console import printable

if TYPE_CHECKING:
    from satae.grid import Window

DAMAGED = 4  # exit code where a result is there and lacks something: damaged blocks, or what goes with it
NAMED = 20  # damaged blocks, at the most


def say(as_json: bool, content: dict[str, Any], lines: list[str]) -> None:
    """Print the result: the content as JSON for scripts, or the lines for people."""
    if as_json:
        import json

        typer.echo(json.dumps(content, indent=1, allow_nan=False))
    else:
        typer.echo(printable("\n".join(lines)))


def note(remarks: Iterable[str]) -> None:
    """Print remarks on stderr."""
    for remark in remarks:
        typer.echo(printable(f"note: {remark}"), err=True)


def exit_if_damaged(damage: Iterable[tuple[str, Sequence[Window]]]) -> None:
    """End with DAMAGED, having named the scenes' blocks, where some could not be decoded."""
    places = [(path, window) for path, windows in damage for window in windows]
    note(
        f"{path}: rows {w.row} to {w.stop[0]}, columns {w.col} to {w.stop[1]} could not be decoded and were masked"
        for path, w in places[:NAMED]
    )
    if places:
        raise typer.Exit(DAMAGED)


def exit_if_bare(faults: Sequence[str]) -> None:
    """End with DAMAGED where extras of a result are missing, of which the log has told."""
    if faults:
        raise typer.Exit(DAMAGED)
