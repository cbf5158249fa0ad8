"""Sources and models that are held in memory, and the map that a scan stitches from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from affine import Affine

from satae.grid import Grid, Window
from satae.inference import scan
from satae.scoring.cache import PixelCache


@dataclass(frozen=True)
class Memory:
    """A source whose pixels (band, row, col) are an array; `valid` (row, col)."""

    image: np.ndarray
    valid: np.ndarray
    block: tuple[int, int] = (16, 16)
    pixel_bytes: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"b{i + 1}" for i in range(len(self.image)))

    @property
    def dtype(self) -> str:
        return str(self.image.dtype)

    @property
    def grid(self) -> Grid:
        return Grid(*self.valid.shape, Affine.identity(), None)

    @contextmanager
    def open(self) -> Iterator[Memory]:
        yield self

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        inside = window.within(self.grid.window)
        image = np.zeros((len(self.image), window.height, window.width), self.image.dtype)
        valid = np.zeros((window.height, window.width), bool)
        if inside is not None:
            here, there = inside.slices(window), inside.slices(self.grid.window)
            image[:, *here], valid[here] = self.image[:, *there], self.valid[there]
        return image, valid


def passed(source: Any, model: Any, folder: Path, floor: float = 0.0, shown: int = 3) -> PixelCache:
    """What is kept of a source after a scan; the floor is in raw scores."""
    kept = PixelCache(source, folder, floor, range(min(shown, len(source.names))))
    for seen in scan.look(source, model, 1):
        kept.add(seen, seen.scores)
    return kept


def stitched(source: Any, model: Any, workers: int = 2) -> np.ndarray:
    """The whole map, after a check that the strips cover the grid once."""
    out = np.full((source.grid.height, source.grid.width), np.nan, np.float32)
    count = np.zeros(out.shape, int)
    for window, scores in scan.scan(source, model, workers):
        out[window.slices(source.grid.window)] = scores
        count[window.slices(source.grid.window)] += 1
    assert (count == 1).all()
    return out


class Identity:
    """Stands in for a model: the score of a pixel is its first band."""

    device, card = "cpu", SimpleNamespace(stride=4, halo=0, core=256, frame=0)

    def anomaly_map(self, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        return np.where(valid, image[:, 0], np.nan).astype(np.float32)
