"""A place small enough for one look, as it was last seen: taken from pixels that are read to be scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from satae import composite
from satae.grid import Grid, Window
from satae.report import chips

SIDE = 1000  # cells of the longer side


class Sketch:
    """One pixel of each cell of `step` x `step`, of the last date on which it counts; grey where it never does."""

    def __init__(self, grid: Grid, natural: Sequence[int]) -> None:
        self.step = math.ceil(max(grid.height, grid.width) / SIDE)
        self.natural = list(natural)
        # the middle of each cell; of the last one, which may be cut, what is there
        half = self.step // 2
        self.rows, self.cols = (
            np.minimum(np.arange(0, n, self.step) + half, n - 1) for n in (grid.height, grid.width)
        )
        self.values = np.full((len(self.natural), len(self.rows), len(self.cols)), np.nan, np.float32)

    def add(self, window: Window, x: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        """Take in a window: x (date, B, pixel) by date and `valid` (date, pixel), in row-major order."""
        rows, cols = (
            slice(*np.searchsorted(places, (first, stop)))
            for places, first, stop in zip(
                (self.rows, self.cols), (window.row, window.col), window.stop, strict=True
            )
        )
        pixels = ((self.rows[rows, None] - window.row) * window.width + self.cols[cols] - window.col).ravel()
        # later dates over earlier ones
        for now, good in zip(x, valid, strict=True):
            part = self.values[:, rows, cols]
            seen = now[self.natural][:, pixels].reshape(part.shape)
            part[:] = np.where(good[pixels].reshape(part.shape[1:]), seen, part)

    def contrast(self) -> list[tuple[float, float]]:
        """The values of each of the bands that are drawn black and white."""
        known = np.isfinite(self.values[0])
        sample = self.values[:, known] if known.any() else np.zeros((len(self.natural), 1))
        return [(float(low), float(high)) for low, high in zip(*composite.contrast(sample), strict=True)]

    def png(self) -> bytes:
        """The picture."""
        low, high = np.array(self.contrast()).T
        return chips.png(composite.bgr(np.nan_to_num(self.values), low, high, np.isfinite(self.values[0])))
