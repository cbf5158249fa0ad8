"""A file that holds many dates of one place: its bands, by the dates in their names, become a scene a date.

A band belongs to the date that its name holds. What is left of the names of a date's bands once what they share is
taken off tells them apart: 2018-07-03 red and 2018-07-03 nir are red and nir.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from satae.errors import SceneError
from satae.scene.scene import File, Scene
from satae.scene.source import Band, Source
from satae.series import dates


@dataclass(frozen=True)
class DatedScene:
    """A scene and the day it was taken."""

    scene: Scene
    day: int


def tells_dates(source: Source, pattern: str | None = None) -> bool:
    """Whether the name of every band, but alpha, holds a date, and there are several."""
    # the dearest question is asked last: most files have bands without names
    names = [band.name for band in source.bands if band.colour != "alpha"]
    days = {dates.day_in(name, pattern) for name in names} if all(names) else {None}
    return None not in days and len(days) > 1


def parts(
    scene: Scene, bands: Sequence[int | str] | None = None, pattern: str | None = None
) -> list[DatedScene]:
    """The scenes of a file of which every band names a date, by date; none where a band does not or all name one.

    `bands` are those of each date that are used, by name or counted from 1. Raises SceneError where dates have
    different bands.
    """
    (file, *others) = scene.files
    if others or not tells_dates(file.source, pattern):
        return []
    numbers: dict[int, list[int]] = defaultdict(list)
    for number, band in enumerate(scene.bands):
        if (day := dates.day_in(band.name, pattern)) is not None:
            numbers[day].append(number)
    # the order of the file is of no account: each date is a scene
    named = {day: _own_names(scene, held) for day, held in numbers.items()}
    first = min(named)
    for day, names in named.items():
        if set(names) != set(named[first]):
            raise SceneError(
                f"{scene.path} has the bands {', '.join(named[first])} on {dates.text_of(first)} and "
                f"{', '.join(names)} on {dates.text_of(day)}; a cube has the same bands on every date"
            )
    used = _chosen(list(named[first]), bands, scene)
    return [DatedScene(_on_day(scene, file, day, named[day], used), day) for day in sorted(named)]


def path_of(scene: Scene) -> str:
    """Where a scene lies: of a file of many dates with the day, for the file alone is not that scene."""
    (file, *others) = scene.files
    rest = [b.name for b in file.source.bands if b.index not in file.bands and b.colour != "alpha"]
    dated = not others and bool(rest) and any(dates.day_in(name) is not None for name in rest)
    return f"{scene.path}#{scene.name}" if dated else str(scene.path)


def _own_names(scene: Scene, numbers: Sequence[int]) -> dict[str, int]:
    """The number of each band of a date, by what tells its name from the others'."""
    words = [re.findall(r"[A-Za-z0-9]+", scene.bands[n].name) for n in numbers]
    if len(numbers) == 1:
        # nothing to tell apart: what every band of the file says, such as NDVI
        every = [set(re.findall(r"[A-Za-z0-9]+", band.name)) for band in scene.bands]
        shared = set.intersection(*every)
        found = ["_".join(w for w in words[0] if w in shared and not w.isdigit())]
    else:
        shared = set.intersection(*map(set, words))
        found = ["_".join(w for w in own if w not in shared) for own in words]
    named = {name or f"band{i}": n for i, (name, n) in enumerate(zip(found, numbers, strict=True), 1)}
    if len(named) < len(numbers):
        twice = next(name for name in found if found.count(name) > 1)
        day = dates.text_of(dates.day_in(scene.bands[numbers[0]].name) or 0)
        raise SceneError(
            f"{scene.path} has the band {twice} twice on {day}; keep one of a day, or their mean"
        )
    return named


def _chosen(names: list[str], bands: Sequence[int | str] | None, scene: Scene) -> list[str]:
    """The names of the bands that are used."""
    if bands is None:
        return names
    found = []
    for band in bands:
        # by number in a date, or by name in any case
        known = {str(i): name for i, name in enumerate(names, 1)} | {name.lower(): name for name in names}
        if (name := known.get(str(band).lower())) is None:
            raise SceneError(
                f"{scene.path} has no band {band!r} on each date; it has {', '.join(names)}, counted from 1"
            )
        found.append(name)
    return found


def _on_day(scene: Scene, file: File, day: int, numbers: Mapping[str, int], used: Sequence[str]) -> Scene:
    """The scene of one date."""
    chosen = [numbers[name] for name in used]
    source = file.source
    own: list[Band] = [replace(scene.bands[n], name=name) for n, name in zip(chosen, used, strict=True)]
    of_file = {band.index: band for band in own}
    # the file's bands with their short names, so that colours are found by them
    bands = tuple(of_file.get(band.index, band) for band in source.bands)
    return replace(
        scene,
        name=f"{scene.name}_{dates.text_of(day).replace('-', '')}",
        files=(replace(file, source=replace(source, bands=bands), bands=tuple(b.index for b in own)),),
        names=tuple(used),
        dtype=str(np.result_type(*[b.dtype for b in own])),
        scales=tuple(b.scale for b in own),
        offsets=tuple(b.offset for b in own),
    )
