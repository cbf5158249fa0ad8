"""What a row of a table asks for, in place of the options of a command."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satae.cli.flags import PIXELS, PixelOptions
from satae.errors import ConfigError

if TYPE_CHECKING:
    from satae.batch.task import Request

# columns that say which pixels count, with what their text means
COLUMNS: dict[str, Callable[[str], Any]] = {
    "nodata": float, "offset": float, "gsd": float, "bands": str, "aoi": Path, "aoi_layer": str, "mask": Path,
    "sensor": str, "clouds": str,
}  # fmt: skip


def pixels_of(counted: PixelOptions, row: tuple[tuple[str, str], ...]) -> PixelOptions:
    """The options of a command with those of a row in their place."""
    return replace(
        counted, **{name: number(name, text, COLUMNS[name]) for name, text in row if name in COLUMNS}
    )


def asked_of(
    row: tuple[tuple[str, str], ...], counted: PixelOptions = PIXELS, on_bad_tile: str = "stop"
) -> "Request":
    """Which bands and pixels of a scene count, by its row and the options of the command."""
    from satae.batch.task import Request
    from satae.cli import options

    own = pixels_of(counted, row)
    bands = options.chosen_bands(own.bands)
    return Request(None if bands is None else tuple(bands), options.limits_of(own, on_bad_tile), own.gsd)


def number(name: str, text: str, kind: Callable[[str], Any]) -> Any:
    """A text of a table as what it means; ConfigError where it is no number."""
    try:
        return kind(text)
    except (ValueError, OverflowError):
        what = "whole number" if kind is whole else "number"
        raise ConfigError(f"the column {name} has {text!r}, which is no {what}") from None


def whole(text: str) -> int:
    """A whole number, which a table of floating-point numbers has as 3.0; ValueError where it is none."""
    number = float(text)
    if number != int(number):
        raise ValueError(text)
    return int(number)
