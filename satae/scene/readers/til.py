"""TIL: the text beside the tiles of a Maxar (DigitalGlobe) image that says where each lies; they are one mosaic.

Bands have the names that the file of metadata (.IMD) beside it gives. DN are as delivered; 0 outside of the image is
not declared as fill in most deliveries.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import raster
from satae.scene.mosaic import Mosaic, Part, file_below, mosaic, open_mosaic
from satae.scene.readers import geotiff
from satae.scene.source import Band, Pixels, Source

MAX_BYTES = 4 << 20
MAX_TILES = 10_000
APART = 0.1  # pixels by which the place of a tile on the map may differ from that in the text
GROUP = re.compile(r"BEGIN_GROUP\s*=\s*(\w+)\s(.*?)END_GROUP\s*=\s*\1\b", re.DOTALL)
ENTRY = re.compile(r"^\s*(\w+)\s*=\s*\"?([^\";\n]*)\"?\s*;", re.MULTILINE)
CORNERS = ("ULRowOffset", "ULColOffset", "LRRowOffset", "LRColOffset")
NAMES = {
    "P": "pan", "C": "coastal", "B": "blue", "G": "green", "Y": "yellow", "R": "red", "RE": "rededge", "N": "nir",
    "N2": "nir2",
}  # fmt: skip


def matches(path: Path, head: bytes) -> bool:
    """Whether it is text that is named so."""
    return path.suffix.lower() == ".til" and b"=" in head and b"\0" not in head


def describe(path: Path) -> Source:
    """The mosaic of all tiles; SceneError where one is missing or does not lie where the text says."""
    placed = [_tile(path, group) for group in _groups(path) if group[0].startswith("TILE_")]
    if not placed or len(placed) > MAX_TILES:
        raise SceneError(f"{path} names {len(placed)} tiles; download the image again")
    first, (row, col) = placed[0]
    height, width = (
        max(at[axis] + (s.grid.height, s.grid.width)[axis] for s, at in placed) for axis in (0, 1)
    )
    # the map grid is that of the first tile, moved to the first pixel of the image
    x, y = first.grid.xy(-row, -col)
    t = first.grid.transform
    grid = Grid(height, width, type(t)(t.a, t.b, float(x), t.d, t.e, float(y)), first.grid.crs)
    if grid.pixels > raster.MAX_PIXELS:
        raise SceneError(
            f"{path} claims {height} x {width} pixels, more than the limit of {raster.MAX_PIXELS:.0e}"
        )
    for source, at in placed:
        _check_fit(path, source, at, grid, first)
    layers = [
        [
            Part(s, band.index, (0, 0, s.grid.height, s.grid.width), (*at, s.grid.height, s.grid.width))
            for s, at in placed
        ]
        for band in first.bands
    ]
    return mosaic(Source(path, grid, _named(path, first.bands), first.block), layers)


def open(source: Source, grid: Grid | None = None, *, mean: bool = False) -> AbstractContextManager[Pixels]:
    """Handles of the caller's own on the tiles."""
    return open_mosaic(cast(Mosaic, source), grid, mean=mean)


def _groups(path: Path) -> list[tuple[str, dict[str, str]]]:
    """The groups of a file of keywords, in its order."""
    if path.stat().st_size > MAX_BYTES:
        raise SceneError(f"{path} is larger than {MAX_BYTES >> 20} MiB, the limit for a file of metadata")
    text = path.read_text(encoding="utf-8", errors="replace")
    return [(name, dict(ENTRY.findall(inside))) for name, inside in GROUP.findall(text)]


def _tile(path: Path, group: tuple[str, dict[str, str]]) -> tuple[Source, tuple[int, int]]:
    """A tile, and (row, col) of its first pixel in the image."""
    name, said = group
    corners = [said.get(key, "") for key in CORNERS]
    if not all(re.fullmatch(r"\s*\d{1,9}\s*", corner) for corner in corners):
        raise SceneError(f"{path} gives {name} no place: {', '.join(CORNERS)} must be whole numbers")
    top, left, bottom, right = map(int, corners)
    file = file_below(path, said.get("filename", ""))
    with file.open("rb") as content:
        if not geotiff.matches(file, content.read(8)):
            raise SceneError(
                f"{path} refers to {file.name}, which is no TIFF file; ask for the image as GeoTIFF tiles"
            )
    source = geotiff.describe(file)
    if (source.grid.height, source.grid.width) != (bottom - top + 1, right - left + 1):
        raise SceneError(
            f"{path} takes {file.name} for {bottom - top + 1} x {right - left + 1} pixels and it has "
            f"{source.grid.height} x {source.grid.width}; download the image again"
        )
    return source, (top, left)


def _check_fit(path: Path, source: Source, at: tuple[int, int], grid: Grid, first: Source) -> None:
    """A tile of another image would be shown in a wrong place."""
    # nodata too: the mosaic has one, and DN that are fill in one tile only would count
    kinds = [[(b.dtype, b.nodata) for b in s.bands] for s in (source, first)]
    if kinds[0] != kinds[1]:
        raise SceneError(
            f"{path} names {source.path.name} and {first.path.name}, whose bands differ in number or kind"
        )
    stated = grid.xy(*at)
    found = source.grid.xy(0, 0)
    apart = np.abs(found - stated).max() / np.sqrt(abs(grid.transform.determinant))
    steps = np.subtract(source.grid.transform[:6], grid.transform[:6])[[0, 1, 3, 4]]
    if (
        source.grid.crs != grid.crs
        or apart > APART
        or np.abs(steps).max() * max(grid.height, grid.width)
        > (APART * np.sqrt(abs(grid.transform.determinant)))
    ):
        raise SceneError(
            f"{path} gives {source.path.name} another place than its own georeference, {apart:.3g} pixels away; "
            "download the image again"
        )


def _named(path: Path, bands: tuple[Band, ...]) -> tuple[Band, ...]:
    """The bands with the names that the metadata beside give, where they are as many."""
    beside = next((p for p in (path.with_suffix(".IMD"), path.with_suffix(".imd")) if p.is_file()), None)
    # groups of bands stand in the order in which bands are stored
    names = (
        []
        if beside is None
        else [n.removeprefix("BAND_") for n, _ in _groups(beside) if n.startswith("BAND_")]
    )
    if len(names) != len(bands):
        return bands
    return tuple(replace(b, name=b.name or NAMES.get(n, n)) for b, n in zip(bands, names, strict=True))
