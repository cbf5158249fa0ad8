"""Where failures leave a command: what satae explains is one sentence and an exit code, the rest is a bug."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from satae import interrupts
from satae.cli.ranks import has_the_word, several
from satae.console import printable, tint
from satae.errors import ConfigError, SataeError

SEVERAL = "tile", "demo", "run"  # commands that put one output in place and go on with the next

# dependencies that scoring does without (requirements-score.txt)
TRAINING = {"torch", "albumentations", "onnx", "onnxscript", "matplotlib"}

Command = Callable[..., Any]


def explain_failures(command: Command) -> Command:
    """A command whose failures end in one sentence and an exit code; a bug keeps its traceback."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            done = command(*args, **kwargs)
            if _is_of_a_team(command):
                raise _end(command, 0)
            return done
        except Exception as error:
            if interrupts.is_pending():  # it was raised by what the interrupt broke
                raise _interrupted(command) from None
            if (lacking := _lacking(error)) and _speaks(command):
                typer.echo(f"{tint('error:', 'red')} {lacking}", err=True)
                raise _end(command, ConfigError.exit_code) from None
            if not isinstance(error, SataeError | BrokenPipeError):
                raise
            if isinstance(error, BrokenPipeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(1) from None
            if not _speaks(command):
                raise _end(command, error.exit_code) from None
            sentence = " ".join(str(error).split()).rstrip(".")  # foreign ones have line ends and full stops
            typer.echo(f"{tint('error:', 'red')} {printable(sentence)}", err=True)
            raise _end(command, error.exit_code) from None
        except KeyboardInterrupt:
            raise _interrupted(command) from None

    return wrapped


def _lacking(error: Exception) -> str:
    """What is said of a library that an environment for scoring alone does without; nothing of any other error."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if name not in TRAINING:
        return ""
    return f"{name} is not installed: what is here can tile, score and run; docs/install.md says what else to install"


def _speaks(command: Command) -> bool:
    """Whether this process says why it ends: several that train together have one voice, others their own."""
    return command.__name__ != "train" or has_the_word()


def _interrupted(command: Command) -> typer.Exit:
    """The end of a command that was interrupted, of which it has told."""
    said = interrupts.PLACED if command.__name__ in SEVERAL else interrupts.SAID
    hint = "; go on with `satae train --resume`" if command.__name__ == "train" else ""
    if _speaks(command):
        typer.echo(f"{said}{hint}", err=True)
    return _end(command, interrupts.exit_code())


def _is_of_a_team(command: Command) -> bool:
    """Whether this process trains together with others."""
    return command.__name__ == "train" and several()


def _end(command: Command, code: int) -> typer.Exit:
    """The end with an exit code; in a team at once, for threads of the connections would abort it on its way out."""
    if _is_of_a_team(command):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return typer.Exit(code)
