"""The options that several commands have, declared once; what they mean for scenes is in `options`.

Those that go together are a dataclass. A command takes it as one parameter, and `spell_out` shows typer its fields.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from satae.errors import ConfigError

Bands = Annotated[
    str | None, typer.Option(help="Bands to use, by name or counted from 1, such as red,nir or 1-4.")
]
Stack = Annotated[bool, typer.Option("--stack", help="The files are bands of one scene.")]
Gsd = Annotated[
    float | None, typer.Option(help="Map units a pixel. [default: those of the finest band that is used]")
]
AllowNetwork = Annotated[
    bool, typer.Option("--allow-network", help="Fetch scenes from https:// and s3://, and assets of items.")
]
Cache = Annotated[
    Path | None, typer.Option(help="Folder for what is fetched. [default: the user's folder for caches]")
]
Clouds = Annotated[str, typer.Option(help="What a product says are clouds: 'mask' or 'keep'.")]
Aoi = Annotated[Path | None, typer.Option(help="Vector file; only pixels inside its polygons count.")]
AoiLayer = Annotated[
    str | None, typer.Option(metavar="NAME", help="Layer of --aoi, where several have polygons.")
]
Mask = Annotated[Path | None, typer.Option(help="Raster; only pixels where it is not 0 count.")]
Nodata = Annotated[float | None, typer.Option(help="DN that marks fill, beside what the file declares.")]
Offset = Annotated[
    float, typer.Option(help="Add this to the DN of every band, such as -1000.", show_default=False)
]
SensorName = Annotated[
    str,
    typer.Option(
        "--sensor", help="What files hold that do not say it, such as sentinel2-l2a.", show_default=False
    ),
]
BadTiles = Annotated[str, typer.Option("--on-bad-tile", help="Damaged blocks: 'stop', or 'mask' and exit 4.")]
Feedback = Annotated[
    Path | None, typer.Option(help="Reviewed layers: what was accepted and rejected counts.")
]

Fdr = Annotated[float | None, typer.Option(help="Share of false regions to accept, 0 to 1.")]
Far = Annotated[float | None, typer.Option(help="False alarms per 100 km2. [default: 10]")]
Top = Annotated[int | None, typer.Option(help="Report this many regions a scene.")]
Threshold = Annotated[float | None, typer.Option(help="Heat, -log10 p of a pixel, to report from.")]
MinArea = Annotated[float | None, typer.Option(help="Smallest region in m2. [default: 4 pixels]")]
Chips = Annotated[int, typer.Option(min=0, help="Draw a picture of this many regions, by rank.")]
ForceDomain = Annotated[
    bool, typer.Option("--force-domain", help="Report scenes too that look foreign, shifted or swapped.")
]

Config = Annotated[
    Path | None, typer.Option(metavar="NAME|FILE", help="A recipe of satae, such as areas, or a YAML file.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
]
Epochs = Annotated[int | None, typer.Option(help="Same as --set train.epochs=N.")]

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Workers = Annotated[
    int,
    typer.Option(min=1, help="Threads that read, and that infer on a CPU.", show_default="cores, up to 4"),
]
History = Annotated[
    str | None, typer.Option(metavar="A..B", help="Days to learn from, such as ..2019-12-31.")
]
Monitor = Annotated[
    str | None,
    typer.Option(metavar="A..B", help="Days to score, such as 2020-01-01.. [default: what follows]"),
]
Persistence = Annotated[
    str, typer.Option(metavar="K/N", help="An alarm is where K of the last N valid dates agree.")
]
DatePattern = Annotated[
    str | None, typer.Option(metavar="TEXT", help="How dates stand in file names, such as S2_%Y%m%d.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]


@dataclass(frozen=True)
class PixelOptions:
    """Which bands and pixels of the scenes count."""

    bands: Bands = None
    stack: Stack = False
    aoi: Aoi = None
    aoi_layer: AoiLayer = None
    mask: Mask = None
    nodata: Nodata = None
    offset: Offset = 0.0
    sensor: SensorName = ""
    gsd: Gsd = None
    clouds: Clouds = "mask"
    allow_network: AllowNetwork = False
    cache: Cache = None


@dataclass(frozen=True)
class RecipeOptions:
    """What is trained and how."""

    config: Config = None
    changes: Changes = None
    epochs: Epochs = None

    @property
    def all_changes(self) -> list[str]:
        """Changes to the recipe, those by an option of their own among them."""
        return [*(self.changes or []), *([] if self.epochs is None else [f"train.epochs={self.epochs}"])]


@dataclass(frozen=True)
class ReportOptions:
    """Which regions of a scene are reported, and how many of them are drawn."""

    fdr: Fdr = None
    far: Far = None
    top: Top = None
    threshold: Threshold = None
    min_area: MinArea = None
    chips: Chips = 100
    force_domain: ForceDomain = False

    @property
    def rules(self) -> dict[str, Any]:
        """What was said of each rule, of which one may be chosen."""
        return {"far": self.far, "fdr": self.fdr, "top": self.top, "threshold": self.threshold}


PIXELS, RECIPE, REPORT = PixelOptions(), RecipeOptions(), ReportOptions()


def spell_out(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command as typer shall see it: in place of each parameter that is a dataclass of options, its fields."""
    signature = inspect.signature(command)
    groups: dict[str, Any] = {
        n: p.annotation for n, p in signature.parameters.items() if is_dataclass(p.annotation)
    }

    @functools.wraps(command)
    def spelled(**given: Any) -> Any:
        made = {n: kind(**{f.name: given.pop(f.name) for f in fields(kind)}) for n, kind in groups.items()}
        return command(**given, **made)

    options = [option for p in signature.parameters.values() for option in _options(p)]
    spelled.__annotations__ = {option.name: option.annotation for option in options}
    spelled.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    return spelled


def _options(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """The fields of a dataclass of options as parameters; any other parameter as it is."""
    by_name = inspect.Parameter.KEYWORD_ONLY
    if not is_dataclass(parameter.annotation):
        return [parameter.replace(kind=by_name)]
    return [
        inspect.Parameter(f.name, by_name, default=f.default, annotation=f.type)
        for f in fields(parameter.annotation)
    ]


def check_device(device: str) -> None:
    """ConfigError where there is no such --device."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {device}: there are auto, cpu and cuda")


def check_area(area: float | None) -> None:
    """ConfigError where --min-area is no area."""
    if area is not None and not area >= 0:
        raise ConfigError(f"--min-area {area} is out of range: it takes square metres from 0 on")


def check_model_name(out: Path) -> None:
    """ConfigError where --out is no name of a model file."""
    if out.suffix.lower() != ".onnx":
        raise ConfigError(f"--out {out} must end in .onnx")
