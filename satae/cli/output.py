"""What a command leaves in the terminal: its result on stdout, notes on stderr, and the code that it ends with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from satae.console import printable, tint

if TYPE_CHECKING:
    from satae.grid import Window

DAMAGED = 4  # exit code where a result is there and lacks something: damaged blocks, or what goes with it
NAMED = 20  # damaged places, at the most


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
        typer.echo(f"{tint('note:', 'yellow')} {printable(remark)}", err=True)


def end(lines: Iterable[str]) -> None:
    """Print what to make of a result, and what to do next, on stderr: it is for people, and stdout for programs."""
    for line in lines:
        word, colon, rest = printable(line).partition(":")
        typer.echo(f"{tint(word + colon, 'bold')}{rest}", err=True)


def exit_if_damaged(damage: Iterable[tuple[str, Sequence[Window]]]) -> None:
    """End with DAMAGED, having named the blocks of all scenes in one note, where some could not be decoded."""
    # a file is named before the first of its places
    places = [f"{path}: {p}" if i == 0 else p for path, ws in damage for i, p in enumerate(_places(ws))]
    if places:
        more = f" and {len(places) - NAMED} more places" if len(places) > NAMED else ""
        note([f"{'; '.join(places[:NAMED])}{more} could not be decoded and were masked"])
        raise typer.Exit(DAMAGED)


def _places(windows: Sequence[Window]) -> Iterator[str]:
    """Rows and columns of blocks from the top down, those that continue each other as one."""
    runs: list[list[int]] = []
    for w in sorted(windows, key=lambda w: (w.col, w.width, w.row)):
        if runs and runs[-1][2:] == [w.col, w.stop[1]] and runs[-1][1] >= w.row:
            runs[-1][1] = max(runs[-1][1], w.stop[0])
        else:
            runs.append([w.row, w.stop[0], w.col, w.stop[1]])
    for top, bottom, left, right in sorted(runs):
        yield f"rows {top} to {bottom}, columns {left} to {right}"


def exit_if_bare(faults: Sequence[str]) -> None:
    """End with DAMAGED where extras of a result are missing, of which the log has told."""
    if faults:
        raise typer.Exit(DAMAGED)
