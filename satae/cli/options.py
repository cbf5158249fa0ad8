"""What the options of `tile` and `score` mean: names and numbers become scenes, settled before work begins."""

from __future__ import annotations

import logging
import math
import re
from contextlib import suppress
from pathlib import Path

from satae.cli.flags import PixelOptions
from satae.console import Steps
from satae.errors import ConfigError, SceneError, TilesError
from satae.scene.alike import same
from satae.scene.describe import describe
from satae.scene.items import holds_items, is_link
from satae.scene.raster import MAX_BANDS
from satae.scene.scene import Limits, Scene
from satae.tiles.cut import scene_again, tiled_copy
from satae.tiles.store import load, load_all, tile_sets

log = logging.getLogger(__name__)


def scenes_at(
    paths: list[Path], bands: str | None, stack: bool, limits: Limits, gsd: float | None = None
) -> list[Scene]:
    """A scene a file or product, or one of all files with `stack`; ConfigError, SceneError where one cannot be used."""
    groups = [paths] if stack else [[path] for path in paths]
    found = [describe(group, bands=chosen_bands(bands), limits=limits, gsd=gsd) for group in groups]
    if len(found) > 1 and all(len(s.names) == 1 and same(s.grid, found[0].grid) for s in found):
        log.warning(
            "%d single-band files on one grid are taken as %d scenes; pass --stack if they are bands of one",
            len(found),
            len(found),
        )
    return found


def local_paths(names: list[str], counted: PixelOptions, steps: Steps) -> list[Path]:
    """Paths and addresses as files on this machine, an item of STAC each; SceneError where one must not be fetched."""
    if not any(is_link(name) or holds_items(Path(name)) for name in names):
        return [Path(name) for name in names]
    # with it come clients of servers, which files do not need
    from satae.fetch import scenes

    folder = {} if counted.cache is None else {"folder": counted.cache}
    network = scenes.Network(counted.allow_network, **folder)
    return scenes.local(names, chosen_bands(counted.bands), network, steps)


def check_there(names: list[str]) -> None:
    """SceneError for the first scene that is no file or folder; an address is looked for when it is fetched."""
    for name in names:
        # behind # stands a part of what a file holds
        if not is_link(name) and not Path(name).exists() and not Path(name.partition("#")[0]).exists():
            raise SceneError(f"{name} does not exist")


def tiled_copies(scenes: list[Scene], folder: Path) -> list[Scene]:
    """The scenes, those of products as tile sets below a folder hold them, where they were cut with these options."""
    if all(s.is_plain for s in scenes) or not folder.is_dir():
        return scenes
    # a product is decoded once: the tile set holds it in a format that is quickly read
    sets = []
    for path in tile_sets(folder):
        # the others have no part in this: they may be of another sensor, or damaged
        with suppress(TilesError):
            sets.append(load(path))
    return [s if s.is_plain else tiled_copy(s, sets) or s for s in scenes]


def scenes_of_tiles(folder: Path, *, on_bad_tile: str) -> list[Scene]:
    """The scenes of the tile sets below a folder, with the limits that they were cut with."""
    salvage = salvages(on_bad_tile)
    return [scene_again(tiles.record, salvage=salvage) for tiles in load_all([folder])]


def limits_of(given: PixelOptions, on_bad_tile: str) -> Limits:
    """The options that say which pixels count, and what is added to them."""
    if given.aoi_layer is not None and given.aoi is None:
        raise ConfigError(
            f"--aoi-layer {given.aoi_layer} names a layer of the file that --aoi names; pass that too"
        )
    if given.clouds not in ("mask", "keep"):
        raise ConfigError(f"--clouds {given.clouds}: there are mask and keep")
    if not math.isfinite(given.offset):
        raise ConfigError(f"--offset {given.offset} is no number to add")
    return Limits(
        given.aoi, given.mask, given.nodata, salvages(on_bad_tile), given.aoi_layer, given.clouds == "keep",
        given.offset, given.sensor,
    )  # fmt: skip


def salvages(on_bad_tile: str) -> bool:
    """Whether damaged blocks are masked."""
    if on_bad_tile not in ("stop", "mask"):
        raise ConfigError(f"--on-bad-tile {on_bad_tile}: there are stop and mask")
    return on_bad_tile == "mask"


def chosen_bands(text: str | None) -> list[int | str] | None:
    """1,2,3 or 1-4 as numbers, red,nir as names, or both; ConfigError for numbers that are none."""
    if text is None:
        return None
    chosen: list[int | str] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            if not re.search("[A-Za-z]", part):
                raise ConfigError(
                    f"--bands {text} is not a list of numbers such as 1,2,3 or 1-4, or of names"
                )
            chosen.append(part.strip())
            continue
        start, stop = int(first), int(last if dash else first)
        if not 1 <= start <= stop <= MAX_BANDS:
            raise ConfigError(f"--bands {text} is not a list of numbers such as 1,2,3 or 1-4")
        chosen += range(start, stop + 1)
    return chosen
