"""Draws scenes and heatmaps for the review page: square tiles in a raster's own grid, at every power of two.

A tile costs a bounded number of decoded pixels whatever the size of the raster. Nothing is scored or judged by
what is drawn here.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyproj

from satae import composite
from satae.errors import SceneError
from satae.gis import qgis
from satae.gis.geopackage import known_crs
from satae.grid import Grid, Window
from satae.review.bands import USUAL, BandChoice, Look, Part, choices, is_file, parts_of, usual
from satae.review.outlines import Placer
from satae.scene import readers
from satae.scene.alike import same
from satae.scene.source import Pixels, Source

SIDE = 256  # pixels of a tile
READERS = 2  # tiles of one raster that are read at once
WHOLE = 2**23  # stored pixels that a tile is averaged from; where it would take more,
SPARSE = 2**22  # it is drawn from blocks here and there that hold so many
PATCH = 128  # pixels a side, of patches that the contrast is taken from
LOOKS = 16  # choices of bands and of stretches that are kept
Floats = npt.NDArray[np.float32]
Valid = npt.NDArray[np.bool_]
Png = bytes


class Pool:
    """A file whose open handles are lent to one thread each, on a grid that is not its own where one is given."""

    def __init__(self, source: Source, grid: Grid | None) -> None:
        # scored again meanwhile, a heatmap is another file, and is shown
        self._source, self._grid = replace(source, stamp=()), grid
        self._idle: SimpleQueue[tuple[ExitStack, Pixels] | None] = SimpleQueue()
        for _ in range(READERS):
            self._idle.put(None)

    @contextmanager
    def pixels(self) -> Iterator[Pixels]:
        """A handle that nobody else uses meanwhile; after a failure it is closed and not used again."""
        stack, pixels = self._idle.get() or (ExitStack(), None)
        try:
            if pixels is None:
                pixels = stack.enter_context(readers.open_pixels(self._source, self._grid))
            yield pixels
        except BaseException:
            self._idle.put(None)
            stack.close()
            raise
        self._idle.put((stack, pixels))


Pools = dict[tuple[Path, bool], Pool]  # by file, and whether it is brought to another grid


class Pyramid:
    """Decimated windows of one raster; level n shows 2**n x 2**n pixels as one. May be used from any thread.

    Files that lie on another grid than `grid`, which is the first one's where it is not given, are brought to it by
    nearest neighbour. Raises SceneError where the files cannot be read as one raster.
    """

    def __init__(self, parts: Sequence[Part], grid: Grid | None = None, pools: Pools | None = None) -> None:
        self.parts = parts
        sources = [readers.source(part.path) for part in parts]
        self.block, self.factors = sources[-1].block, [1, *sources[-1].overviews]
        self.grid: Grid = grid or sources[0].grid
        moved = [not same(source.grid, self.grid) for source in sources]
        if any(moved):
            if self.grid.crs is None or any(source.grid.crs is None for source in sources):
                raise SceneError(f"{parts[0].path} and {parts[-1].path} are not on one grid")
            self.block, self.factors = (SIDE, SIDE), [1]  # overviews of another grid save nothing
        # looks at one scene share its handles
        pools = {} if pools is None else pools
        self._pools = [
            pools.setdefault((source.path, away), Pool(source, self.grid if away else None))
            for source, away in zip(sources, moved, strict=True)
        ]

    @property
    def levels(self) -> int:
        """How many levels there are until all fits into one tile."""
        return math.ceil(math.log2(max(1.0, max(self.grid.height, self.grid.width) / SIDE))) + 1

    def tile(self, level: int, row: int, col: int) -> tuple[Floats, Valid] | None:
        """A tile (band, SIDE, SIDE) and where it is valid; None where the raster does not reach.

        Raises DamageError where blocks of it cannot be decoded.
        """
        side = SIDE << level
        inside = Window(row * side, col * side, side, side).within(self.grid.window)
        if inside is None:
            return None
        image, valid = self.read(inside, level)
        rows, cols = valid.shape
        whole = np.zeros((len(image), SIDE, SIDE), np.float32)
        whole[:, :rows, :cols] = image
        there = np.zeros((SIDE, SIDE), bool)
        there[:rows, :cols] = valid
        return whole, there

    def read(self, window: Window, level: int) -> tuple[Floats, Valid]:
        """A window inside the grid (band, row, col), each pixel the mean of 2**level x 2**level stored ones."""
        step = 1 << level
        shape = math.ceil(window.height / step), math.ceil(window.width / step)
        factor = max(f for f in self.factors if f <= step)
        if window.height * window.width / factor**2 <= WHOLE:
            return self._means([window], shape)[0]
        return self._scattered(window, shape)

    @cached_property
    def whole(self) -> tuple[Floats, Valid]:
        """The whole raster in at most two tiles' width."""
        return self.read(self.grid.window, max(0, self.levels - 2))

    def patches(self, number: int = 8) -> Iterator[tuple[Floats, Valid]]:
        """Stored pixels from blocks that are spread over the raster."""
        rows, cols = (np.arange(0, n, b) for n, b in zip(self._size, self.block, strict=True))
        number_of_rows = number if len(cols) > 1 else number**2
        windows = []
        for row in rows[_spread(len(rows), number_of_rows)]:
            for col in cols[_spread(len(cols), number)]:
                block = Window(int(row), int(col), *self.block).clip(self.grid.window)
                height, width = min(block.height, PATCH), min(block.width, PATCH * number)
                windows.append(Window(block.row, block.col, height, width))
        for window in windows:
            yield self._means([window], (window.height, window.width))[0]

    @property
    def _size(self) -> tuple[int, int]:
        return self.grid.height, self.grid.width

    def _means(self, windows: Sequence[Window], shape: tuple[int, int]) -> list[tuple[Floats, Valid]]:
        """Each window at one smaller shape."""
        read = []
        for part, pool in zip(self.parts, self._pools, strict=True):
            # one at a time: who held one and waited for another could wait for ever
            with pool.pixels() as pixels:
                read.append([pixels.means(part.bands, window, shape) for window in windows])
        return [
            (np.concatenate([_real(i) for i, _ in found]), np.logical_and.reduce([v for _, v in found]))
            for found in zip(*read, strict=True)
        ]

    def _scattered(self, window: Window, shape: tuple[int, int]) -> tuple[Floats, Valid]:
        """A window as the means of some of its blocks show it, with what lies between them interpolated."""
        high, wide = self.block
        striped = wide >= window.width
        side = SPARSE // (high * wide) if striped else math.isqrt(SPARSE // (high * wide))
        rows = min(max(1, side), shape[0])
        cols = 1 if striped else min(max(1, side), shape[1])
        centres = [
            (window.row + (2 * i + 1) * window.height // (2 * rows),
             window.col + (2 * j + 1) * window.width // (2 * cols))
            for i in range(rows) for j in range(cols)
        ]  # fmt: skip
        blocks = [Window(r, c, 1, 1).cell(self.block).clip(window) for r, c in centres]
        read = self._means(blocks, (1, shape[1] if striped else 1))
        image = np.stack([i[:, 0] for i, _ in read], axis=1).reshape(len(read[0][0]), rows, -1)
        valid = np.stack([v[0] for _, v in read]).reshape(rows, -1)
        image[:, ~valid] = image[:, valid].mean(axis=1, keepdims=True) if valid.any() else 0
        large = cv2.resize(image.transpose(1, 2, 0), shape[::-1], interpolation=cv2.INTER_LINEAR)
        there = cv2.resize(valid.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
        return np.asarray(np.atleast_3d(large).transpose(2, 0, 1), np.float32), there > 0


@dataclass
class View:
    """One scene as it is drawn: in pixels of `grid`, or in map coordinates where there is no raster.

    `remarks` say what could not be shown. `row` is that of the layer `scenes`, `folder` the result's.
    """

    name: str
    grid: Grid | None
    scene: Pyramid | None
    heat: Pyramid | None
    remarks: list[str]
    row: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path()
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    _pools: Pools = field(default_factory=dict, repr=False)
    _pyramids: dict[tuple[int, ...], Pyramid] = field(default_factory=dict, repr=False)
    _ends: dict[Any, tuple[Floats, Floats]] = field(default_factory=dict, repr=False)

    @cached_property
    def top(self) -> float:
        """Where the colours of the heatmap end, as in QGIS but for what its overviews smooth."""
        assert self.heat is not None
        heat, valid = self.heat.whole
        return qgis.ramp_top(float(heat[0][valid].max()) if valid.any() else math.nan)

    @cached_property
    def bands(self) -> list[BandChoice]:
        """The bands that can be chosen; none where there is no scene."""
        return [] if self.scene is None else choices(self.row, self.folder)

    @property
    def usual_bands(self) -> list[int]:
        """The numbers of the bands that are red, green and blue where nobody chooses others."""
        if self.scene is None:
            return []
        # they are stored blue first
        drawn = [(part.path, band) for part in self.scene.parts for band in part.bands]
        places = [(shown.part.path, shown.part.bands[0]) for shown in self.bands]
        return [places.index(drawn[i]) for i in ((2, 1, 0) if len(drawn) == 3 else (0, 0, 0))]

    def _pyramid(self, bands: tuple[int, ...]) -> Pyramid:
        assert self.scene is not None
        if bands and bands not in self._pyramids:
            made = Pyramid(parts_of(bands, self.bands), self.grid, self._pools)
            # cheap to make again: its handles stay
            self._pyramids = _latest(self._pyramids) | {bands: made}
        return self._pyramids[bands] if bands else self.scene

    def _contrast(self, look: Look) -> tuple[Floats, Floats]:
        key = look.bands, look.cut  # gamma needs no sample
        if key not in self._ends:
            self._ends = _latest(self._ends) | {key: _contrast(self._pyramid(look.bands), look.ends)}
        return self._ends[key]

    def picture(self, level: int, row: int, col: int, look: Look = USUAL) -> Png | None:
        """A tile of the scene; None where there is nothing, or no such band."""
        if self.scene is None or (look.bands and max(look.bands) >= len(self.bands)):
            return None
        with self._lock:
            pyramid = self._pyramid(look.bands)
            low, high = self._contrast(look)
        return _png(
            pyramid.tile(level, row, col), lambda dn: _opaque(composite.bgr(dn, low, high, gamma=look.gamma))
        )

    def heatmap(self, level: int, row: int, col: int) -> Png | None:
        """A tile of the heatmap; None where there is nothing."""
        if self.heat is None:
            return None
        with self._lock:
            colours = qgis.heat_colours(np.linspace(0, self.top, 256), self.top)
        return _png(self.heat.tile(level, row, col), lambda heat: _coloured(heat[0], self.top, colours))

    def placer(self, crs: pyproj.CRS | None) -> Placer:
        """What moves map coordinates (n, 2) in `crs` to the drawing's (x, y), y upwards: (col, -row) of pixels.

        Positions that cannot be moved are not finite.
        """
        grid = self.grid
        if grid is None:
            return lambda xy: xy
        own, t = known_crs(grid.crs), ~grid.transform
        move = None
        if own is not None and crs is not None and own != crs:
            move = pyproj.Transformer.from_crs(crs, own, always_xy=True)

        def place(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            x, y = move.transform(xy[:, 0], xy[:, 1]) if move else (xy[:, 0], xy[:, 1])
            col, row = t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f
            return np.stack([col, -row], axis=-1)

        return place


def view(row: dict[str, Any], gpkg: Path, *, alone: bool) -> View:
    """How a scene (a row of the layer `scenes`) is drawn, from what lies where `gpkg` says or beside it.

    `alone`: it is the only one. A raster that is missing or cannot be read is left out, with a remark.
    """
    name, remarks = str(row["scene"] or ""), []
    heat = scene = None
    wanted = [f"{gpkg.stem}_{name}_heatmap.tif", *([f"{gpkg.stem}_heatmap.tif"] if alone else [])]
    places = [gpkg.with_name(n) for n in wanted if Path(n).name == n]
    found = next((p for p in places if is_file(p)), None)
    try:
        if found is None:
            remarks.append(f"there is no {wanted[-1]} beside the result, so no heatmap is shown")
        else:
            heat = Pyramid([Part(found, [1])])
    except SceneError as error:
        remarks.append(str(error))
    try:
        scene = Pyramid(usual(row, gpkg.absolute().parent))
        if heat and heat.grid != scene.grid:
            scene = None
            remarks.append(f"{row['path']} is not the scene that was scored, so it is not shown")
    except SceneError as error:
        remarks.append(str(error))
    first = heat or scene
    return View(name, first.grid if first else None, scene, heat, remarks, row, gpkg.absolute().parent)


def _latest(known: dict[Any, Any]) -> dict[Any, Any]:
    return dict(list(known.items())[1 - LOOKS :])


def _contrast(pyramid: Pyramid, ends: tuple[float, float]) -> tuple[Floats, Floats]:
    """DN that are drawn black and white, of each band."""
    parts = [image[:, valid] for image, valid in pyramid.patches()]
    sample = np.concatenate(parts, axis=1)
    if not sample.size:
        image, valid = pyramid.whole
        sample = image[:, valid] if valid.any() else np.zeros((len(image), 1), np.float32)
    low, high = composite.contrast(sample, ends)
    return low.astype(np.float32), high.astype(np.float32)


def _spread(length: int, number: int) -> npt.NDArray[np.int64]:
    """At most `number` different indices over 0 to length - 1."""
    return np.unique(np.linspace(0, length - 1, min(length, number)).round().astype(np.int64))


def _real(image: npt.NDArray[Any]) -> Floats:
    return np.asarray(np.abs(image) if np.iscomplexobj(image) else image, np.float32)


def _png(tile: tuple[Floats, Valid] | None, paint: Callable[[Floats], npt.NDArray[np.uint8]]) -> Png | None:
    """A tile as blue, green, red and opacity; transparent where not valid."""
    if tile is None:
        return None
    image, valid = tile
    drawn = paint(np.where(valid, image, 0))
    drawn[~valid] = 0
    return cv2.imencode(".png", drawn, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _opaque(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])


def _coloured(heat: Floats, top: float, colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(colours[np.rint(255 * np.clip(heat / top, 0, 1)).astype(np.uint8)], np.uint8)
