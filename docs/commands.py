"""Writes docs/commands.md from what --help knows: python docs/commands.py

Run it after a command or an option has changed; tests/cli/test_commands.py compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from satae.cli import app
from satae.cli.grouping import groups

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# Commands

Every command and every option but `-h`, `--help`, which all have and which says the same: this page is made from it by
`python docs/commands.py`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a bug in satae: please report it with its traceback |
| 2 | input or options that cannot be used; the sentence on stderr says what to change |
| 3 | an output exists, is locked or could not be written; nothing was replaced |
| 4 | done, less what stderr names: damaged blocks, scenes of `satae run` that failed, or a report, picture or style |
| 130, 143, 129 | ended by Ctrl-C, SIGTERM or SIGHUP; nothing was replaced |

Paths and tables go to stdout; progress, notes and errors to stderr. Nothing is replaced without `--overwrite`, and no
input ever. `SOURCE_DATE_EPOCH` fixes the time that outputs record, so that equal inputs give equal bytes.

## Shell completion

    satae --install-completion        # for the shell that it is typed in: bash, zsh, fish or PowerShell

Open a new shell, type `satae` and the first letters of a command, and press the tab key. `--show-completion` prints
the script instead, to be put where you keep such things. Both find out which shell calls them; where they cannot, as
in a container, name it:

    _SATAE_COMPLETE=source_bash satae > ~/.local/share/bash-completion/completions/satae
    _SATAE_COMPLETE=source_zsh satae > ~/.zfunc/_satae      # with `fpath+=~/.zfunc` before compinit in ~/.zshrc
    _SATAE_COMPLETE=source_fish satae > ~/.config/fish/completions/satae.fish
"""


def found(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The command and all below it with their full names, in the order of --help."""
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from found(below, f"{name} {child}")


def section(name: str, command: Any) -> str:
    """Heading, text, examples and options of a command."""
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b")
    lines = [f"## {name}", "", text.strip(), ""]
    lines += [f"    {line.strip()}" for line in examples.splitlines() if line.strip().startswith("satae")]
    lines += ["", "| option | meaning |", "|---|---|"]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    found = groups(command.params)
    lines += [row(parameter, command) for parameter in arguments]
    for title, options in found.items():
        lines += [f"| **{title}** | |"] * (len(found) > 1)
        lines += [row(parameter, command) for parameter in options]
    return "\n".join(lines)


def row(parameter: Any, command: Any) -> str:
    """One line of the table."""
    names, meaning = parameter.get_help_record(typer.Context(command))
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
        names = f"{name} ..." if parameter.nargs == -1 else name
    return f"| `{names}` | {meaning} |".replace("NAME|FILE", "NAME\\|FILE")


def page() -> str:
    """The whole of docs/commands.md."""
    tree = typer.main.get_command(app.app)
    return "\n\n".join([HEAD.strip(), *(section(*each) for each in found(tree, "satae"))]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
