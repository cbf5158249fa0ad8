"""What a region and its surroundings look like, in a few numbers that no model enters: they compare across models.

How each band differs from the surroundings, what these are like, and how rough. Units do not matter, for the
numbers are only ever compared by rank (see `preference`). Why size and shape are not among them: docs/log.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from satae.grid import Window
from satae.inference.regions import Anomaly
from satae.scene.stream import Source

GROUPS = 8  # of neighbouring bands that are averaged, at the most
RING = (2, 10)  # pixels from a region at which its surroundings begin and end
LARGEST = 512  # pixels a side; a larger region is seen around its peak
Bools = npt.NDArray[np.bool_]


def signatures(scene: Source, found: Sequence[Anomaly]) -> list[str]:
    """One signature a region as JSON, at one read each."""
    texts = []
    with scene.open() as reader:
        for anomaly in found:
            window = _window(anomaly)
            image, valid = reader.read(window)
            numbers = signature(image, valid, anomaly.inside(window) & valid)
            # six digits: they are compared by rank, and the text is a column of the layer
            texts.append(json.dumps([float(f"{number:.6g}") for number in numbers]))
    return texts


def signature(image: npt.NDArray[Any], valid: Bools, held: Bools) -> list[float]:
    """How the pixels `held` (row, col) of an image (band, row, col) differ from those around, and what these are like.

    Contrast and surroundings of each group of bands, and how rough these are on the whole.
    """
    # neighbouring bands say nearly the same: at most eight numbers, whatever the sensor
    groups = np.array_split(np.where(valid, image, 0).astype(np.float64), min(GROUPS, len(image)))
    bands = np.stack([group.mean(axis=0) for group in groups])
    # discs and no boxes, so that surroundings are as wide on the diagonal
    near, far = (cv2.dilate(held.astype(np.uint8), _disc(reach)) > 0 for reach in RING)
    ring = far & ~near & valid
    inner = bands[:, held].mean(axis=1)
    # a median: a neighbour that is an anomaly too does not move it
    outer = np.median(bands[:, ring], axis=1) if ring.any() else inner
    rough = np.abs(bands[:, ring] - outer[:, None]).mean() if ring.any() else 0.0
    return [*(inner - outer).tolist(), *outer.tolist(), float(rough)]


def _disc(reach: int) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2), np.uint8)


def _window(anomaly: Anomaly) -> Window:
    """The region and its surroundings, or a square around its peak where that is too large."""
    if anomaly.window.longest > LARGEST:
        return Window.around(anomaly.row, anomaly.col, LARGEST)
    return anomaly.window.with_margin(RING[1])
