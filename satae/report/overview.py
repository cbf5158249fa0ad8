"""A scene and its heatmap small enough for one look, taken from what is read and scored anyway.

No pixel is read twice for it, and what it holds follows the size of the picture, not that of the scene.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from satae import composite
from satae.gis import qgis
from satae.grid import Window
from satae.inference.card import Normalization
from satae.inference.tilepeaks import Maxima
from satae.scene.scene import OfScene, Scene, Survey
from satae.scene.stream import Reader

SAMPLES = 2  # pixels a row and column of a cell that are averaged
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Picture:
    """A finished overview: PNGs of the scene and of its heatmap, (rows, cols) cells of `step` x `step` pixels."""

    step: int
    shape: tuple[int, int]
    scene: bytes
    heat: bytes


class Overview(OfScene):
    """A picture of at most `side` cells a row or column, each of `step` x `step` pixels.

    A `Source`, as the scene is: pixels that are read through it are sampled. `add` takes in the heatmap, of
    which a cell keeps the largest value, so that the smallest anomaly is seen. A fault in either is not in the way of
    who reads and scores: `picture` raises it.
    """

    def __init__(self, scene: Scene, side: int) -> None:
        self.scene, grid = scene, scene.grid
        self.survey = Survey(scene)
        self.step = math.ceil(max(grid.height, grid.width) / side)
        self.heat = Maxima(grid, self.step)
        self.shape = self.heat.peak.shape
        self.rows, self.cols = (
            _places(cells, self.step, length)
            for cells, length in zip(self.shape, (grid.height, grid.width), strict=True)
        )
        self.bands = scene.natural
        self.known = np.zeros((len(self.rows), len(self.cols)), bool)
        self.sample = np.zeros((len(self.bands), *self.known.shape), scene.dtype)
        self.fault: Exception | None = None

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """A reader of the scene that leaves a sample of what it reads."""
        with self.survey.open() as reader:
            yield _Sampling(reader, self)

    def sample_of(self, window: Window, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        """Take a sample of pixels that were read; threads that sample one place twice put the same there."""
        with self.keeping_faults():
            self._sample(window, image, valid)

    def _sample(self, window: Window, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        rows, cols = (
            slice(*np.searchsorted(places, span))
            for places, span in zip(
                (self.rows, self.cols),
                zip((window.row, window.col), window.stop, strict=True),
                strict=True,
            )
        )
        inside = np.ix_(self.rows[rows] - window.row, self.cols[cols] - window.col)
        self.known[rows, cols] = valid[inside]
        for plane, band in zip(self.sample, self.bands, strict=True):
            plane[rows, cols] = np.where(valid[inside], image[band][inside], 0)

    def add(self, window: Window, heat: npt.NDArray[np.float32]) -> None:
        """Take in a window of the heatmap, NaN where not scored."""
        with self.keeping_faults():
            self.heat.add(window, heat)

    @contextmanager
    def keeping_faults(self) -> Iterator[None]:
        """Keep the first fault of the block for `picture`."""
        try:
            yield
        except Exception as error:
            self.fault = self.fault or error

    def picture(self, fitted: Normalization) -> Picture:
        """The finished picture of what was seen so far."""
        if self.fault is not None:
            raise self.fault
        return Picture(self.step, self.shape, self.scene_png(fitted), self.heat_png())

    def scene_png(self, fitted: Normalization) -> bytes:
        """The scene, in colours as chips have them, grey where no pixel counts."""
        count = self._summed(self.known)
        mean = np.stack([self._summed(band) for band in self.sample]) / np.maximum(count, 1)
        low, high = np.array(fitted.low)[self.bands], np.array(fitted.high)[self.bands]
        return _png(composite.bgr(mean, low, high, count > 0))

    def contrast(self) -> list[tuple[float, float]]:
        """The DN of each of `bands` that are drawn black and white, of the pixels that were sampled."""
        sample = self.sample[:, self.known]
        if not sample.size:
            return [(0.0, 1.0)] * len(self.bands)
        return [(float(low), float(high)) for low, high in zip(*composite.contrast(sample), strict=True)]

    def _summed(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The sum over each cell's samples."""
        height, width = self.shape
        cells = samples.reshape(height, SAMPLES, width, SAMPLES)
        return np.asarray(cells.sum(axis=(1, 3), dtype=np.float64))

    def heat_png(self) -> bytes:
        """The heatmap in the colours that QGIS shows it in, clear where it is low or absent."""
        peak = self.heat.peak.astype(np.float64)
        peak[~np.isfinite(peak)] = 0
        return _png(qgis.heat_colours(peak, qgis.ramp_top(float(peak.max()))))


@dataclass(frozen=True)
class _Sampling:
    """A reader that hands on what it reads."""

    reader: Reader
    overview: Overview

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        image, valid = self.reader.read(window)
        self.overview.sample_of(window, image, valid)
        return image, valid


def _places(cells: int, step: int, length: int) -> Ints:
    """SAMPLES rows (or columns) of each cell, rising; in the last one they stay inside."""
    offsets = (2 * np.arange(SAMPLES) + 1) * step // (2 * SAMPLES)
    places = (np.arange(cells)[:, None] * step + offsets).ravel()
    return np.asarray(np.minimum(places, length - 1), np.int64)


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
