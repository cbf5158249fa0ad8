"""GML: outlines of what a product masks, as Sentinel-2 had them before baseline 04.00, burned where pixels are asked.

They are read with the product that they are of: no scene is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from xml.etree.ElementTree import Element

import numpy as np
import numpy.typing as npt

from satae.errors import SceneError
from satae.grid import Grid, Window
from satae.scene import raster
from satae.scene.resample import shrunk
from satae.scene.source import Band, Pixels, Source

Ring = tuple[tuple[float, float], ...]  # closed
BLOCK = 256


@dataclass(frozen=True)
class Outlines(Source):
    """A source of one band that is 1 where the middle of a pixel lies in one of the polygons, else 0.

    Each is its outer ring and then its holes, in map coordinates.
    """

    polygons: tuple[tuple[Ring, ...], ...] = ()


def matches(path: Path, head: bytes) -> bool:
    """Whether it is named so, or begins as masks of Sentinel-2 do."""
    return path.suffix.lower() == ".gml"


def describe(path: Path) -> Source:
    """SceneError in any case."""
    raise SceneError(f"{path} holds outlines and no image; name the product that it is of")


def outlines(root: Element, path: Path, name: str, grid: Grid) -> Outlines:
    """The polygons of a mask `name` of a product at `path`, on a grid of its bands.

    SceneError where a coordinate is no number, or where the mask states another CRS than the grid has.
    """
    stated = next((e.get("srsName", "") for e in root.iter() if e.tag.endswith("}Envelope")), "")
    code = re.search(r"EPSG:.*?(\d+)$", stated)
    crs = raster.wkt(f"EPSG:{code[1]}") if code else ""
    if crs and grid.crs and not raster.same_crs(crs, grid.crs):
        raise SceneError(
            f"{name} of {path} states {stated}, another CRS than its bands; download the product again"
        )
    polygons = tuple(
        tuple(_ring(e, name, path) for side in ("exterior", "interior") for e in _below(polygon, side))
        for polygon in root.iter()
        if polygon.tag.endswith("}Polygon")
    )
    bands = (Band(1, "", "uint8"),)
    block = (min(BLOCK, grid.height), min(BLOCK, grid.width))
    return Outlines(path, grid, bands, block, reader="gml", polygons=tuple(p for p in polygons if p))


def _below(polygon: Element, side: str) -> Iterator[Element]:
    """The lists of positions of the outer ring, or of the holes."""
    for element in polygon:
        if element.tag.endswith("}" + side):
            yield from (e for e in element.iter() if e.tag.endswith("}posList"))


def _ring(element: Element, name: str, path: Path) -> Ring:
    size = 3 if "3" in (element.get("srsDimension", ""), element.get("dimension", "")) else 2
    try:
        numbers = np.array((element.text or "").split(), float)
        places = numbers.reshape(-1, size)[:, :2]
        if len(places) < 4 or not np.isfinite(places).all():
            raise ValueError
    except ValueError as error:
        raise SceneError(
            f"{name} of {path} holds an outline that is none; download the product again"
        ) from error
    return tuple((float(x), float(y)) for x, y in places)


@contextmanager
def open(source: Source, grid: Grid | None = None, *, mean: bool = False) -> Iterator[Pixels]:
    """The outlines on the grid itself that is asked for: nothing is resampled."""
    yield _Burned(cast(Outlines, source), grid or source.grid)


class _Burned:
    """Outlines as pixels: `source.Pixels`."""

    def __init__(self, source: Outlines, grid: Grid) -> None:
        self.grid = grid
        self.shapes = [{"type": "Polygon", "coordinates": polygon} for polygon in source.polygons]
        outer = [np.array(polygon[0]) for polygon in source.polygons]
        self.low = np.array([ring.min(axis=0) for ring in outer]).reshape(-1, 2)
        self.high = np.array([ring.max(axis=0) for ring in outer]).reshape(-1, 2)

    def read(self, bands: Sequence[int], window: Window) -> npt.NDArray[Any]:
        """1 where an outline covers the middle of a pixel, for each of the bands asked for."""
        corners = self.grid.part(window).footprint()
        near = (self.low <= corners.max(axis=0)).all(axis=1) & (self.high >= corners.min(axis=0)).all(axis=1)
        shapes = [self.shapes[i] for i in np.flatnonzero(near)]
        burned = raster.burn(shapes, window, self.grid.transform)
        return np.repeat(burned[None].astype(np.uint8), len(bands), axis=0)

    def mask(self, band: int, window: Window) -> npt.NDArray[np.bool_]:
        """True everywhere."""
        return np.ones((window.height, window.width), bool)

    def means(
        self, bands: Sequence[int], window: Window, shape: tuple[int, int]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """A window at a smaller shape; see `source.Pixels`."""
        return shrunk(self, bands, window, shape)
