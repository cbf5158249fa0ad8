"""The scene itself below its layers in QGIS: which bands of which file, and how bright."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from satae.gis.qgisproject import Backdrop, Channel
from satae.report.overview import Overview
from satae.scene.scene import Scene

UNDRAWN = (".nc", ".h5", ".he5")  # whose bands QGIS finds under names inside alone


def of(scene: Scene, overview: Overview) -> Backdrop | None:
    """How QGIS draws the scene, where the bands of the picture are in files that QGIS reads."""
    if overview.fault is not None:
        return None
    # file and number of each band of the scene
    places = [(file, number) for file in scene.files for number in file.bands]
    chosen = [places[i] for i in overview.bands]
    # a member of a .tar is known by its bytes alone
    if any(f.path.suffix.lower() in UNDRAWN or f.source.span for f, _ in chosen):
        return None
    ends = zip(overview.contrast(), (scene.shifts[i] for i in overview.bands), strict=True)
    several = len({(file.path, file.source.member) for file, _ in chosen}) > 1
    # QGIS stretches what is stored, which the product or the user may have moved
    channels = [
        Channel(
            number,
            low - shift,
            high - shift,
            str(file.path.absolute()) if several else "",
            file.source.member or "",
        )
        for (file, number), ((low, high), shift) in zip(chosen, ends, strict=True)
    ]
    # bands of a picture go from blue to red, channels from red to blue
    return Backdrop(str(chosen[0][0].path.absolute()), tuple(reversed(channels)))


def beside(backdrop: Backdrop | None, out: Path) -> Backdrop | None:
    """A scene's picture under the names that lead to it from the folder of `out`, so that both can be moved."""
    if backdrop is None:
        return None
    channels = tuple(replace(c, file=_from(c.file, out)) for c in backdrop.channels)
    return replace(backdrop, file=_from(backdrop.file, out), channels=channels)


def _from(file: str, out: Path) -> str:
    try:
        return Path(os.path.relpath(file, out.absolute().parent)).as_posix() if file else ""
    except ValueError:  # on another drive
        return file
