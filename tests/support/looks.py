"""What report and chips are made from: the pixels of a region, and the ends between which they are shown."""

from __future__ import annotations

import numpy as np

from satae.grid import Window
from satae.inference.card import Normalization
from satae.report import reasons


def look(
    image: np.ndarray, expected: np.ndarray | float = 0.0, inside: np.ndarray | None = None
) -> reasons.Look:
    """A look at an image (band, row, col), of which all is the region unless told."""
    whole = np.ones(image.shape[1:], bool)
    full = np.broadcast_to(np.float32(expected), image.shape)
    window = Window(0, 0, *image.shape[1:])
    return reasons.Look(window, image, whole, full, full, whole if inside is None else inside)


def fitted(bands: int, low: float = 100.0, high: float = 1100.0) -> Normalization:
    """What `composite` reads of a card."""
    ends = {"low": [low] * bands, "high": [high] * bands, "floor": [low] * bands, "ceiling": [high] * bands}
    return Normalization(space="bands", stretch="linear", components=bands, ridge=0, **ends)  # type: ignore[arg-type]
