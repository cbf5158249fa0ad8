"""The commands: options in, one library call, paths and tables out.

Results go to stdout, progress and warnings to stderr. Heavy imports live inside the commands, so that
`--help` answers at once; failures that satae explains are caught in one place, `_explained`.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from satae import __version__
from satae.cli import bench, export, review
from satae.cli.manual import MANUAL
from satae.console import Bar, counted, printable, set_up
from satae.errors import ConfigError, SataeError

if TYPE_CHECKING:
    from satae.nn.checkpoint import Epoch
    from satae.scene.scene import Scene
    from satae.scoring.baseline import Baseline

INTERRUPTED = 130
DAMAGED = 4

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
state = {"quiet": False}
Command = TypeVar("Command", bound=Callable[..., Any])

Bands = Annotated[str | None, typer.Option(help="Bands to use, counted from 1, such as 1,2,3 or 1-4.")]
Stack = Annotated[bool, typer.Option("--stack", help="The files are bands of one scene, on one grid.")]
Aoi = Annotated[Path | None, typer.Option(help="Vector file; only pixels inside its polygons count.")]
Mask = Annotated[Path | None, typer.Option(help="Raster; only pixels where it is not 0 count.")]
Nodata = Annotated[float | None, typer.Option(help="DN that marks fill, beside what the file declares.")]
BadTiles = Annotated[str, typer.Option("--on-bad-tile", help="Damaged blocks: 'stop', or 'mask' and exit 4.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Workers = Annotated[
    int,
    typer.Option(min=1, help="Threads that read, and that infer on a CPU.", show_default="cores, up to 4"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Feedback = Annotated[
    Path | None, typer.Option(help="Reviewed layers: what was accepted and rejected counts.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
CORES = min(4, os.cpu_count() or 1)


def _explained(command: Command) -> Command:
    """Turn SataeError into one sentence and its exit code; anything else is a bug and keeps its traceback."""

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

    return wrapped  # type: ignore[return-value]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"satae {__version__}")
        raise typer.Exit


@app.callback()
def common(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find what is out of place in satellite scenes, without labels.

    satae tile scene.tif; satae train; satae score --out anomalies.gpkg
    """

    state["quiet"] = quiet
    set_up(-1 if quiet else int(verbose))


