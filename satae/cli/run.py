"""The command `satae run`: many scenes into one folder, as far as they are not in it yet."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satae import interrupts
from satae.cli import rows
from satae.cli.flags import (
    PIXELS,
    RECIPE,
    REPORT,
    BadTiles,
    Device,
    Json,
    PixelOptions,
    RecipeOptions,
    ReportOptions,
    check_area,
    check_device,
)  # fmt: skip
from satae.cli.output import DAMAGED, NAMED, note, say
from satae.console import Steps, quantity
from satae.errors import ConfigError

if TYPE_CHECKING:
    from satae.batch import run as batch
    from satae.batch.folders import RunOutput, SceneFolders
    from satae.batch.run import Result
    from satae.batch.task import Request
    from satae.batch.watch import Teller

# columns of a table that are options of its row, beside those of pixels, with what their text means
NUMBERS: dict[str, Callable[[str], Any]] = {
    "far": float,
    "fdr": float,
    "top": rows.whole,
    "threshold": float,
    "min_area": float,
}


def run(
    context: typer.Context,
    scenes: Annotated[
        list[str] | None,
        typer.Argument(metavar="MANIFEST|SCENE", help="Lists, folders, globs, tables, STAC items, scenes."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="The model file; twice: one for objects, one for areas. [default: one is trained]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("."),
    jobs: Annotated[int, typer.Option(min=1, help="Score so many scenes at once.")] = 1,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Budget that lowers --jobs, such as 8G.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N|auto", help="Do one of N parts, counted from 0.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Score on the workers of a dask scheduler.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Share a scene out whose files are larger than this.")
    ] = None,
    max_failures: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Begin no more scenes once more than these failed.")
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Make one result of all; alone, of what is there.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and score what arrives, until interrupted.")
    ] = False,
    on_anomaly: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Is given each region once, as JSON on stdin.")
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try scenes again that were refused before.")
    ] = False,
    settings: RecipeOptions = RECIPE,
    counted: PixelOptions = PIXELS,
    report: ReportOptions = REPORT,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A second opinion: a model file.")
    ] = None,
    device: Device = "auto",
    on_bad_tile: BadTiles = "stop",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads of each scene.", show_default="cores over --jobs")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score many scenes."""
    check_device(device)
    from satae import config as recipes
    from satae.batch import run as batch
    from satae.batch.budget import bytes_of
    from satae.batch.shard import shard_of
    from satae.batch.watch import Arrivals, Teller, pauses

    steps: Steps = context.obj
    models = model or []
    if models and (settings.config or settings.all_changes):
        raise ConfigError(
            "--config, --set and --epochs say how a model is trained, and with --model none is; leave them out"
        )
    asked = partial(_asked, counted, report, baseline=baseline, on_bad_tile=on_bad_tile)
    part = shard_of(shard)
    collects = collect or (not models and part.count == 1)
    if not scenes:
        if not collect:
            raise ConfigError("name scenes, or what lists them; or pass --collect and the --out of a run")
        _tell(None, None, _collected(out, steps), as_json)
        return
    if collect and part.count > 1:
        raise ConfigError(
            "--collect goes over all parts: pass it alone when all of them are done, without --shard"
        )
    first = models[0] if models else None
    options = batch.Options(
        out, first, lru_cache(maxsize=1024)(asked), (*NUMBERS, *rows.COLUMNS), counted.stack, jobs,
        bytes_of(memory, "--memory") if memory else None, workers, device, part, batch.Allowance.of(max_failures),
        retry, scheduler, bytes_of(split, "--split") if split else None,
        network=counted.allow_network, cache=counted.cache,
        recipe=recipes.load(settings.config, settings.all_changes), others=tuple(models[1:]),
    )  # fmt: skip
    teller = Teller(out, on_anomaly) if on_anomaly else None
    if not watch:
        _once(scenes, options, teller, collects, steps, as_json)
        return
    if not models or as_json:
        raise ConfigError("--watch needs --model, and has no end for --json to tell of")
    arrivals = Arrivals()
    options = replace(options, arrivals=arrivals)
    # what is finished stays, which `door` says and a signal that ends the process on the spot does not
    with interrupts.tidying():
        for _ in pauses():
            if arrivals.are_new(batch.entries_of(scenes, options)):
                with suppress(typer.Exit):
                    _once(scenes, options, teller, collects, steps, as_json)
            elif teller is not None and teller.failed:
                teller.tell(part)


