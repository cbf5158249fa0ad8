"""Settle what a scene is: read what its files say of themselves, refuse what cannot be judged, warn of the rest."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.errors import SceneError
from satae.grid import Grid, Window
from satae.scene import aoi, raster
from satae.scene.scene import SMALLEST, File, Limits, Scene
from satae.scene.stream import Reader
from satae.scene.tags import GDAL_NODATA, text_tags

EDGE_SAMPLES = 64  # rows of which the first and the last pixel are looked at
ALPHA_LEVELS = 16  # an alpha band with more values than this looks like data

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Band:
    """What a file says of one of its bands."""

    path: Path
    index: int
    name: str
    dtype: str
    block: tuple[int, int]
    scale: float
    offset: float
    alpha: bool
    palette: bool


def describe(
    paths: Sequence[Path], *, bands: Sequence[int] | None = None, limits: Limits | None = None
) -> Scene:
    """Read what the files say of themselves and settle bands, masks and AOI.

    Several paths are the bands of one scene and must share one grid. `bands` are 1-based, counted over all
    files; the default is every band but alpha. Raises SceneError where the files do not make a scene that
    satae can judge; logs a warning for what looks wrong but may be meant.
    """
    limits = limits or Limits()
    grids, offered = [], []
    shared, owns = _stems(paths)
    for path, own in zip(paths, owns, strict=True):
        with raster.reading(path) as dataset:
            grids.append(raster.grid_of(path, dataset))
            offered += _bands_of(path, dataset, own)
    _check_one_grid(paths, grids)
    used = _chosen(offered, bands)
    _check_usable(grids[0], used)
    scene = Scene(
        name=shared,
        files=tuple(_files(offered, used)),
        grid=grids[0],
        names=tuple(b.name for b in used),
        dtype=str(np.result_type(*[b.dtype for b in used])),
        block=used[0].block,
        scales=tuple(b.scale for b in used),
        offsets=tuple(b.offset for b in used),
        limits=limits,
        area=None if limits.aoi is None else aoi.polygons(limits.aoi, grids[0]),
    )
    _warn(scene, declared=len(offered))
    return scene


def _bands_of(path: Path, dataset: raster.Dataset, own: str) -> list[_Band]:
    """The bands of a file, by their description, else by number; `own` names the band of one in a stack."""
    names = [text or f"band{i}" for i, text in enumerate(dataset.descriptions, 1)]
    if dataset.count == 1 and own and not dataset.descriptions[0]:
        names = [own]
    return [
        _Band(
            path,
            i,
            names[i - 1],
            dataset.dtypes[i - 1],
            tuple(dataset.block_shapes[i - 1]),
            dataset.scales[i - 1],
            dataset.offsets[i - 1],
            dataset.colorinterp[i - 1] == raster.ColorInterp.alpha,
            dataset.colorinterp[i - 1] == raster.ColorInterp.palette,
        )
        for i in range(1, dataset.count + 1)
    ]


def _chosen(offered: list[_Band], bands: Sequence[int] | None) -> list[_Band]:
    path = offered[0].path
    if bands is None:
        return [b for b in offered if not b.alpha] or offered
    if not bands:
        raise SceneError("--bands names no band; give numbers such as 1,2,3 or 1-4")
    if twice := [i for i in bands if bands.count(i) > 1]:
        raise SceneError(f"--bands names band {twice[0]} twice")
    if outside := [i for i in bands if not 1 <= i <= len(offered)]:
        if len(offered) == 1:
            raise SceneError(
                f"{path} has one band and --bands asks for {outside[0]}; pass --stack if the files are bands of one "
                "scene"
            )
        raise SceneError(f"{path} has bands 1 to {len(offered)}; --bands asks for {outside[0]}")
    return [offered[i - 1] for i in bands]


def _files(offered: list[_Band], used: list[_Band]) -> Iterator[File]:
    trusted = {path: _nodata_is_readable(path) for path in dict.fromkeys(b.path for b in used)}
    for path, group in groupby(used, lambda b: b.path):
        alpha = next((b.index for b in offered if b.path == path and b.alpha and b not in used), None)
        yield File(path, tuple(b.index for b in group), alpha, trusted[path])


def _check_one_grid(paths: Sequence[Path], grids: list[Grid]) -> None:
    first = grids[0]
    for path, grid in zip(paths[1:], grids[1:], strict=True):
        if grid == first:
            continue
        difference = "state different CRSs"
        if (grid.height, grid.width) != (first.height, first.width):
            difference = f"have {grid.height} x {grid.width} and {first.height} x {first.width} pixels"
        elif grid.transform != first.transform:
            difference = "differ in origin, pixel size or rotation"
        raise SceneError(
            f"{path} and {paths[0]} {difference}, so they cannot be stacked; resample one with `gdalwarp`"
        )


def _check_usable(grid: Grid, used: list[_Band]) -> None:
    path = used[0].path
    if min(grid.height, grid.width) < SMALLEST:
        raise SceneError(
            f"{path} has {grid.height} x {grid.width} pixels; the smallest scene is {SMALLEST} x {SMALLEST}"
        )
    for band in used:
        if "complex" in band.dtype:
            raise SceneError(f"{path} band {band.index} is complex; export its magnitude to a GeoTIFF first")
        if band.palette:
            raise SceneError(
                f"{path} band {band.index} holds palette indices, not measurements; expand it with "
                "`gdal_translate -expand rgb`, or choose other bands with --bands"
            )


def _nodata_is_readable(path: Path) -> bool:
    """Whether GDAL's reading of the nodata tag can be trusted; GDAL takes a text that is no number for 0."""
    text = text_tags(path).get(GDAL_NODATA)
    try:
        value = None if text is None else float(text)
    except ValueError:
        log.warning("%s declares nodata %r, which is no number; ignored: pass --nodata V", path, text)
        return False
    with raster.reading(path) as dataset:
        kind = np.dtype(raster.numpy_dtype(dataset.dtypes[0]))
        if value is not None and kind.kind in "iu" and not _fits(value, kind):
            log.warning(
                "%s declares nodata %s, which %s cannot hold; nothing is masked by it", path, text, kind
            )
    return True