@app.command(help=MANUAL["tile"])
@_explained
def tile(
    scenes: Annotated[list[Path], typer.Argument(metavar="SCENE", help="GeoTIFF files.")],
    out: Annotated[Path, typer.Option(help="Folder for the tile sets.")] = Path("tiles"),
    size: Annotated[int, typer.Option(help="Side of a tile in pixels.")] = 64,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbouring tiles share.")] = 0,
    bands: Bands = None,
    stack: Stack = False,
    aoi: Aoi = None,
    mask: Mask = None,
    nodata: Nodata = None,
    min_valid: Annotated[float, typer.Option(help="Leave out tiles with a smaller valid share.")] = 0.5,
    patches: Annotated[bool, typer.Option("--patches", help="Write a GeoTIFF a tile too.")] = False,
    on_bad_tile: BadTiles = "stop",
    workers: Workers = CORES,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Split scenes into tiles."""
    from satae.cli import options
    from satae.publish import check_target
    from satae.tiles.cut import Cut, cut

    how = Cut(size, overlap, min_valid, patches, workers)
    limits = options.limits_of(aoi, mask, nodata, on_bad_tile)
    found = options.described(scenes, bands, stack, limits)
    if len({s.name for s in found}) < len(found):
        raise ConfigError("two scenes have the same file name; cut them into different folders with --out")
    made = options.made(out)
    try:
        for scene in found:
            check_target(out / scene.name, overwrite=overwrite)
        rows: list[dict[str, Any]] = []
        for scene in found:
            with Bar(f"tile {scene.name}", scene.grid.pixels, "px", quiet=state["quiet"]) as bar:
                tiles = cut(scene, out / scene.name, how, bar.add)
            record = tiles.record
            rows.append(
                {
                    "path": str(tiles.path), "scene": record.scene, "tiles": len(tiles),
                    "bands": len(record.bands), "size": record.size, "left_out": record.left_out,
                    "left_out_pixels": record.left_out_pixels, "valid_pixels": record.valid_pixels,
                }
            )  # fmt: skip
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()
    lines = [
        f"{r['path']}: {r['tiles']} tiles of {r['size']} x {r['size']} pixels, {counted(r['bands'], 'band')}"
        + (f"; {r['left_out']} tiles left out ({r['left_out_pixels']} valid pixels)" if r["left_out"] else "")
        for r in rows
    ]
    _say(as_json, {"tilesets": rows}, lines)
    _exit_if_damaged(found)


@app.command(help=MANUAL["train"])
@_explained
def train(
    tilesets: Annotated[list[Path] | None, typer.Argument(metavar="TILESET", help="Default: tiles")] = None,
    config: Annotated[Path | None, typer.Option(help="Recipe (YAML); see configs/.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The model file.")] = Path("model.onnx"),
    device: Device = "auto",
    epochs: Annotated[int | None, typer.Option(help="Same as --set train.epochs=N.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same as --set train.seed=N.")] = None,
    feedback: Feedback = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit a model to what is normal and export it to ONNX."""
    _check_device(device)
    _check_suffix(out, ".onnx")
    extra = list(changes or [])
    extra += [f"train.epochs={epochs}"] if epochs is not None else []
    extra += [f"train.seed={seed}"] if seed is not None else []
    if resume and (extra or config):
        raise ConfigError(
            "--resume goes on with the run's own recipe; leave --config, --set, --epochs, --seed out"
        )
    from satae import config as recipes
    from satae.decisions.feedback import heeded
    from satae.tiles.store import load_all

    recipe = recipes.load(config, extra)
    sets, heed = heeded(load_all(tilesets or [Path("tiles")]), feedback)

    from satae.training.run import train as learn

    run = Path("runs") / out.stem
    with Bar("train", 0, "step", quiet=state["quiet"]) as bar:

        def report(done: int, total: int, epoch: Epoch | None) -> None:
            bar.total = total
            bar.update(done, _losses(epoch) if epoch else None)

        result = learn(
            sets, recipe, out, run, device=device, resume=resume, overwrite=overwrite, report=report
        )
        bar.total = bar.done
    card = result.card
    losses = card.metrics
    lines = [
        f"{out}: {card.architecture}, {card.weights} weights, score {card.score}, {result.epochs} epochs on "
        f"{card.trained_on}, "
        f"loss {losses['train_loss']:.4g}, held out {losses['val_loss']:.4g}",
        f"ONNX equals torch to {card.parity.share_of_range:.1e} of the score's range; run in {run}",
        *heed.lines,
        *[f"! {text}" for text in result.findings[:5]],
    ]
    content = {
        "model": str(out), "run": str(run), "epochs": result.epochs, "train_loss": losses["train_loss"],
        "val_loss": losses["val_loss"], "device": card.trained_on,
        "parity": card.parity.model_dump(), "findings": result.findings,
        "feedback": asdict(heed) if feedback else None,
    }  # fmt: skip
    _say(as_json, content, lines)


@app.command(help=MANUAL["score"])
@_explained
def score(
    scenes: Annotated[
        list[Path] | None, typer.Argument(metavar="SCENE", help="Default: the scenes below tiles")
    ] = None,
    model: Annotated[Path, typer.Option(help="The model file.")] = Path("model.onnx"),
    out: Annotated[
        Path, typer.Option(help="What to write: .gpkg, or regions alone as .geojson, .parquet, .fgb.")
    ] = Path("anomalies.gpkg"),
    heatmap: Annotated[Path | None, typer.Option(help="Heatmap (GeoTIFF) to write.")] = None,
    bands: Bands = None,
    stack: Stack = False,
    aoi: Aoi = None,
    mask: Mask = None,
    nodata: Nodata = None,
    fdr: Annotated[float | None, typer.Option(help="Share of false regions to accept, 0 to 1.")] = None,
    far: Annotated[float | None, typer.Option(help="False alarms per 100 km2. [default: 10]")] = None,
    top: Annotated[int | None, typer.Option(help="Report this many regions a scene.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Heatmap value (-log10 p) to report from.")] = None,
    min_area: Annotated[float | None, typer.Option(help="Smallest region in m2. [default: 4 pixels]")] = None,
    chips: Annotated[int, typer.Option(min=0, help="Draw a picture of this many regions, by rank.")] = 100,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="A second opinion: a model, or rx_shrunk, pca, ..."),
    ] = None,
    force_domain: Annotated[bool, typer.Option("--force-domain", help="Report foreign scenes too.")] = False,
    stac: Annotated[bool, typer.Option("--stac", help="Write STAC Items of result and model.")] = False,
    feedback: Feedback = None,
    device: Device = "auto",
    on_bad_tile: BadTiles = "stop",
    workers: Workers = CORES,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Map where scenes are out of place."""
    from satae.inference.calibrate import rule_of

    _check_device(device)
    rule = rule_of(far=far, fdr=fdr, top=top, threshold=threshold)
    if min_area is not None and not min_area >= 0:
        raise ConfigError(f"--min-area {min_area} is not an area")
    from satae.cli import options
    from satae.decisions import decisions
    from satae.inference import runtime
    from satae.inference.card import now
    from satae.publish import check_target
    from satae.scoring import run as scoring
    from satae.scoring import summary

    decided = decisions.read(feedback) if feedback else None
    opened = runtime.load(model, device, threads=workers)
    limits = options.limits_of(aoi, mask, nodata, on_bad_tile)
    if scenes:
        found = options.described(scenes, bands, stack, limits)
    elif bands or stack or aoi or mask or nodata is not None:
        raise ConfigError("--bands, --stack, --aoi, --mask and --nodata need scenes to be named")
    else:
        found = options.tiled_scenes(Path("tiles"), on_bad_tile=on_bad_tile)
    if baseline:
        check_target(out, overwrite=overwrite)  # before anything is fitted
    other = _baseline(baseline, found, opened.card.tile, device, workers) if baseline else None
    how = scoring.Options(
        rule, min_area, heatmap, workers, overwrite, now(), chips=chips, baseline=other,
        force_domain=force_domain, stac=model if stac else None, feedback=decided,
    )  # fmt: skip
    with Bar("score", sum(s.grid.pixels for s in found), "px", quiet=state["quiet"]) as bar:
        result = scoring.score(found, opened, out, how, bar.add)
    for remark in summary.remarks(result) if not state["quiet"] else []:
        typer.echo(printable(f"note: {remark}"), err=True)
    _say(as_json, summary.content(result, str(rule)), summary.lines(result, str(rule)))
    _exit_if_damaged(found)


def _baseline(name: str, scenes: list[Scene], size: int, device: str, workers: int) -> Baseline:
    """A model file, or an architecture that is fitted to the scenes."""
    if Path(name).suffix == ".onnx" or Path(name).is_file():
        from satae.scoring.baseline import opened

        return opened(Path(name), device, workers)
    try:
        from satae.cli.fitting import fitted
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--baseline {name}: fitting a baseline needs torch, which is not installed; pass a model file"
        ) from error
    return fitted(name, scenes, Path("tiles"), size=size, device=device, workers=workers)


def _losses(epoch: Epoch) -> str:
    return f"epoch {epoch.epoch} loss {epoch.train_loss:.4g} / {epoch.val_loss:.4g}"


@app.command(help=MANUAL["info"])
@_explained
def info(
    path: Annotated[Path, typer.Argument(help="A scene, tile set, model or result.")],
    check: Annotated[bool, typer.Option("--check", help="Read every block.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a file is."""
    from satae.cli.info import about

    content = about(path, check=check)
    width = max(len(key) for key in content)
    lines = [f"{key:<{width}}  {_shown(value)}" for key, value in content.items()]
    _say(as_json, content, lines)


