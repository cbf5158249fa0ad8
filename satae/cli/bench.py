"""The commands `satae bench ...`: methods on known scenes, a table and paths out.

Each makes a job, which `_do` does under a bar; heavy imports live inside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satae.cli.flags import (
    PIXELS,
    RECIPE,
    Bands,
    Changes,
    DatePattern,
    Device,
    Epochs,
    History,
    Json,
    Mask,
    Monitor,
    Nodata,
    Overwrite,
    Persistence,
    PixelOptions,
    RecipeOptions,
    check_device,
)  # fmt: skip
from satae.cli.lists import devices_of, numbers_of, seeds_of
from satae.cli.output import DAMAGED, note, say
from satae.console import Steps
from satae.errors import ConfigError

if TYPE_CHECKING:
    from satae.bench.contest import Case, Contest

Said = tuple[dict[str, Any], list[str], list[str]]  # content for scripts, table for people, remarks
Progress = Callable[[float, float, str], None]  # how much is done, of how much, and what
Job = Callable[[Progress], Said]

Seeds = Annotated[str, typer.Option(help="Seeds to train with, such as 0,1,2.")]
Seed = Annotated[int, typer.Option(help="Seed of the training and of what is planted.")]
Library = Annotated[bool, typer.Option("--library", help="One model on all scenes, not one a scene.")]
Far = Annotated[float, typer.Option(help="False alarms per 100 km2 at which regions are counted.")]
MaskSuffix = Annotated[
    str | None,
    typer.Option(help="NAME + this is a raster; only pixels where it is over 0 are trained on and scored."),
]
EvaluateIn = Annotated[
    str | None, typer.Option(help="NAME + this is a raster; only pixels where it is over 0 are measured.")
]
Devices = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="A training on each at once, such as 0,1 (GPUs) or cpu,cpu; in place of --device.",
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Threads that infer on a CPU.")]
Out = Annotated[Path, typer.Option(help="Folder for table, JSON and pictures.")]
FAR = 20.0


@dataclass(frozen=True)
class TrialOptions:
    """How often and on what a recipe is trained, and where the methods are compared."""

    seeds: Seeds = "0"
    library: Library = False
    far: Far = FAR
    devices: Devices = None


@dataclass(frozen=True)
class RasterOptions:
    """What of rasters is trained on and measured."""

    bands: Bands = None
    mask_suffix: MaskSuffix = None
    evaluate_in: EvaluateIn = None


@dataclass(frozen=True)
class MachineOptions:
    """What computes."""

    device: Device = "auto"
    workers: Workers = 1


@dataclass(frozen=True)
class OutputOptions:
    """What is written and printed."""

    out: Out = Path("bench")
    overwrite: Overwrite = False
    as_json: Json = False


TRIAL, MACHINE, OUTPUT = TrialOptions(), MachineOptions(), OutputOptions()


def had(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of .mat files with data and map.")],
    settings: RecipeOptions = RECIPE,
    trial: TrialOptions = TRIAL,
    machine: MachineOptions = MACHINE,
    output: OutputOptions = OUTPUT,
) -> None:
    """Hyperspectral scenes with known targets."""
    from satae.bench.contest import mat_cases

    contest = _contest(settings, trial, machine)
    _do(
        context,
        "had",
        _job("had", lambda work: mat_cases(folder, work), contest, trial, machine, output),
        output,
    )


def ships(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of NAME.tif, each with a NAME_shipmask.tif.")],
    read: RasterOptions = RasterOptions(),
    settings: RecipeOptions = RECIPE,
    trial: TrialOptions = TRIAL,
    machine: MachineOptions = MACHINE,
    output: OutputOptions = OUTPUT,
) -> None:
    """Ports with labelled ships."""
    from satae.bench.contest import ship_cases
    from satae.cli.options import chosen_bands

    contest = _contest(settings, trial, machine)
    numbers = chosen_bands(read.bands)

    def cases(_: Path) -> "list[Case]":
        return ship_cases(folder, numbers, read.mask_suffix, read.evaluate_in)

    _do(context, "ships", _job("ships", cases, contest, trial, machine, output), output)


def masks(
    context: typer.Context,
    scenes: Annotated[list[Path], typer.Argument(metavar="SCENE", help="GeoTIFF files.")],
    truth: Annotated[
        list[Path], typer.Option(help="Truth raster, over 0 where a target is; one a scene, in their order.")
    ],
    read: RasterOptions = RasterOptions(),
    settings: RecipeOptions = RECIPE,
    trial: TrialOptions = TRIAL,
    machine: MachineOptions = MACHINE,
    output: OutputOptions = OUTPUT,
) -> None:
    """Any scenes with truth rasters."""
    if len(scenes) != len(truth):
        raise ConfigError(
            f"{len(scenes)} scenes and {len(truth)} truth rasters are named; give one --truth a scene"
        )
    from satae.bench.contest import raster_case
    from satae.cli.options import chosen_bands

    contest = _contest(settings, trial, machine)
    numbers, pairs = chosen_bands(read.bands), list(zip(scenes, truth, strict=True))

    def cases(_: Path) -> "list[Case]":
        return [
            raster_case(scene, mask, numbers, read.mask_suffix, read.evaluate_in) for scene, mask in pairs
        ]

    _do(context, "masks", _job("masks", cases, contest, trial, machine, output), output)


def inject(
    context: typer.Context,
    scene: Annotated[Path, typer.Argument(help="GeoTIFF file.")],
    bands: Bands = None,
    mask: Mask = None,
    nodata: Nodata = None,
    sizes: Annotated[str, typer.Option(help="Widths of the targets in pixels.")] = "1,2,4,8,16",
    contrasts: Annotated[
        str, typer.Option(help="Of synthetic targets, in standard deviations of each band.")
    ] = "0.5,1,2,4",
    shares: Annotated[str, typer.Option(help="Of transplanted pixels in the mixture.")] = "0.25,0.5,1",
    number: Annotated[int, typer.Option(min=1, help="Targets of each size and contrast.")] = 30,
    far: Annotated[float, typer.Option(help="False alarms to expect per 100 km2.")] = 10.0,
    min_pixels: Annotated[int, typer.Option(min=1, help="Smallest region to report, in pixels.")] = 4,
    settings: RecipeOptions = RECIPE,
    seed: Seed = 0,
    machine: MachineOptions = MACHINE,
    output: OutputOptions = OUTPUT,
) -> None:
    """Plant targets into a scene and look for them."""
    from satae.bench.planted import Planting, run
    from satae.cli.options import chosen_bands
    from satae.scene.describe import describe
    from satae.scene.scene import Limits

    widths = numbers_of("--sizes", sizes)
    if any(w != int(w) for w in widths):
        raise ConfigError(f"--sizes {sizes} is not a list of whole numbers such as 1,2,4")
    levels = numbers_of("--contrasts", contrasts), numbers_of("--shares", shares)
    planting = Planting(tuple(map(int, widths)), *levels, number, far, min_pixels)
    contest = _contest(settings, TrialOptions(seeds=str(seed)), machine)
    described = describe([scene], bands=chosen_bands(bands), limits=Limits(mask=mask, nodata=nodata))

    def job(progress: Progress) -> Said:
        return run(described, contest, planting, output.out, overwrite=output.overwrite, progress=progress)

    _do(context, "inject", job, output)


def cifar10(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="CIFAR-10 as distributed: an archive, or a folder of batches.")],
    task: Annotated[str, typer.Option(help="reconstruction or one-class.")] = "reconstruction",
    families: Annotated[
        str, typer.Option(help="Recipes of satae, .yaml files or architectures, between commas.")
    ] = "cifar10,cifar10_refined",
    classes: Annotated[str | None, typer.Option(help="Classes by name or number; all without.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Images to learn from (of each class); 0 for all.")] = 0,
    changes: Changes = None,
    epochs: Epochs = None,
    seeds: Seeds = "0",
    device: Device = "auto",
    devices: Devices = None,
    output: OutputOptions = OUTPUT,
) -> None:
    """Families on small images beside PCA."""
    check_device(device)
    several = devices_of(devices, device)
    from satae.bench.cifar_report import class_numbers, run
    from satae.bench.families import families as recipes
    from satae.bench.trainings import Contest

    names = [name.strip() for name in families.split(",")]
    found = recipes(names, RecipeOptions(changes=changes, epochs=epochs).all_changes)
    normal = {} if classes is None else {"classes": class_numbers(classes)}
    contest = Contest(task, found, seeds=seeds_of(seeds), limit=limit, device=device, **normal)

    def job(progress: Progress) -> Said:
        return run(data, contest, output.out, devices=several, overwrite=output.overwrite, progress=progress)

    _do(context, "cifar10", job, output)


def series(
    context: typer.Context,
    scenes: Annotated[
        list[str], typer.Argument(metavar="SCENE", help="A folder of scenes of one place, or scenes.")
    ],
    history: History = None,
    monitor: Monitor = None,
    far: Annotated[
        float, typer.Option(help="False alarms per km2 and year that every method may raise.")
    ] = 1.0,
    persistence: Persistence = "2/3",
    min_pixels: Annotated[int, typer.Option(min=1, help="Smallest region in pixels.")] = 4,
    kinds: Annotated[str, typer.Option(help="Of changes: step, slow, spike.")] = "step,slow,spike",
    contrasts: Annotated[
        str, typer.Option(help="Of changes, in deviations of one date, root mean square over bands.")
    ] = "2,4,8",
    number: Annotated[int, typer.Option(min=1, help="Changes in each round.")] = 36,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of planting.")] = 6,
    steady: Annotated[
        float, typer.Option(help="Share of the place that counts: what varied least in its history.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is planted.")] = 0,
    steps: Annotated[
        int, typer.Option(min=0, help="Of training sequence_rnn and sequence_transformer; 0 leaves them out.")
    ] = 0,
    date_pattern: DatePattern = None,
    counted: PixelOptions = PIXELS,
    output: OutputOptions = OUTPUT,
) -> None:
    """Plant changes into a series of one place and look for them."""
    from satae.bench.changes import Planting
    from satae.bench.series import bench
    from satae.cli.acquisitions import scenes_of
    from satae.cli.series import options_of

    options = options_of(history, monitor, "auto", far, persistence, min_pixels, output.overwrite)
    kept = tuple(kind.strip() for kind in kinds.split(","))
    planting = Planting(
        kept,
        numbers_of("--contrasts", contrasts),
        number=number,
        rounds=rounds,
        steady=steady,
        seed=seed,
        steps=steps,
    )
    found, days = scenes_of(scenes, date_pattern, counted, context.obj)

    def job(progress: Progress) -> Said:
        return bench(
            found, days, options, planting, output.out, overwrite=output.overwrite, progress=progress
        )

    _do(context, "series", job, output)


def dates(
    context: typer.Context,
    scenes: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENE", help="A folder of scenes of one place, or scenes; the last is masked."
        ),
    ],
    truth: Annotated[
        Path, typer.Option(help="Raster on the grid of the last scene, over 0 where it changed.")
    ],
    date_pattern: DatePattern = None,
    counted: PixelOptions = PIXELS,
    output: OutputOptions = OUTPUT,
) -> None:
    """A masked change beside the dates before it."""
    from satae.bench.dates import bench
    from satae.cli.acquisitions import scenes_of

    found, days = scenes_of(scenes, date_pattern, counted, context.obj)

    def job(progress: Progress) -> Said:
        return bench(found, days, truth, output.out, overwrite=output.overwrite, progress=progress)

    _do(context, "dates", job, output)


def _do(context: typer.Context, name: str, job: Job, output: OutputOptions) -> None:
    """Do the job under a bar and say what came of it."""
    steps: Steps = context.obj
    with steps.stage(f"bench {name}", 0, "map", brief=0) as bar:

        def progress(done: float, total: float, note: str) -> None:
            bar.total = total
            bar.update(done, note)

        content, table, remarks = job(progress)
        bar.update(bar.total, "")
    note([] if steps.quiet else remarks)
    say(output.as_json, content, [*table, f"written to {content['out']}"])
    if content.get("failed"):
        raise typer.Exit(DAMAGED)


def _contest(settings: RecipeOptions, trial: TrialOptions, machine: MachineOptions) -> "Contest":
    """The recipe and what it is called in the table: its file, else its architecture, else `default`."""
    check_device(machine.device)
    from satae import config as recipes
    from satae.bench.contest import CLASSICS, Contest

    recipe = recipes.load(settings.config, settings.all_changes)
    named = recipe.model.name if "name" in recipe.model.model_fields_set else "default"
    name = settings.config.stem if settings.config else named
    if name in CLASSICS and name != named:
        name = f"{name}.yaml"  # a recipe of that name that is no such classic
    return Contest(recipe, name, seeds_of(trial.seeds), trial.library, machine.device, machine.workers)


def _job(
    kind: str,
    cases: "Callable[[Path], list[Case]]",
    contest: "Contest",
    trial: TrialOptions,
    machine: MachineOptions,
    output: OutputOptions,
) -> Job:
    if not trial.far > 0:
        raise ConfigError(f"--far {trial.far:g} is out of range")
    several = devices_of(trial.devices, machine.device)
    from satae.bench.report import run

    return lambda progress: run(
        kind,
        cases,
        contest,
        output.out,
        far=trial.far,
        devices=several,
        overwrite=output.overwrite,
        progress=progress,
    )