def _fits(value: float, kind: np.dtype[Any]) -> bool:
    limits = np.iinfo(kind)
    return np.isfinite(value) and value == int(value) and limits.min <= value <= limits.max


def _stems(paths: Sequence[Path]) -> tuple[str, list[str]]:
    """A name for files and layers, and what tells each file of a stack apart ('' for a single one).

    LC08_B2.tif and LC08_B3.tif share LC08 and are B2 and B3.
    """
    words = [re.split(r"[^A-Za-z0-9]+", path.stem) for path in paths]
    common = set(words[0]).intersection(*words[1:])
    shared = "_".join(w for w in words[0] if w in common) if len(paths) > 1 else paths[0].stem
    name = re.sub(r"[^\w.-]+", "_", shared).strip("._-") or "scene"
    return name, ["_".join(w for w in own if w not in common) for own in words]


def _warn(scene: Scene, *, declared: int) -> None:
    path = scene.path
    if scene.grid.crs is None:
        log.warning("%s states no CRS or no position; results are in its own coordinates", path)
    elif not scene.grid.located:
        log.warning("%s has a CRS that is not tied to the Earth; results are in its own coordinates", path)
    for file in scene.files:
        side = Path(f"{file.path}.msk")
        if side.exists() and scene.limits.mask != side:
            log.warning("%s is not read by itself; pass --mask %s to apply it", side, side)
    if np.dtype(scene.dtype).kind in "iu" and np.dtype(scene.dtype).itemsize == 8:
        log.warning("%s holds 64-bit integers, which are computed with as 32-bit floats", path)
    middle = Window(scene.grid.height // 2, 0, 1, scene.grid.width)
    with scene.handles() as handles, scene.open() as reader:
        if scene.alpha is not None and not scene.limits.salvage:
            levels = len(np.unique(raster.read(path, handles.handles[0], [scene.alpha], middle)))
            if levels > ALPHA_LEVELS:
                log.warning(
                    "%s band %d is marked as alpha but has %d values in one row; if it is data, pass --bands %s",
                    path, scene.alpha, levels, ",".join(str(i + 1) for i in range(declared)),
                )  # fmt: skip
        share = _zero_edge(scene, reader)
    if share > 0.01:
        log.warning(
            "%s: %.0f %% of its edge is 0 in every band and counts as data; pass --nodata 0 if it is fill",
            path, 100 * share,
        )  # fmt: skip


def _zero_edge(scene: Scene, reader: Reader) -> float:
    """Share of the outermost pixels that are valid and 0 in every band; a sample of them at the sides.

    Whole columns would decode the whole of a striped file, so only blocks that hold sampled rows are read.
    """
    height, width = scene.grid.height, scene.grid.width
    sampled = np.zeros(height, bool)
    sampled[np.linspace(0, height - 1, min(height, EDGE_SAMPLES)).astype(int)] = True

    def empty(window: Window) -> npt.NDArray[np.bool_]:
        image, valid = reader.read(window)
        return np.asarray((image == 0).all(axis=0) & valid)

    ends = [empty(Window(row, 0, 1, width)).mean() for row in (0, height - 1)]
    sides = []
    for part in Window(0, 0, height, 1).cells((scene.block[0], 1)):
        rows = sampled[part.row : part.stop[0]]
        if rows.any():
            sides += [empty(replace(part, col=col))[rows] for col in (0, width - 1)]
    return float((np.mean(ends) * width + np.concatenate(sides).mean() * height) / (width + height))
