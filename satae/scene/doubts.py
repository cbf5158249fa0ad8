"""What can be read and may be meant otherwise: a sentence each, with what cures it. Nothing is refused here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from satae.errors import DamageError
from satae.grid import Window
from satae.scene import raster
from satae.scene.scene import File, Scene
from satae.scene.stream import Reader

EDGE_SAMPLES = 64  # rows of which the first and the last pixel are looked at
ALPHA_LEVELS = 16  # an alpha band with more values than this looks like data
FILL_SHARE, ANY_SHARE = 0.01, 0.2  # of the edge, that one value has: a usual one for fill, and any
USUAL = (
    0,
    -1,
    -99,
    -999,
    -9999,
    -99999,
    -32767,
    -32768,
    65535,
)  # DN of fill, beside the ends of integer types
FAR = 1e20  # beyond it a number is no measurement
MAX_SIDE = 2**20  # bytes of a side file that are looked at
WORLD = (".tfw", ".tifw", ".tiffw", ".wld")
BAND = re.compile(r"<PAMRasterBand[^>]*?band=[\"'](\d+)[\"'].*?</PAMRasterBand>", re.DOTALL)
NODATA = re.compile(r"<NoDataValue[^>]*>\s*([^<\s]+)\s*<")


def doubts(scene: Scene, *, declared: int) -> Iterator[str]:
    """What the user should look at; `declared` is the number of bands in all files."""
    path = scene.path
    if scene.grid.crs is None:
        yield f"{path} states no CRS or no position; results are in its own coordinates{_position_beside(path)}"
    elif not raster.is_georeferenced(scene.grid):
        yield f"{path} has a CRS that is not tied to the Earth; results are in its own coordinates"
    for file in scene.files:
        side = Path(f"{file.path}.msk")
        if side.exists() and scene.limits.mask != side:
            yield f"{side} is not read by itself; pass --mask {side} to apply it"
        yield from _nodata_beside(file, scene.limits.nodata)
    if np.dtype(scene.dtype).kind in "iu" and np.dtype(scene.dtype).itemsize == 8:
        yield f"{path} holds 64-bit integers, which are computed with as 32-bit floats"
    middle = Window(scene.grid.height // 2, 0, 1, scene.grid.width)
    if scene.alpha is not None and not scene.limits.salvage:
        with scene.handles() as handles:
            levels = len(np.unique(handles.files[0].read([scene.alpha], middle)))
        if levels > ALPHA_LEVELS:
            every = ",".join(str(i + 1) for i in range(declared))
            yield (
                f"{path} band {scene.alpha} is marked as alpha but has {levels} values in one row; if it is data, "
                f"pass --bands {every}"
            )
    if any(f.source.slow for f in scene.files):
        return  # the edge of what was decoded is looked at, once it is
    fill = False
    # whoever reads it from the top tells of the first damaged block
    with suppress(DamageError), scene.open() as reader:
        value, share = _edge(scene, reader)
        usual = value in _usual(scene) or abs(value) > FAR
        # a scene that is the same all over has no edge to speak of
        fill = (
            share > FILL_SHARE
            if usual
            else share > ANY_SHARE and bool((reader.read(middle)[0] != value).any())
        )
    if fill:
        # as the user must type it
        shown = f"{value:.0f}" if value.is_integer() and abs(value) < FAR else repr(value)
        yield (
            f"{path}: {100 * share:.0f} % of its edge is {shown} in every band and counts as data; pass --nodata "
            f"{shown} if it is fill"
        )


def _position_beside(path: Path) -> str:
    """What to do where files beside a scene hold its position, or nothing."""
    found = [p for s in WORLD for p in (path.with_suffix(s), path.with_suffix(s.upper())) if p.exists()]
    prj = next((p for p in (path.with_suffix(".prj"), path.with_suffix(".PRJ")) if p.exists()), None)
    aux = Path(f"{path}.aux.xml")
    found += [p for p in (prj,) if p] + [aux] * any(tag in _text(aux) for tag in ("<SRS", "<GeoTransform"))
    if not found:
        return ""
    names = " and ".join(p.name for p in found)
    assign = f"-a_srs {prj.name} " if prj else ""
    return (
        f". {names} beside it {'are' if len(found) > 1 else 'is'} not read by itself; `gdal_translate {assign}"
        f"{path.name} out.tif` writes what it says into a file"
    )


def _nodata_beside(file: File, given: float | None) -> Iterator[str]:
    """Nodata that stands in GDAL's side file alone; `given` is the user's."""
    side = Path(f"{file.path}.aux.xml")
    stated = {
        int(band[1]): found[1] for band in BAND.finditer(_text(side)) if (found := NODATA.search(band[0]))
    }
    missing = []
    for index in file.bands:
        text = stated.get(index, "")
        try:
            value = float(text)
        except ValueError:
            continue
        own = file.source.bands[index - 1].nodata
        # of NaN alone is known that it is none
        if value not in (own, given) and not np.isnan(value):
            missing.append(text)
    values = list(dict.fromkeys(missing))
    if len(values) == 1:
        yield f"{side} declares nodata {values[0]} and is not read by itself; pass --nodata {values[0]} to apply it"
    elif values:
        yield (
            f"{side} declares nodata {', '.join(values)} for different bands and is not read by itself; "
            f"`gdal_translate {file.path.name} out.tif` writes it into a file"
        )


def _text(path: Path) -> str:
    """The beginning of a side file, empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIDE).decode("utf-8", "replace")
    except OSError:
        return ""


def _usual(scene: Scene) -> set[float]:
    """DN that are fill more often than they are measured."""
    kind = np.dtype(scene.dtype)
    ends = (np.iinfo(kind).min, np.iinfo(kind).max) if kind.kind in "iu" else ()
    return {float(v) for v in (*USUAL, *ends)}


def _edge(scene: Scene, reader: Reader) -> tuple[float, float]:
    """The value that most of the outermost pixels have in every band, and their share; a sample of them at the sides.

    Whole columns would decode the whole of a striped file, so only blocks that hold sampled rows are read,
    neighbouring ones at once.
    """
    height, width, depth = scene.grid.height, scene.grid.width, scene.block[0]
    sampled = np.unique(np.linspace(0, height - 1, min(height, EDGE_SAMPLES)).astype(int))
    blocks = np.unique(sampled // depth)

    def flat(window: Window) -> npt.NDArray[np.float64]:
        """The value of each pixel that has one in all bands, else NaN."""
        image, valid = reader.read(window)
        same = (image == image[0]).all(axis=0) & valid
        return np.where(same, image[0].astype(float), np.nan)

    ends = [flat(Window(row, 0, 1, width)).ravel() for row in (0, height - 1)]
    sides = []
    for run in np.split(blocks, np.flatnonzero(np.diff(blocks) > 1) + 1):
        top, bottom = int(run[0]) * depth, min(height, (int(run[-1]) + 1) * depth)
        rows = sampled[(sampled >= top) & (sampled < bottom)] - top
        sides += [flat(Window(top, col, bottom - top, 1))[rows, 0] for col in (0, width - 1)]
    values = np.concatenate([*ends, *sides])
    # each sampled side pixel stands for several
    weights = np.repeat([1.0, height / len(sampled)], [2 * width, 2 * len(sampled)])
    known = ~np.isnan(values)
    if not known.any():
        return 0.0, 0.0
    found, place = np.unique(values[known], return_inverse=True)
    totals = np.bincount(place, weights[known])
    return float(found[totals.argmax()]), float(totals.max() / (2 * width + 2 * height))
