"""The scene itself below its layers in QGIS: which bands of which file, and how bright."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from satae.extras import Extra
from satae.gis.qgisproject import Backdrop, Channel
from satae.report.overview import Overview
from satae.scene import products, readers
from satae.scene.scene import Scene
from satae.scene.source import Source

UNSEEN = (
    "QGIS will not show {0} below its heatmap, for it does not place what {1} holds; to see it there, run satae tile "
    "first and score the scene.tif that this puts together"
)


def below(name: str, overview: Overview) -> tuple[Backdrop | None, tuple[str, ...]]:
    """How QGIS draws a scene of which an overview was taken, and what to say where it cannot."""
    if overview.fault is not None:
        return None, ()
    with Extra(f"the picture of {name} for QGIS"):
        found = of(overview.scene, overview.bands, overview.contrast())
        return found, () if found else (UNSEEN.format(name, overview.scene.path.name),)
    return None, ()


def of(
    scene: Scene, bands: Sequence[int], contrast: Sequence[tuple[float, float]], *, scaled: bool = False
) -> Backdrop | None:
    """How QGIS draws these bands of a scene, blue before red, where they are in files that QGIS places as satae does.

    `contrast` are the values of each band that are drawn black and white: DN, or where they are `scaled` what those
    stand for.
    """
    # file and number of each band of the scene
    places = [(file.source, number) for file in scene.files for number in file.bands]
    channels = []
    for band, (low, high) in zip(bands, contrast, strict=True):
        source, number = places[band]
        place = _place(source, number)
        if place is None:
            return None
        member, at = place
        if not scaled:
            # QGIS stretches what is stored, which the product or the user may have moved, times the file's own scale
            scale, offset = readers.own_scale(source, number)
            low, high = (scale * (value - scene.shifts[band]) + offset for value in (low, high))
        channels.append(Channel(at, low, high, str(source.path.absolute()), member))
    if len({(c.file, c.member) for c in channels}) == 1:
        channels = [replace(c, file="") for c in channels]
    # bands of a picture go from blue to red, channels from red to blue
    return Backdrop(str(places[bands[0]][0].path.absolute()), tuple(reversed(channels)))


def beside(backdrop: Backdrop | None, out: Path) -> Backdrop | None:
    """A scene's picture under the names that lead to it from the folder of `out`, so that both can be moved."""
    if backdrop is None:
        return None
    channels = tuple(replace(c, file=_from(c.file, out)) for c in backdrop.channels)
    return replace(backdrop, file=_from(backdrop.file, out), channels=channels)


def _place(source: Source, number: int) -> tuple[str, int] | None:
    """What of its file GDAL calls a band's, and the number that it has there; None where GDAL would not place it."""
    if source.span is None:
        return readers.place(source, number)
    named = [name for name, span in products.spans(source.path).items() if span == source.span]
    return (named[0], number) if named else None


def _from(file: str, out: Path) -> str:
    try:
        return Path(os.path.relpath(file, out.absolute().parent)).as_posix() if file else ""
    except ValueError:  # on another drive
        return file
