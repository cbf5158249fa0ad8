"""The page that --help prints: options under headings, the same heading for an option in every command."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from satae.console import tint

# an option under none of these stands under the last heading
HEADINGS = {
    "Scenes": (
        "bands", "stack", "aoi", "aoi-layer", "mask", "nodata", "offset", "sensor", "gsd", "clouds",
        "on-bad-tile", "allow-network", "cache", "history", "monitor", "date-pattern", "truth", "mask-suffix",
        "evaluate-in", "data", "check",
    ),
    "Planted": ("sizes", "contrasts", "shares", "number", "kinds", "rounds", "steady"),
    "Tiles": ("size", "overlap", "min-valid", "sample", "patches"),
    "Model": ("model", "config", "set", "epochs", "seed", "seeds", "feedback", "resume", "state", "library"),
    "Detection": (
        "far", "fdr", "top", "threshold", "min-area", "min-pixels", "persistence", "baseline", "force-domain",
    ),
    "Review": ("labels", "reviewer", "link"),
    "Page": ("port", "host", "open"),
    "Output": (
        "out", "heatmap", "chips", "stac", "collect", "on-anomaly", "flavor", "precision", "overwrite", "json",
    ),
    "Speed": ("device", "devices", "workers", "jobs", "memory", "shard", "scheduler", "split"),
}  # fmt: skip
REST = "Other"


def heading(option: str) -> str:
    """The heading of an option, as it is typed."""
    return next((title for title, names in HEADINGS.items() if option.lstrip("-") in names), REST)


def groups(parameters: Iterable[Any]) -> dict[str, list[Any]]:
    """Options under their headings, in the order of these."""
    options = [p for p in parameters if p.param_type_name == "option"]
    titles = {id(p): heading(max(p.opts, key=len)) for p in options}
    found = {title: [p for p in options if titles[id(p)] == title] for title in (*HEADINGS, REST)}
    return {title: below for title, below in found.items() if below}


class HelpPage(TyperCommand):
    """A command whose --help has headings among its options; plain text, for rich takes a while to load."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the options by group."""
        parameters = self.get_params(ctx)
        arguments = [p for p in parameters if p.param_type_name == "argument"]
        for title, below in {"Arguments": arguments, **groups(parameters)}.items():
            _section(formatter, title, [p.get_help_record(ctx) for p in below])


class HelpGroup(TyperGroup):
    """Commands whose --help has the same headings as those of each."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options of all commands, then the commands in the order of work."""
        _section(formatter, "Options", [p.get_help_record(ctx) for p in self.get_params(ctx)])
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: command for name, command in commands.items() if command and not command.hidden}
        # what is longer than its line is cut by click with dots
        room = formatter.width - 6 - max(map(len, shown), default=0)
        _section(formatter, "Commands", [(name, c.get_short_help_str(room)) for name, c in shown.items()])


def _section(formatter: Any, title: str, rows: Iterable[tuple[str, str] | None]) -> None:
    """A heading, bold on a terminal that shows it, and what stands below; nothing where that is nothing."""
    if told := [row for row in rows if row is not None]:
        with formatter.section(tint(title, "bold", sys.stdout)):
            formatter.write_dl(told)