@app.command(help=MANUAL["models"])
@_explained
def models(as_json: Json = False) -> None:
    """List the architectures, losses and scores."""
    from satae.cli.catalogue import catalogue, lines

    rows = catalogue()
    _say(as_json, {"models": rows}, lines(rows))


@app.command(help=MANUAL["demo"])
@_explained
def demo(
    out: Annotated[Path, typer.Option(help="Folder to work in.")] = Path("satae-demo"),
) -> None:
    """Run the three commands on a made-up scene with planted anomalies."""
    from satae.demo.run import run

    run(out)


def _check_device(device: str) -> None:
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {device}: there are auto, cpu and cuda")


def _check_suffix(out: Path, suffix: str) -> None:
    if out.suffix.lower() != suffix:
        raise ConfigError(f"--out {out} must end in {suffix}")


def _exit_if_damaged(scenes: list[Scene]) -> None:
    places = [(s.path, w) for s in scenes for w in s.damage]
    for path, w in places[:20]:
        place = f"rows {w.row} to {w.stop[0]}, columns {w.col} to {w.stop[1]}"
        typer.echo(printable(f"note: {path}: {place} could not be decoded and were masked"), err=True)
    if places:
        raise typer.Exit(DAMAGED)


def _say(as_json: bool, content: dict[str, Any], lines: list[str]) -> None:

    if as_json:
        typer.echo(json.dumps(content, indent=1, allow_nan=False))
    else:
        typer.echo(printable("\n".join(lines)))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_shown(v) for v in value)
    return str(value)


app.command(help=MANUAL["export"])(_explained(export.command(_say)))
app.command(help=MANUAL["review"])(_explained(review.review))
app.add_typer(bench.commands(_explained, _say, state), name="bench")


def main() -> None:
    """The console script. A termination request ends a command as Ctrl-C does, with nothing left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
