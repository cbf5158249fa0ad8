"""Settle what a scene is: read what its files say of themselves, refuse what cannot be judged, warn of the rest."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import alike, bandnames, dark_end, products, raster, readers, sensors
from satae.scene.alignment import common_grid
from satae.scene.doubts import doubts
from satae.scene.scene import SMALLEST, File, Limits, Scene
from satae.scene.source import Band, Source

if TYPE_CHECKING:
    from satae.scene.area import Area

NAME_BYTES = 120  # file systems take 255, of which `<result>_<scene>_heatmap.tif` and the like leave half
ALPHA, PALETTE = "alpha", "palette"  # colours of bands that are no measurements

log = logging.getLogger(__name__)


Offer = tuple[Source, Band]


def describe(
    paths: Sequence[Path],
    *,
    bands: Sequence[int | str] | None = None,
    limits: Limits | None = None,
    gsd: float | None = None,
    warn: bool = True,
) -> Scene:
    """Read what the files, or a product, say of themselves and settle bands, grid, masks and AOI.

    Several paths are the bands of one scene; a single one may be a product. `bands` are names, or numbers from 1 on
    counted over all files; the default is every band but alpha, of a product its usual ones. The grid is that of the
    finest band used, or has pixels of `gsd` map units: coarser bands are brought to it by nearest neighbour, finer ones
    by mean. Raises SceneError where the files do not make a scene that satae can judge; logs a warning for what looks
    wrong but may be meant, unless `warn` is False.
    """
    limits = limits or Limits()
    sensors.check_name(limits.sensor)
    product = products.at(paths[0]) if len(paths) == 1 else None
    if product is None:
        shared, words = _stems(paths)
        owns = dict(zip(paths, words, strict=True))
        sources = [_named(readers.source(path), own) for path, own in zip(paths, words, strict=True)]
        offered = [(source, band) for source in sources for band in source.bands]
        if not limits.sensor and (found := sensors.embedding(offered)):
            limits = replace(limits, sensor=found)
            log.info("%s: %d bands of %s are taken as %s", paths[0], len(offered), offered[0][1].dtype, found)
        if limits.sensor not in ("", sensors.NONE):
            offered = sensors.seen_by(limits.sensor, offered)
        used = _chosen(offered, bands, offered[0][0].path)
    else:
        shared, owns, offered = file_name(product.name), {}, list(product.bands)
        if limits.sensor not in ("", sensors.NONE):
            sensors.check_product(limits.sensor, product)
        used = _chosen(offered, product.usual if bands is None else bands, product.path)
        if limits.offset and (moved := [band for _, band in used if band.shift]):
            raise SceneError(
                f"{product.path} states an offset of its own, of which {moved[0].shift} is added already; "
                "leave out --offset"
            )
    grid, used = _on_one_grid(used, gsd)
    own = [band for _, band in used]
    _check_usable(used, grid, limits.offset)
    _check_nodata(used, limits.nodata)
    scene = Scene(
        name=shared,
        files=tuple(_files(used)),
        grid=grid,
        names=tuple(_distinct(used, owns)),
        dtype=str(np.result_type(*[b.dtype for b in own])),
        block=used[0][0].block,
        scales=tuple(b.scale for b in own),
        offsets=tuple(b.offset for b in own),
        limits=limits,
        area=None if limits.aoi is None else _area(limits.aoi, grid, limits.aoi_layer),
        mask=None if limits.mask is None else _mask(limits.mask, grid),
        product=product,
    )
    if not warn:
        return scene
    remarks = (*(product.remarks if product else ()), *(r for f in scene.files for r in f.source.remarks))
    for remark in dict.fromkeys(remarks):
        log.warning("%s", remark)
    if product is None and not limits.offset and (said := dark_end.doubt(used)):
        log.warning("%s", said)
    # of the DN as they are stored: so are nodata
    for doubt in doubts(replace(scene, limits=replace(limits, offset=0.0)), declared=len(offered)):
        log.warning("%s", doubt)
    return scene


def _on_one_grid(used: list[Offer], gsd: float | None) -> tuple[Grid, list[Offer]]:
    """The grid of a scene of these bands, and the bands; grids that differ by rounding are taken for one."""
    sources = list(dict.fromkeys(source for source, _ in used))
    sizes = {(s.grid.height, s.grid.width) for s in sources}
    if gsd is None and len(sizes) == 1:
        _check_one_grid(sources)
        grid = sources[0].grid
        moved = {source: replace(source, grid=grid) for source in sources}
        return grid, [(moved[source], band) for source, band in used]
    return common_grid([(str(s.path), s.grid) for s in sources], gsd), used


def _named(source: Source, own: str) -> Source:
    """The source with a name for every band: its own, else its number; `own` names the band of one in a stack."""
    alone = own if len(source.bands) == 1 else ""
    bands = (replace(b, name=b.name or alone or f"band{b.index}") for b in source.bands)
    return replace(source, bands=tuple(bands))


def _distinct(used: list[Offer], owns: dict[Path, str]) -> list[str]:
    """Names of the bands that differ: those that share one get what tells their files apart, then their number."""
    names = [band.name for _, band in used]

    def shared() -> list[int]:
        return [i for i, name in enumerate(names) if names.count(name) > 1]

    if len(owns) > 1:
        for i in shared():
            names[i] = f"{owns[used[i][0].path]}_{names[i]}".strip("_")
    for i in shared():
        names[i] = f"{names[i]}_{used[i][1].index}"
    while twice := shared():
        names[twice[0]] += "_"
    return names


def _area(path: Path, grid: Grid, layer: str | None) -> Area:
    """What an AOI covers."""
    from satae.scene import aoi  # with it comes shapely, which a scene without an AOI does not need

    return aoi.read(path, grid, layer)


def _mask(path: Path, grid: Grid) -> File:
    """A mask raster as a file of the scene; SceneError where it cannot be brought to its grid, or lies elsewhere."""
    source = readers.source(path)
    own = source.grid
    if alike.same(own, grid):
        source = replace(source, grid=grid)
    elif (
        grid.crs == sensors.METRES
        and own.crs is None
        and (own.height, own.width) == (grid.height, grid.width)
    ):
        # neither has a place: the sensor has told the size of the scene's pixels alone
        source = replace(source, grid=grid)
    elif own.crs is not None and grid.crs is not None:
        if not alike.may_touch(own, grid):
            raise SceneError(
                f"{path} lies elsewhere: it does not touch the scene; choose the mask of this scene"
            )
    elif (own.height, own.width) == (grid.height, grid.width) and alike.placeless(own, grid):
        log.warning("%s has no position or CRS to compare; its pixels are taken as those of the scene", path)
        source = replace(source, grid=grid)
    else:
        raise SceneError(
            f"{path} has {own.height} x {own.width} pixels and the scene {grid.height} x {grid.width}, and "
            "without a CRS in both they cannot be matched; cut the mask to the scene's grid"
        )
    return File(source, (1,), next((b.index for b in source.bands[1:] if b.colour == ALPHA), None))


def _chosen(offered: list[Offer], bands: Sequence[int | str] | None, path: Path) -> list[Offer]:
    """The bands of what is at a path that are used, by number or by name."""
    if bands is None:
        return [o for o in offered if o[1].colour != ALPHA and o[1].good] or offered
    if not bands:
        raise SceneError("--bands names no band; give numbers such as 1,2,3 or 1-4, or names")
    own = [band for _, band in offered]
    numbers = [band if isinstance(band, int) else bandnames.number(band, own, path) for band in bands]
    if twice := [i for i in numbers if numbers.count(i) > 1]:
        raise SceneError(f"--bands names band {twice[0]} twice")
    if outside := [i for i in numbers if not 1 <= i <= len(offered)]:
        if len(offered) == 1:
            raise SceneError(
                f"{path} has one band and --bands asks for {outside[0]}; pass --stack if the files are bands of one "
                "scene"
            )
        raise SceneError(f"{path} has bands 1 to {len(offered)}; --bands asks for {outside[0]}")
    return [offered[i - 1] for i in numbers]


def _files(used: list[Offer]) -> Iterator[File]:
    for source, group in groupby(used, lambda offer: offer[0]):
        taken = {band.index for other, band in used if other is source}
        alpha = next((b.index for b in source.bands if b.colour == ALPHA and b.index not in taken), None)
        yield File(source, tuple(band.index for _, band in group), alpha)


def _check_one_grid(sources: Sequence[Source]) -> None:
    first = sources[0].grid
    for source in sources[1:]:
        if difference := alike.difference(source.path, source.grid, sources[0].path, first):
            raise SceneError(f"{difference}, so they cannot be stacked")


def _check_usable(used: list[Offer], grid: Grid, offset: float) -> None:
    path = used[0][0].path
    if min(grid.height, grid.width) < SMALLEST:
        raise SceneError(
            f"{path} has {grid.height} x {grid.width} pixels; the smallest scene is {SMALLEST} x {SMALLEST}"
        )
    for _, band in used:
        if offset != round(offset) and np.dtype(band.dtype).kind in "iu":
            raise SceneError(
                f"{path} holds {band.dtype} and --offset {offset:g} is no whole number to add to it"
            )
        if "complex" in band.dtype:
            raise SceneError(f"{path} band {band.index} is complex; export its magnitude to a GeoTIFF first")
        if band.colour == PALETTE:
            raise SceneError(
                f"{path} band {band.index} holds palette indices, not measurements; expand it with "
                "`gdal_translate -expand rgb`, or choose other bands with --bands"
            )


def _check_nodata(used: list[Offer], nodata: float | None) -> None:
    """SceneError where no pixel of a band can be what marks fill."""
    for _, band in used:
        kind = np.dtype(raster.numpy_dtype(band.dtype))
        # vectors are decoded from what is stored as whole numbers
        if nodata is None or kind.kind not in "iu" or band.coded:
            continue
        ends = np.iinfo(kind)
        if not (ends.min <= nodata <= ends.max and nodata == round(nodata)):
            raise SceneError(
                f"{used[0][0].path} holds {kind}, of which no pixel is {nodata:g}: --nodata takes a whole number from "
                f"{ends.min} to {ends.max} here"
            )


def file_name(text: str, longest: int = NAME_BYTES) -> str:
    """A name that those of files can be made of: one of more than `longest` bytes ends in a hash of itself."""
    name = re.sub(r"[^\w.-]+", "_", text).strip("._-") or "scene"
    content = name.encode()
    if len(content) <= longest:
        return name
    return f"{content[: longest - 9].decode(errors='ignore')}_{zlib.crc32(content):08x}"


def _stems(paths: Sequence[Path]) -> tuple[str, list[str]]:
    """A name for files and layers, and what tells each file of a stack apart ('' for a single one).

    LC08_B2.tif and LC08_B3.tif share LC08 and are B2 and B3.
    """
    words = [re.split(r"[^A-Za-z0-9]+", path.stem) for path in paths]
    common = set(words[0]).intersection(*words[1:])
    shared = "_".join(w for w in words[0] if w in common) if len(paths) > 1 else paths[0].stem
    return file_name(shared), ["_".join(w for w in own if w not in common) for own in words]
