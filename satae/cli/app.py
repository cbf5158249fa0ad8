"""The program `satae`: its commands, the options of all of them, and how it ends.

Results go to stdout, progress and warnings to stderr. `--help` answers at once: heavy imports live inside the
commands, and their modules do without `from __future__ import annotations`, for typer would compile the text of every
annotation at every start.
"""

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from satae import __version__, interrupts
from satae.cli.about import info
from satae.cli.bench import cifar10, had, inject, masks, ships
from satae.cli.bench import dates as bench_dates
from satae.cli.bench import series as bench_series
from satae.cli.demo import demo
from satae.cli.door import Command, explain_failures
from satae.cli.export import export
from satae.cli.flags import spell_out
from satae.cli.grouping import HelpGroup, HelpPage
from satae.cli.manual import MANUAL
from satae.cli.models import models
from satae.cli.review import review
from satae.cli.run import run
from satae.cli.score import score
from satae.cli.series import series
from satae.cli.tile import tile
from satae.cli.train import train
from satae.console import Steps, keep_stderr, set_up

app = typer.Typer(
    cls=HelpGroup, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
LIGHT = {
    "tile",
    "info",
    "score",
    "review",
    "run",
}  # commands without a matrix product in numpy that is worth a thread
bench = typer.Typer(cls=HelpGroup, no_args_is_help=True, help=MANUAL["bench"], rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"satae {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find what is out of place in satellite scenes, without labels.

    satae tile scene.tif; satae train; satae score --out anomalies.gpkg

    What words such as heat, halo or FDR mean stands at the end of every report, and in docs/glossary.md.
    """
    if (
        context.invoked_subcommand in LIGHT
    ):  # to start threads for numpy takes 0.15 CPU s, a quarter of a short command
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context.obj = Steps(quiet=quiet)  # every command says by it how far it is
    set_up(-1 if quiet else int(verbose))


def _register(group: typer.Typer, *commands: Command, above: str = "") -> None:
    """Take commands into a group by their names, with their pages of the manual, behind the door of failures."""
    for command in commands:
        group.command(cls=HelpPage, help=MANUAL[above + command.__name__])(
            explain_failures(spell_out(command))
        )


_register(app, tile, train, score, run, series, info, models, demo, export, review)
_register(bench, had, ships, masks, inject, cifar10, bench_series, bench_dates, above="bench ")
app.add_typer(bench, name="bench")


def main() -> None:
    """Run the command line. A termination request ends a command as Ctrl-C does, with nothing left behind."""
    interrupts.listen()
    keep_stderr(libraries=bool({"-v", "--verbose"} & set(sys.argv)))
    # torch's threads spin while they wait, which on cores that are shared takes most of the time of a training
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = (
        "__all__"  # looked for in all that is installed, and nothing of ours
    )
    try:
        app()
    except SystemExit as end:
        interrupts.dismiss()
        if interrupts.is_pending():
            # at once: libraries whose threads were at work crash or hang now and then when they are unloaded
            with suppress(OSError, ValueError):  # whoever read them may be gone
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        raise
    finally:
        interrupts.dismiss()
