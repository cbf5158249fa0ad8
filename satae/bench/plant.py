"""Plants targets of known size and contrast into a scene: what they look like, where they go, how they are read.

Nothing is written: `PlantedSource` is the scene with the targets in it for whoever reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.errors import SceneError
from satae.grid import Grid, Window
from satae.scene.stream import Reader, Source

TRIES = 60  # places that are drawn in vain before a round of targets is full

Rng = np.random.Generator
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Cell:
    """What is asked of a target: its width in pixels and its contrast.

    'synthetic': one spectrum, `contrast` standard deviations of each band above or below the mean around it,
    band by band at random. 'transplanted': pixels from elsewhere in the scene, mixed in with the share `contrast`.
    """

    kind: str
    size: int
    contrast: float


@dataclass(frozen=True)
class Target:
    """A planted object: `pixels` (band, size, size) mixed in with `share` where `shape` (size, size) is True."""

    cell: Cell
    window: Window
    shape: Bools
    pixels: Floats
    share: float


def outline(size: int) -> Bools:
    """A disc of so many pixels across; up to two pixels, a square."""
    axis = np.arange(size) - (size - 1) / 2
    return np.asarray(np.hypot(axis[:, None], axis) <= max(size / 2, 1), np.bool_)


@dataclass(frozen=True)
class PlantedSource:
    """A source with targets in it; valid pixels stay so whatever is planted."""

    source: Source
    targets: Sequence[Target]

    @property
    def grid(self) -> Grid:
        """The grid of the source."""
        return self.source.grid

    @property
    def block(self) -> tuple[int, int]:
        """(rows, cols) that the source stores together."""
        return self.source.block

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel over all bands."""
        return self.source.pixel_bytes

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """A reader of the caller's own."""
        with self.source.open() as reader:
            yield _Planter(reader, self.targets)


@dataclass(frozen=True)
class _Planter:
    reader: Reader
    targets: Sequence[Target]

    def read(self, window: Window) -> tuple[npt.NDArray[Any], Bools]:
        """See `Reader`."""
        image, valid = self.reader.read(window)
        for target in self.targets:
            part = target.window.within(window)
            if part is not None:
                rows, cols = part.slices(window)
                inner = part.slices(target.window)
                here = (target.shape[inner] & valid[rows, cols])[None]
                mixed = (1 - target.share) * image[:, rows, cols] + target.share * target.pixels[:, *inner]
                image[:, rows, cols] = np.where(here, as_stored(mixed, image.dtype), image[:, rows, cols])
        return image, valid


def as_stored(values: Floats, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Values as a scene of that type would hold them."""
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


@dataclass(frozen=True)
class Ground:
    """Where targets may go: `blocks` of a source; `spread` (band): the standard deviation of each band."""

    source: Source
    blocks: Sequence[Window]
    spread: Floats

    def rounds(self, cells: Sequence[Cell], apart: int, rng: Rng) -> Iterator[list[Target]]:
        """A target for each cell, in random order, in as few rounds as it takes.

        Targets of one round are further than `apart` pixels from each other. Raises SceneError where a target
        finds no place.
        """
        waiting = [cells[i] for i in rng.permutation(len(cells))]
        with self.source.open() as reader:
            while waiting:
                placed: list[Target] = []
                vain = 0
                while waiting and vain < TRIES:
                    target = self._drawn(reader, waiting[-1], rng)
                    if target is None or any(_near(target.window, t.window, apart) for t in placed):
                        vain += 1
                        continue
                    placed.append(target)
                    waiting.pop()
                    vain = 0
                if not placed:
                    raise SceneError(
                        f"the held-out tiles have no room for a target of {waiting[-1].size} valid pixels a side; "
                        "plant smaller ones with --sizes"
                    )
                yield placed

    def _drawn(self, reader: Reader, cell: Cell, rng: Rng) -> Target | None:
        """A target at a random place in a block, None where its pixels, or those it is made from, are not valid."""
        window = _somewhere(self.blocks[int(rng.integers(len(self.blocks)))], cell.size, rng)
        if window is None or not reader.read(window)[1].all():
            return None
        if cell.kind == "synthetic":
            signs = rng.choice([-1.0, 1.0], len(self.spread))
            around, valid = reader.read(window.with_margin(cell.size + 2))
            spectrum = around[:, valid].mean(axis=1, dtype=np.float64) + cell.contrast * signs * self.spread
            pixels = np.broadcast_to(spectrum[:, None, None], (len(signs), cell.size, cell.size))
            return Target(cell, window, outline(cell.size), pixels, 1.0)
        origin = _somewhere(self.source.grid.window, cell.size, rng)
        if origin is None or _near(origin, window, cell.size):
            return None
        patch, valid = reader.read(origin)
        if not valid.all():
            return None
        return Target(cell, window, outline(cell.size), patch.astype(np.float64), cell.contrast)


def _somewhere(inside: Window, size: int, rng: Rng) -> Window | None:
    if min(inside.height, inside.width) < size:
        return None
    row, col = rng.integers([inside.height - size + 1, inside.width - size + 1])
    return Window(inside.row + int(row), inside.col + int(col), size, size)


def _near(one: Window, other: Window, apart: int) -> bool:
    """Whether fewer than `apart` pixels lie between two windows."""
    return one.with_margin(apart).within(other) is not None
