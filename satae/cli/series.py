"""The command `satae series`: many dates of one place into what changed, and when."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satae.cli.flags import PIXELS, DatePattern, History, Json, Monitor, Overwrite, Persistence, PixelOptions
from satae.cli.output import note, say
from satae.console import Steps, quantity
from satae.errors import ConfigError

if TYPE_CHECKING:
    from satae.inference.sequences import Trainer
    from satae.series.learning import Options
    from satae.series.run import Result

MOST = 9  # of the dates that persistence looks at
SETTLED = "history", "model", "far", "persistence", "min_pixels"  # by a state


def series(
    context: typer.Context,
    scenes: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENE|LIST",
            help="Folders, lists, tables, globs, STAC items, scenes, products, a file of many dates.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Layers to write (.gpkg); rasters lie beside them.")] = Path(
        "changes.gpkg"
    ),
    history: History = None,
    monitor: Monitor = None,
    state: Annotated[
        Path | None, typer.Option(help="Go on from this state (*_state.tif) with the new dates alone.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="auto, seasonal, median, pair; sequence_rnn, sequence_transformer or a recipe (.yaml) of one."
        ),
    ] = "auto",
    far: Annotated[float, typer.Option(help="False alarms per km2 and year.")] = 1.0,
    persistence: Persistence = "2/3",
    min_pixels: Annotated[int, typer.Option(min=1, help="Smallest region in pixels.")] = 4,
    date_pattern: DatePattern = None,
    counted: PixelOptions = PIXELS,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find what changed in a series of dates."""
    from satae.cli.acquisitions import scenes_of
    from satae.series import outputs
    from satae.series.run import resume
    from satae.series.run import series as score

    steps: Steps = context.obj
    how = options_of(history, monitor, model, far, persistence, min_pixels, overwrite)
    for name in SETTLED if state is not None else ():
        told = context.get_parameter_source(name)
        if told is not None and told.name == "COMMANDLINE":
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag} is in the state already; leave out one of {flag} and --state")
    found, days = scenes_of(scenes, date_pattern, counted, steps, outputs.targets(out))
    result = (
        score(found, days, out, how, steps) if state is None else resume(found, days, state, out, how, steps)
    )
    note([] if steps.quiet else result.remarks)
    content = _content(result)
    say(as_json, content, _lines(content))


def options_of(
    history: str | None,
    monitor: str | None,
    model: str,
    far: float,
    persistence: str,
    least: int,
    overwrite: bool,
) -> "Options":
    """How a series is scored, as it was typed."""
    from satae.inference.card import now
    from satae.series import dates
    from satae.series.learning import Options

    keep, (name, trainer) = _keep(persistence), _trained(model)
    if not 0 < far < float("inf"):
        raise ConfigError(f"--far {far} is no number of false alarms over 0")
    return Options(
        None if history is None else dates.span(history, "--history"),
        None if monitor is None else dates.span(monitor, "--monitor"),
        name, far, keep, least, overwrite, now(), trainer,
    )  # fmt: skip


def _trained(model: str) -> "tuple[str, Trainer | None]":
    """The name of a model, and what learns it where a network does."""
    from satae.series.rules import NETWORKS

    if model not in NETWORKS and not model.endswith(".yaml"):
        return model, None
    from satae import config
    from satae.training.sequence import trainer

    recipe = config.load(Path(model))
    return recipe.model.name, trainer(recipe)


def _keep(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d)\s*/\s*(\d)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST:
        raise ConfigError(f"--persistence {text} is not K/N such as 2/3, K dates of the last N")
    return int(found[1]), int(found[2])


def _content(result: "Result") -> dict[str, Any]:
    from satae.series import dates

    header = result.header
    return {
        "out": str(result.out),
        "files": [str(path) for path in result.files],
        "model": header.model,
        "history": {
            "dates": len(header.history),
            "first": dates.text_of(min(header.history)),
            "last": dates.text_of(max(header.history)),
        },
        "scored": [
            {"date": dates.text_of(s.day), "scene": s.scene, "unrest": s.unrest, "shift": list(s.shift)}
            for s in result.scored
        ],
        "far": header.far,
        "threshold": header.threshold if header.threshold < float("inf") else None,
        "changes": [
            {
                "change_id": f"r{c.region.row}-c{c.region.col}",
                "first_date": dates.text_of(c.first),
                "confirmed_date": dates.text_of(c.confirmed),
                "last_date": dates.text_of(c.last),
                "peak_date": dates.text_of(c.peak_day),
                "pixels": c.region.pixels,
                "persistence": c.persistence,
            }
            for c in result.changes
        ],
        "remarks": list(result.remarks),
    }


def _lines(content: dict[str, Any]) -> list[str]:
    past, scored = content["history"], content["scored"]
    lines = [
        f"{content['out']}: {quantity(len(content['changes']), 'change')} on {quantity(len(scored), 'date')} from "
        f"{scored[0]['date']} to {scored[-1]['date']}, beside {quantity(past['dates'], 'date')} of history from "
        f"{past['first']} to {past['last']} ({content['model']})"
    ]
    for change in content["changes"][:10]:
        lines.append(
            f"  {change['change_id']}: first {change['first_date']}, confirmed {change['confirmed_date']}, last "
            f"{change['last_date']}, {quantity(change['pixels'], 'pixel')}"
        )
    if (more := len(content["changes"]) - 10) > 0:
        lines.append(f"  and {more} more")
    # it is missing where it could not be made, of which a warning has told
    lines += [f"{file}: report, opens in any browser" for file in content["files"] if file.endswith(".html")]
    return lines