def _once(
    scenes: list[str],
    options: "batch.Options",
    teller: "Teller | None",
    collects: bool,
    steps: Steps,
    as_json: bool,
) -> None:
    """Score what is missing, tell of it, and make one result of all where that is asked for."""
    from satae.batch import folders
    from satae.batch import run as batch

    if collects:
        # before hours of scoring
        folders.check_target(options.out)
    result, told = batch.run(scenes, options, steps), None
    if teller is not None:
        with steps.stage("tell of regions"):
            told = teller.tell(options.shard), teller.failures
    there = result.total > len(result.failures) + result.dropped
    _tell(result, told, _collected(options.out, steps) if collects and there else None, as_json)


def _collected(out: Path, steps: Steps) -> "RunOutput":
    """The result of all, which may be there already."""
    from satae.batch.folders import SceneFolders, existing, is_current

    found = SceneFolders(out)
    if is_current(out, found):
        return existing(found)
    from satae.batch.result import make  # with it come the libraries that write

    return make(found, steps)


def _asked(
    counted: PixelOptions,
    report: ReportOptions,
    row: tuple[tuple[str, str], ...],
    *,
    baseline: Path | None,
    on_bad_tile: str,
) -> "Request":
    """What is asked of a scene: the options of the command, and before them those of its row in a table."""
    from satae.scoring.rule import rule_of

    given = {name: rows.number(name, text, NUMBERS[name]) for name, text in row if name in NUMBERS}
    # a rule of the row takes the place of that of the command, whichever both are
    own = {k: given.get(k) for k in report.rules}
    rule = rule_of(**(own if any(v is not None for v in own.values()) else report.rules))
    least = given.get("min_area", report.min_area)
    check_area(least)
    return replace(
        rows.asked_of(row, counted, on_bad_tile), rule=rule, min_area_m2=least, chips=report.chips,
        force_domain=report.force_domain, baseline=baseline,
    )  # fmt: skip


def _tell(
    result: "Result | None", told: tuple[int, int] | None, made: "RunOutput | None", as_json: bool
) -> None:
    """Print what a run came to; `told` are how many regions were passed on, and on how many the command failed.

    Exit code 4 where some scenes were not scored, some regions not passed on, or something of the result lacks.
    """
    content, lines = dict[str, Any](), list[str]()
    if result is not None:
        content |= _content(result)
        lines += _lines(result)
        # a result of all tells of these and of those before
        if made is None:
            note(_foreign(result.foreign, result.scored, "domain_note in its scene.json"))
    untold = 0
    if told is not None:
        count, untold = told
        content |= {"told": count, "not_told": untold}
    if untold:
        note(
            [f"{quantity(untold, 'region')} not passed on, for --on-anomaly failed; the next run tries again"]
        )
    if made is not None:
        content |= {"result": _made(made)}
        lines += _made_lines(made)
    say(as_json, content, lines)
    bare = made is not None and any(m.faults for m in (made.alone, made.collection) if m is not None)
    short = made is not None and not made.found.is_whole
    failed = result is not None and (result.failures or result.dropped or result.damaged)
    if bare or short or failed or untold:
        raise typer.Exit(DAMAGED)


def _content(result: "Result") -> dict[str, Any]:
    return {
        "out": str(result.out), "index": str(result.index), "scenes": result.scenes, "before": result.before,
        "scored": result.scored, "damaged": result.damaged, "not_begun": result.dropped,
        "foreign_scenes": list(result.foreign),
        "failures": [{"name": f.name, "path": f.path, "code": f.code, "reason": f.reason} for f in result.failures],
    }  # fmt: skip


