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
    """How QGIS draws the scene, where one file that is there as it is holds all bands of the picture."""
    first = scene.files[0].source
    if (
        len(scene.files) > 1
        or overview.fault is not None
        or first.member
        or first.path.suffix.lower() in UNDRAWN
    ):
        return None
    (file,), ends = scene.files, overview.contrast()
    bands = [(file.bands[i], *end, scene.shifts[i]) for i, end in zip(overview.bands, ends, strict=True)]
    # QGIS stretches what is stored, which the product or the user may have moved
    channels = tuple(Channel(band, low - shift, high - shift) for band, low, high, shift in reversed(bands))
    return Backdrop(str(file.path.absolute()), channels)


def beside(backdrop: Backdrop | None, out: Path) -> Backdrop | None:
    """A scene's picture under the name that leads to it from the folder of `out`, so that both can be moved."""
    if backdrop is None:
        return None
    try:
        name = os.path.relpath(backdrop.file, out.absolute().parent)
    except ValueError:  # on another drive
        return backdrop
    return replace(backdrop, file=Path(name).as_posix())
