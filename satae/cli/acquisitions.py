"""The scenes of a series as they were typed, and the day of each: lists, tables, items, folders, cubes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from satae.batch import manifest
from satae.batch.manifest import Entry
from satae.cli import options, rows
from satae.cli.flags import PixelOptions
from satae.console import Steps
from satae.errors import ConfigError, SceneError
from satae.scene import products, readers
from satae.scene.describe import describe, file_name
from satae.scene.scene import Scene
from satae.series import cubes, dates, outputs

# in a folder, beside what `satae run` looks for: headers of ENVI, and items, which lie beside their images
IMAGES = (*manifest.IMAGES, ".hdr", ".json", ".geojson", ".nc")
NAME = "name"
DAYS = "date", "datetime"  # columns of a table, the first that a row has counts


def scenes_of(
    names: Sequence[str],
    pattern: str | None,
    counted: PixelOptions,
    steps: Steps,
    own: Sequence[Path] = (),
) -> tuple[list[Scene], list[int]]:
    """The scenes that are named, or listed in what is named, and the day of each.

    `own` are files that the command writes. They are no scenes, nor is any older result that lies in a folder.
    """
    if counted.stack:
        raise ConfigError(
            "--stack makes one scene of all files, and a series has a scene a date; leave it out"
        )
    named = list(manifest.entries(names, (NAME, *DAYS, *rows.COLUMNS), images=IMAGES))
    older = [out for folder in {Path(e.paths[0]).parent for e in named} for out in folder.glob("*.gpkg")]
    ours = {path.absolute() for path in (*own, *(file for out in older for file in outputs.targets(out)))}
    entries = [entry for entry in named if Path(entry.paths[0]) not in ours]
    if not entries:
        raise SceneError(f"{', '.join(names[:3])} holds no scene or product; name the files")
    found: list[cubes.DatedScene] = []
    with steps.stage("describe scenes", len(entries), "scene") as bar:
        for entry in entries:
            found += _scenes(entry, pattern, counted, steps)
            bar.add(1)
    return [of.scene for of in found], [of.day for of in found]


def _scenes(
    entry: Entry, pattern: str | None, counted: PixelOptions, steps: Steps
) -> Iterator[cubes.DatedScene]:
    """What one entry stands for: a scene and its day, or one for each date of a file of many."""
    given = dict(entry.options)
    counted = entry.request(partial(rows.pixels_of, counted))
    bands = options.chosen_bands(counted.bands)
    paths = options.local_paths(list(entry.paths), counted, steps)
    told = next((given[name] for name in DAYS if name in given), None)
    if told is None and len(paths) == 1 and (held := _cube(paths[0], bands, pattern, counted)):
        yield from held
        return
    scene = describe(paths, bands=bands, limits=options.limits_of(counted, "stop"), gsd=counted.gsd)
    if NAME in given:
        scene = replace(scene, name=file_name(given[NAME]))
    day = dates.day_of(scene, pattern) if told is None else dates.day_of_cell(told, scene.path)
    yield cubes.DatedScene(scene, day)


def _cube(
    path: Path, bands: Sequence[int | str] | None, pattern: str | None, counted: PixelOptions
) -> list[cubes.DatedScene]:
    """The scenes of a file of many dates; none of any other file."""
    if (
        not path.is_file()
        or products.at(path) is not None
        or not cubes.tells_dates(readers.source(path), pattern)
    ):
        return []
    whole = describe([path], limits=options.limits_of(counted, "stop"), gsd=counted.gsd)
    return cubes.parts(whole, bands, pattern)
