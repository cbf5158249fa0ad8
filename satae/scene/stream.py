"""Read a raster of any size in strips of bounded memory, some steps ahead of whoever works on them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from satae import interrupts
from satae.grid import Grid, Window

STRIP_BYTES = 8 * 2**20  # decoded pixels of one read
LARGEST_SIDE, SMALLEST_SIDE = 256, 32  # pixels of what is decoded at once


class Reader(Protocol):
    """Something that gives pixels of a grid; one reader belongs to one thread."""

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Image (band, row, col) in the stored dtype and `valid` (row, col), zeros and False off the grid."""


class Source(Protocol):
    """Something with a grid that can be opened for reading: a scene, or a tile set put together again."""

    @property
    def grid(self) -> Grid: ...
    @property
    def block(self) -> tuple[int, int]: ...
    @property
    def pixel_bytes(self) -> int: ...
    def open(self) -> AbstractContextManager[Reader]: ...


def strips(source: Source, step: int, halo: int, most: int | None = None) -> Iterator[Window]:
    """Windows in row-major order, sides multiples of `step`, that cover the grid and suit its blocks.

    Read with `halo` they stay under `most` bytes (None: STRIP_BYTES) where one step does. Striped files are read over
    their full width, tiled ones in squares, so that few blocks are decoded twice for the halo.
    """
    # pixels of one read, over all bands
    grid, pixels = source.grid, (STRIP_BYTES if most is None else most) // source.pixel_bytes
    full = _upto(grid.width, step)
    widest = full
    # stored in tiles: near to square, for the halo around a square is smallest
    if source.block[1] < grid.width:
        widest = min(full, max(step, _multiple(math.isqrt(pixels) - 2 * halo, step, source.block[1])))
    # as many rows as the budget allows at that width, of whole stored blocks where one fits
    rows = max(step, _multiple(pixels // (widest + 2 * halo) - 2 * halo, step, source.block[0]))
    # rows may be a step where that is more than the budget: columns then give way
    budget = pixels // (rows + 2 * halo) - 2 * halo
    cols = widest if budget >= widest else max(step, _multiple(budget, step, source.block[1]))
    for row in range(0, grid.height, rows):
        for col in range(0, grid.width, cols):
            yield Window(row, col, min(rows, _upto(grid.height - row, step)), min(cols, full - col))


def side_at_once(pixel_bytes: int) -> int:
    """Pixels a side of what is best decoded at once where stored blocks are no larger: fewer of many bands."""
    side = LARGEST_SIDE
    while side > SMALLEST_SIDE and side**2 * pixel_bytes > STRIP_BYTES:
        side //= 2
    return side


def ahead(
    source: Source, windows: Iterable[Window], margin: int, workers: int
) -> Iterator[tuple[Window, npt.NDArray[Any], npt.NDArray[np.bool_]]]:
    """Each window with its pixels and `margin` more on all sides, in order, read by `workers` threads.

    Every thread works on handles that no other uses; at most `workers` + 1 windows are held. The first
    failure ends the reading: no reader is used after one.
    """
    with ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        # a reader a thread, handed on through a queue: GDAL's handles are not for two threads at once
        readers: SimpleQueue[Reader] = SimpleQueue()
        for _ in range(workers):
            readers.put(stack.enter_context(source.open()))

        failures: list[BaseException] = []

        def read(window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
            reader = readers.get()
            try:
                if failures:  # a reader that failed goes back too, else its thread would wait for ever
                    raise failures[0]
                return reader.read(window.with_margin(margin))
            except BaseException as error:
                failures.append(error)
                raise
            finally:
                readers.put(reader)

        waiting: deque[tuple[Window, Future[Any]]] = deque()
        try:
            for window in windows:
                # the pool does not wait for a thread in whose start an interrupt fell, and its reader would be closed
                with interrupts.shield():
                    waiting.append((window, pool.submit(read, window)))
                interrupts.check()
                # one more than there are threads: each has work while the first is taken
                if len(waiting) > workers:
                    yield _taken(waiting)
            while waiting:
                yield _taken(waiting)
        finally:
            for _, future in waiting:
                # who stops asking half-way leaves no read behind
                future.cancel()


def _taken(
    waiting: deque[tuple[Window, Future[Any]]],
) -> tuple[Window, npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The first window with its pixels, which nothing here holds any longer."""
    window, future = waiting.popleft()
    return window, *future.result()


def _upto(size: int, step: int) -> int:
    return math.ceil(size / step) * step


def _multiple(limit: int, step: int, block: int) -> int:
    """The largest multiple of `step` up to `limit`, of whole blocks too where one fits."""
    both = math.lcm(step, block)
    unit = both if both <= limit else step
    return limit // unit * unit
