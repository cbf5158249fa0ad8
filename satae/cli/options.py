"""What the options of `tile` and `score` mean: names and numbers become scenes, settled before work begins."""

from __future__ import annotations

import logging
from pathlib import Path

from satae.cli.flags import PixelOptions
from satae.errors import ConfigError, OutputError
from satae.scene.alike import same
from satae.scene.describe import describe
from satae.scene.raster import MAX_BANDS
from satae.scene.scene import Limits, Scene
from satae.tiles.cut import scene_again
from satae.tiles.store import load_all

log = logging.getLogger(__name__)


def scenes_at(paths: list[Path], bands: str | None, stack: bool, limits: Limits) -> list[Scene]:
    """A scene a file, or one of all files with `stack`; ConfigError, SceneError where one cannot be used."""
    groups = [paths] if stack else [[p] for p in paths]
    found = [describe(group, bands=band_numbers(bands), limits=limits) for group in groups]
    if len(found) > 1 and all(len(s.names) == 1 and same(s.grid, found[0].grid) for s in found):
        log.warning(
            "%d single-band files on one grid are taken as %d scenes; pass --stack if they are bands of one",
            len(found),
            len(found),
        )
    return found


def scenes_of_tiles(folder: Path, *, on_bad_tile: str) -> list[Scene]:
    """The scenes of the tile sets below a folder, with the limits that they were cut with."""
    salvage = salvages(on_bad_tile)
    return [scene_again(tiles.record, salvage=salvage) for tiles in load_all([folder])]


def limits_of(given: PixelOptions, on_bad_tile: str) -> Limits:
    """The options that restrict which pixels count."""
    if given.aoi_layer is not None and given.aoi is None:
        raise ConfigError(
            f"--aoi-layer {given.aoi_layer} names a layer of the file that --aoi names; pass that too"
        )
    return Limits(given.aoi, given.mask, given.nodata, salvages(on_bad_tile), given.aoi_layer)


def salvages(on_bad_tile: str) -> bool:
    """Whether damaged blocks are masked."""
    if on_bad_tile not in ("stop", "mask"):
        raise ConfigError(f"--on-bad-tile {on_bad_tile}: there are stop and mask")
    return on_bad_tile == "mask"


def band_numbers(text: str | None) -> list[int] | None:
    """1,2,3 or 1-4 or both as numbers; ConfigError for anything else."""
    if text is None:
        return None
    try:
        numbers: list[int] = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            start, stop = int(first), int(last if dash else first)
            if not 1 <= start <= stop <= MAX_BANDS:
                raise ValueError(part)
            numbers += range(start, stop + 1)
    except ValueError as error:
        raise ConfigError(f"--bands {text} is not a list of numbers such as 1,2,3 or 1-4") from error
    return numbers


def make_folder(folder: Path) -> bool:
    """Make a folder that is missing; whether it was. OutputError where it cannot be."""
    try:
        folder.mkdir()
    except FileNotFoundError:
        raise OutputError(
            f"{folder} cannot be made: there is no folder {folder.parent}; make it first"
        ) from None
    except FileExistsError:
        if folder.is_dir():
            return False
        raise OutputError(f"{folder} is a file; choose another --out") from None
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}") from error
    return True
