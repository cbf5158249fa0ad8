"""Where failures leave a command: what satae explains is one sentence and an exit code, the rest is a bug."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from satae.console import printable
from satae.errors import SataeError

INTERRUPTED = 130

Command = Callable[..., Any]


def explain_failures(command: Command) -> Command:
    """A command whose failures end in one sentence and an exit code; a bug keeps its traceback."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except SataeError as error:
            sentence = " ".join(str(error).split()).rstrip(".")  # foreign ones have line ends and full stops
            typer.echo(printable(f"error: {sentence}"), err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            hint = "; go on with `satae train --resume`" if command.__name__ == "train" else ""
            typer.echo(f"interrupted; nothing was replaced{hint}", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None

    return wrapped
