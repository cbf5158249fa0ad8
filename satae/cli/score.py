"""The command `satae score`: scenes and a model into layers, heatmaps, chips and a report."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satae.api import CORES
from satae.cli.flags import (
    PIXELS,
    REPORT,
    BadTiles,
    Device,
    Feedback,
    Json,
    Overwrite,
    PixelOptions,
    ReportOptions,
    Workers,
    check_area,
    check_device,
)  # fmt: skip
from satae.cli.output import exit_if_bare, exit_if_damaged, note, say
from satae.console import Steps
from satae.errors import ConfigError

if TYPE_CHECKING:
    from satae.scene.scene import Scene
    from satae.scoring.baseline import Baseline


def score(
    context: typer.Context,
    scenes: Annotated[
        list[str] | None, typer.Argument(metavar="SCENE", help="Default: the scenes below tiles")
    ] = None,
    model: Annotated[
        list[Path], typer.Option(help="The model file; twice: one for objects, one for areas.")
    ] = [Path("model.onnx")],  # noqa: B006
    out: Annotated[
        Path, typer.Option(help="What to write: .gpkg, or regions alone as .geojson, .parquet, .fgb.")
    ] = Path("anomalies.gpkg"),
    heatmap: Annotated[Path | None, typer.Option(help="Heatmap (GeoTIFF) to write.")] = None,
    counted: PixelOptions = PIXELS,
    report: ReportOptions = REPORT,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="A second opinion: a model, or rx_shrunk, pca, ..."),
    ] = None,
    stac: Annotated[bool, typer.Option("--stac", help="Write STAC Items of result and model.")] = False,
    feedback: Feedback = None,
    device: Device = "auto",
    on_bad_tile: BadTiles = "stop",
    workers: Workers = CORES,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Map where scenes are out of place."""
    from satae.scoring.rule import rule_of

    check_device(device)
    rule = rule_of(**report.rules)
    check_area(report.min_area)
    from satae.api import score as scoring
    from satae.cli import options
    from satae.decisions import decisions
    from satae.inference import runtime
    from satae.publish import check_target
    from satae.scoring import summary
    from satae.scoring.cubes import by_wavelength
    from satae.scoring.outputs import Options
    from satae.scoring.run import check

    steps: Steps = context.obj
    options.check_there(scenes or [])  # what was mistyped is the first thing to say
    decided = decisions.read(feedback) if feedback else None
    opened, *others = [runtime.load(path, device, threads=workers) for path in model]
    limits = options.limits_of(counted, on_bad_tile)
    if not scenes and counted != PIXELS:
        raise ConfigError(
            "--bands, --stack, --aoi, --aoi-layer, --mask, --nodata, --offset, --sensor, --gsd, --clouds and "
            "--allow-network need scenes to be named"
        )
    check_target(out, overwrite=overwrite)  # before scenes are fetched, and before a baseline is fitted
    if scenes:
        paths = options.local_paths(scenes, counted, steps)
        found = options.scenes_at(paths, counted.bands, counted.stack, limits, counted.gsd)
        found = options.tiled_copies(found, Path("tiles"))
    else:
        found = options.scenes_of_tiles(Path("tiles"), on_bad_tile=on_bad_tile)
    other = None
    if baseline:
        found = [by_wavelength(scene, opened) for scene in found]
        how = Options(
            rule,
            heatmap=heatmap,
            overwrite=overwrite,
            chips=report.chips,
            stac=model[0] if stac else None,
            others=tuple(others),
        )
        check(found, opened, out, how)  # before it is fitted
        other = _baseline(baseline, found, opened.card.tile, device, workers, steps)
    result = scoring.score(
        found, [opened, *others], out, heatmap=heatmap, **asdict(report), baseline=other,
        stac=model[0] if stac else False, feedback=decided, workers=workers, overwrite=overwrite, progress=steps,
    ).record  # fmt: skip
    note([] if steps.quiet else summary.remarks(result))
    say(as_json, summary.content(result, str(rule)), summary.lines(result, str(rule)))
    exit_if_damaged((s.path, s.damage) for s in result.scenes)
    exit_if_bare(result.faults)


def _baseline(
    name: str, scenes: "list[Scene]", size: int, device: str, workers: int, steps: Steps
) -> "Baseline":
    """A model file, or an architecture that is fitted to the scenes."""
    if Path(name).suffix == ".onnx" or Path(name).is_file():
        from satae.scoring.baseline import open_baseline

        return open_baseline(Path(name), device, workers)
    try:
        from satae.cli.fitting import fit_baseline
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--baseline {name}: fitting a baseline needs torch, which is not installed; pass a model file"
        ) from error
    below = steps.under(f"baseline {name}")
    return fit_baseline(name, scenes, Path("tiles"), size=size, device=device, workers=workers, steps=below)