def _lines(result: "Result") -> list[str]:
    """What is in the folder, after notes on what is not."""
    from satae.batch.run import unit_of

    failures, unit = result.failures, unit_of(result.models)
    # what is wrong with a scene may be so for two models
    told = [f.reason if f.path in f.reason else f"{f.path}: {f.reason}" for f in failures[:NAMED]]
    note(dict.fromkeys(told))
    if len(failures) > NAMED:
        note([f"{quantity(len(failures) - NAMED, f'more {unit}')} failed; all are in {result.index}"])
    if result.dropped:
        note([f"{quantity(result.dropped, unit)} not begun, for {result.halt}"])
    what = quantity(result.scored, unit)
    what += f" of {quantity(result.scenes, 'scene')}" if result.models > 1 else ""
    said = f"{result.out / 'scenes'}: {what} scored, {result.before:,} before"
    said += f", {len(failures):,} failed" if failures else ""
    return [said, f"{result.index}: {quantity(result.total, 'row')}"]


def _made(made: "RunOutput") -> dict[str, Any]:
    of, found = made.collection, made.found
    if of is None:
        from satae.batch.folders import NAME

        return {"out": str(found.out / NAME), "foreign_scenes": list(found.foreign)}
    return {
        "out": str(of.out), "scenes": of.scenes, "anomalies": of.anomalies, "missing": of.missing,
        "left_out": list(found.left_out), "parts_not_run": list(found.parts.absent),
        "parts_run_otherwise": [name for name, _ in found.parts.others], "tiles": of.tiles,
        "report": str(of.report) if of.report else None, "catalogue": str(of.catalogue), "carried": of.carried,
        "doubt": of.doubt, "foreign_scenes": list(found.foreign),
    }  # fmt: skip


def _foreign(names: Sequence[str], among: int, where: str) -> list[str]:
    """A note on results that are foreign to their model, if there are such; `where` says what differs."""
    if not names:
        return []
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return [
        f"{len(names):,} of {among:,} foreign to the model: {', '.join(names[:NAMED])}{more}; no region of such a "
        f"scene is reported without --force-domain or --top, and {where} says what differs"
    ]


def _lacks(found: "SceneFolders") -> list[str]:
    """Notes on what is not in a result."""
    said = [
        f"part {n} has not run, and its scenes are not counted; run it with --shard {n}"
        for n in found.parts.absent
    ]
    for name, how in found.parts.others:
        said += [
            f"part {name} was run with {how}, and is not in the result; run it again with --shard {name}"
        ]
    if found.missing:
        said += [f"{quantity(found.missing, 'scene')} not finished, and not in the result"]
    if names := found.left_out:
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        has = "no CRS" if found.is_tied else "a CRS, which most have not"
        listed = ", ".join(names[:NAMED]) + more
        said += [
            f"not in the result, which has scenes with a CRS or without but not both; these have {has}: {listed}"
        ]
    return said


def _made_lines(made: "RunOutput") -> list[str]:
    from satae.scoring import summary

    note(_lacks(made.found))
    if made.alone is None:
        note(_foreign(made.found.foreign, made.found.results, "domain_note of the layer scenes"))
    if not made.is_new:
        return ["the result holds all finished scenes already"]
    if made.alone is not None:
        note(summary.remarks(made.alone))
        return summary.lines(made.alone, made.rule)
    of = made.collection
    assert of is not None
    if of.doubt:
        note(of.doubt.splitlines())
    if not of.tiles:
        note(["the layer tiles lacks rows, for there are too many; heatmaps and scenes have them all"])
    said = [f"{of.out}: {quantity(of.anomalies, 'anomaly')} in {quantity(of.scenes, 'scene')} ({made.rule})"]
    said += [f"{of.report}: report, opens in any browser"] if of.report else []
    said += [f"{of.catalogue}: STAC catalogue"]
    return said + (
        [f"{of.out}: {quantity(of.carried, 'reviewed region')} carried over"] if of.carried else []
    )
