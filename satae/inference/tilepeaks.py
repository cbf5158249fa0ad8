"""The largest score and the valid pixels of every tile of a grid, filled window by window."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from satae.grid import Grid, Window


@dataclass
class Maxima:
    """Maxima and counts of valid pixels of the tiles of a grid, filled strip by strip."""

    grid: Grid
    size: int
    peak: npt.NDArray[np.float32] = field(init=False)
    count: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        shape = math.ceil(self.grid.height / self.size), math.ceil(self.grid.width / self.size)
        self.peak, self.count = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int64)

    def add(self, window: Window, scores: npt.NDArray[np.float32]) -> None:
        """Take in the scores of a window, NaN where not valid."""
        # where tiles begin within the window, which may start and end inside of one
        rows, cols = (
            _cuts(*span, self.size) for span in zip((window.row, window.col), window.stop, strict=True)
        )
        top, left = window.row // self.size, window.col // self.size
        here = slice(top, top + len(rows)), slice(left, left + len(cols))
        # along rows first, then along columns: one number a tile that the window touches
        peak = np.fmax.reduceat(np.fmax.reduceat(scores, rows, axis=0), cols, axis=1)  # fmax passes NaN over
        self.peak[here] = np.fmax(self.peak[here], peak)
        valid = np.isfinite(scores)
        self.count[here] += np.add.reduceat(
            np.add.reduceat(valid, rows, axis=0, dtype=np.int64), cols, axis=1
        )

    def corners(
        self, row: npt.NDArray[np.int64], col: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Map coordinates (n, 4, 2) of tiles, counted in tiles, and how many pixels of the grid each holds."""
        top, left = row * self.size, col * self.size
        bottom = np.minimum(top + self.size, self.grid.height)
        right = np.minimum(left + self.size, self.grid.width)
        ring = np.stack([[top, bottom, bottom, top], [left, left, right, right]])
        return self.grid.xy(ring[0], ring[1]).transpose(1, 0, 2), np.asarray((bottom - top) * (right - left))


def _cuts(start: int, stop: int, size: int) -> list[int]:
    """Where tiles begin between two rows or columns, counted from the first of them."""
    return [0, *range(size - start % size, stop - start, size)]
