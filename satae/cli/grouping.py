"""The page that --help prints: options under headings, the same heading for an option in every command."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand

from satae.console import tint

# an option under none of these stands under the last heading
HEADINGS = {
    "Scenes": (
        "bands", "stack", "aoi", "aoi-layer", "mask", "nodata", "offset", "sensor", "gsd", "clouds",
        "on-bad-tile", "allow-network", "cache", "history", "monitor", "date-pattern", "truth", "mask-suffix",
        "evaluate-in", "data",
    ),
    "Planted": ("sizes", "contrasts", "shares", "number", "kinds", "rounds", "steady"),
    "Tiles": ("size", "overlap", "min-valid", "sample", "patches"),
    "Model": ("model", "config", "set", "epochs", "seed", "seeds", "feedback", "resume", "state", "library"),
    "Detection": (
        "far", "fdr", "top", "threshold", "min-area", "min-pixels", "persistence", "baseline", "force-domain",
    ),
    "Output": (
        "out", "heatmap", "chips", "stac", "collect", "on-anomaly", "flavor", "precision", "overwrite", "json",
    ),
    "Speed": ("device", "devices", "workers", "jobs", "memory", "shard", "scheduler", "split"),
}  # fmt: skip
REST = "Other"
FEW = 7  # options that need no headings


def heading(option: str) -> str:
    """The heading of an option, as it is typed."""
    return next((title for title, names in HEADINGS.items() if option.lstrip("-") in names), REST)


def groups(parameters: Iterable[Any]) -> dict[str, list[Any]]:
    """Options under their headings, in the order of these; one group where there are few."""
    options = [p for p in parameters if p.param_type_name == "option"]
    if len(options) <= FEW:
        return {"Options": options}
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
            rows = [row for row in (p.get_help_record(ctx) for p in below) if row is not None]
            if rows:
                with formatter.section(tint(title, "bold", sys.stdout)):
                    formatter.write_dl(rows)
