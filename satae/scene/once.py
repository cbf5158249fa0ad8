"""The pixels of a scene that is slow to read, each block decoded once and kept uncompressed in a file from then on.

Nothing is decoded before it is asked for. Unlike `together` this is no file for anybody else.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from satae.grid import Grid, Window
from satae.scene.stream import Reader, side_at_once

Pixels = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]


class Whole(Protocol):
    """What a `Scene` is here: bands of one type on a grid, stored in blocks (rows, cols)."""

    @property
    def grid(self) -> Grid: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def block(self) -> tuple[int, int]: ...
    @property
    def pixel_bytes(self) -> int: ...
    def open(self, damage: set[Window] | None = None) -> AbstractContextManager[Reader]: ...


class Blocks:
    """The blocks of a scene in a file below a folder, which is the caller's to remove; any number of threads may read.

    `prepare` gives what is decoded in place of the scene, once it is asked for. Pickled it begins anew.
    """

    def __init__(self, scene: Whole, folder: Path, prepare: Callable[[], Whole]) -> None:
        self.scene, self.folder, self._prepare = scene, folder, prepare
        least = side_at_once(scene.pixel_bytes)
        rows, cols = (
            min(math.ceil(least / block) * block, length)
            for block, length in zip(scene.block, (scene.grid.height, scene.grid.width), strict=True)
        )
        self.side = rows, cols
        self._file = folder / "blocks"
        self._kept, self._damage = set[Window](), set[Window]()
        self._ready: Whole | None = None
        # one for what all threads share, and one a block: who waits for a block finds it decoded
        self._lock, self._locks = threading.Lock(), defaultdict[Window, threading.Lock](threading.Lock)

    def __reduce__(self) -> tuple[Any, ...]:
        return Blocks, (self.scene, self.folder, self._prepare)

    @contextmanager
    def open(self, damage: set[Window]) -> Iterator[Reader]:
        """A reader of the scene; the blocks of it that were masked so far are added to `damage`."""
        with self._lock:
            if self._ready is None:
                self._ready = self._prepare()
                self._file.touch()
        masked = set[Window]()
        # at once: what is opened in a thread that reads must not be closed in another
        with self._ready.open(masked) as reader:
            yield _Reader(self, reader, masked, damage)

    def read(self, part: Window, decode: Callable[[Window], Pixels]) -> Pixels:
        """The pixels of a part of one block, which is decoded where it was not yet."""
        block = part.cell(self.side).clip(self.scene.grid.window)
        with self._lock:
            lock = self._locks[block]
        with lock:
            if block in self._kept:
                return self._stored(block, part)
            image, valid = decode(block)
            with self._file.open("r+b") as file:
                file.seek(self._offset(block))
                file.write(np.ascontiguousarray(image).data)
                file.write(np.ascontiguousarray(valid).data)
            self._kept.add(block)
        rows, cols = part.slices(block)
        return image[:, rows, cols], valid[rows, cols]

    def masked(self, new: set[Window]) -> set[Window]:
        """All blocks that were masked because they cannot be decoded, with some that now were."""
        with self._lock:
            self._damage |= new
            return set(self._damage)

    def _stored(self, block: Window, part: Window) -> Pixels:
        """What was decoded before: whole rows of each band, for they lie together."""
        kind, area = np.dtype(self.scene.dtype), block.height * block.width
        first, count = (part.row - block.row) * block.width, part.height * block.width
        cols = part.slices(block)[1]
        image = np.empty((len(self.scene.names), part.height, part.width), kind)
        for band, plane in enumerate(image):
            plane[:] = self._rows(block, (band * area + first) * kind.itemsize, kind, count)[:, cols]
        valid = self._rows(block, len(image) * area * kind.itemsize + first, np.dtype(bool), count)[:, cols]
        return image, valid

    def _rows(self, block: Window, at: int, kind: np.dtype[Any], count: int) -> npt.NDArray[Any]:
        found = np.fromfile(self._file, kind, count, offset=self._offset(block) + at)
        return found.reshape(-1, block.width)

    def _offset(self, block: Window) -> int:
        """Where a block lies: each has the room of a whole one, for the file may have holes."""
        across = math.ceil(self.scene.grid.width / self.side[1])
        number = block.row // self.side[0] * across + block.col // self.side[1]
        return number * self.side[0] * self.side[1] * (self.scene.pixel_bytes + 1)


@dataclass(frozen=True)
class _Reader:
    """Reads blocks for one thread, by a reader of the scene that adds to `masked`."""

    blocks: Blocks
    reader: Reader
    masked: set[Window]
    damage: set[Window]

    def read(self, window: Window) -> Pixels:
        """Image (band, row, col) and `valid` (row, col), as the scene's own reader gives them."""
        scene = self.blocks.scene
        image = np.zeros((len(scene.names), window.height, window.width), scene.dtype)
        valid = np.zeros((window.height, window.width), bool)
        inside = window.within(scene.grid.window)
        for part in inside.cells(self.blocks.side) if inside else ():
            rows, cols = part.slices(window)
            image[:, rows, cols], valid[rows, cols] = self.blocks.read(part, self.reader.read)
        self.damage.update(self.blocks.masked(self.masked))
        return image, valid
