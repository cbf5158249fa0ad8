"""A baseline that is named and not given: fitted, exported and calibrated as `satae train` would, then dropped.

Needs torch; what only scores does not import it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from satae import config, models
from satae.console import SILENT, Steps
from satae.errors import ConfigError, TilesError
from satae.inference import runtime
from satae.interrupts import tidying
from satae.scene.scene import Scene
from satae.scoring.baseline import Baseline
from satae.tiles.cut import Cut, cut
from satae.tiles.store import TileSet, load, tile_sets
from satae.training.run import train


def fit_baseline(
    name: str,
    scenes: Sequence[Scene],
    folder: Path,
    *,
    size: int,
    device: str,
    workers: int,
    steps: Steps = SILENT,
) -> Baseline:
    """The architecture `name` with its defaults, fitted to the scenes' own tiles.

    Those are their tile sets below `folder` where all have one, else tiles of `size` pixels that are cut for
    the purpose and removed. Raises ConfigError where there is no such architecture, and what `cut` and
    `train` raise.
    """
    if name not in models.NAMES:
        raise ConfigError(
            f"--baseline {name} is neither a model file nor an architecture; there are "
            f"{', '.join(models.NAMES)}"
        )
    recipe = config.load(None, [f"model.name={name}"])
    with tidying(), tempfile.TemporaryDirectory(prefix="satae-") as place:
        sets = own_tiles(scenes, folder)
        if sets is None:
            how = Cut(size=size, workers=workers)
            sets = [cut(s, Path(place) / f"tiles-{i}", how, steps) for i, s in enumerate(_distinct(scenes))]
        out = Path(place) / f"{name}.onnx"
        train(sets, recipe, out, Path(place) / "run", device=device, steps=steps)
        return Baseline(name, runtime.load(out, device, workers))


def own_tiles(scenes: Sequence[Scene], folder: Path) -> list[TileSet] | None:
    """The tile sets below a folder that were cut from these scenes, or None where one has none."""
    there = {}
    for path in tile_sets(folder):
        try:
            tiles = load(path)
        except TilesError:
            continue
        files = tuple((f.path, tuple(f.bands)) for f in tiles.record.files)
        r = tiles.record
        there[files, r.aoi, r.aoi_layer, r.mask, r.nodata, r.offset, r.sensor] = tiles
    keys = [_key(s) for s in _distinct(scenes)]
    chosen = [there[k] for k in keys if k in there]
    same = len({(t.record.size, t.record.dtype) for t in chosen}) == 1
    return chosen if same and len(chosen) == len(keys) else None


def _key(scene: Scene) -> tuple[object, ...]:
    limits = scene.limits
    aoi, mask = (str(p.absolute()) if p else None for p in (limits.aoi, limits.mask))
    return (
        tuple((str(f.path.absolute()), tuple(f.bands)) for f in scene.files),
        aoi,
        limits.aoi_layer,
        mask,
        limits.nodata,
        limits.offset,
        limits.sensor,
    )


def _distinct(scenes: Sequence[Scene]) -> list[Scene]:
    """Scenes without those that are named twice, of which no part could be held out."""
    return list({_key(s): s for s in scenes}.values())
