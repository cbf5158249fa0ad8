"""The options that several commands have, declared once; what they mean for scenes is in `options`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from satae.errors import ConfigError

CORES = min(4, os.cpu_count() or 1)

Bands = Annotated[str | None, typer.Option(help="Bands to use, counted from 1, such as 1,2,3 or 1-4.")]
Stack = Annotated[bool, typer.Option("--stack", help="The files are bands of one scene, on one grid.")]
Aoi = Annotated[Path | None, typer.Option(help="Vector file; only pixels inside its polygons count.")]
Mask = Annotated[Path | None, typer.Option(help="Raster; only pixels where it is not 0 count.")]
Nodata = Annotated[float | None, typer.Option(help="DN that marks fill, beside what the file declares.")]
BadTiles = Annotated[str, typer.Option("--on-bad-tile", help="Damaged blocks: 'stop', or 'mask' and exit 4.")]
Feedback = Annotated[
    Path | None, typer.Option(help="Reviewed layers: what was accepted and rejected counts.")
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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]


def check_device(device: str) -> None:
    """ConfigError where there is no such --device."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {device}: there are auto, cpu and cuda")


def check_model_name(out: Path) -> None:
    """ConfigError where --out is no name of a model file."""
    if out.suffix.lower() != ".onnx":
        raise ConfigError(f"--out {out} must end in .onnx")


def recipe_changes(
    changes: list[str] | None, epochs: int | None = None, seed: int | None = None
) -> list[str]:
    """Changes to a recipe, those by options of their own among them."""
    out = list(changes or [])
    out += [f"train.epochs={epochs}"] if epochs is not None else []
    out += [f"train.seed={seed}"] if seed is not None else []
    return out
