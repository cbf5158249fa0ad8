"""From the numbers that files store to those that count: what is added to DN, and vectors of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def with_shift(image: npt.NDArray[Any], shifts: tuple[float, ...]) -> npt.NDArray[Any]:
    """The DN (band, row, col) with a number a band added, held inside of an integer type."""
    if not any(shifts):
        return image
    if image.dtype.kind == "f":
        return np.asarray(image + np.array(shifts, image.dtype)[:, None, None])
    limits = np.iinfo(image.dtype)
    moved = image + np.array(shifts, np.int64)[:, None, None]
    return np.clip(moved, limits.min, limits.max).astype(image.dtype)


def directions(
    image: npt.NDArray[Any], good: npt.NDArray[np.bool_], coded: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Vectors (band, row, col) of length 1, and where they are good and have a direction.

    Their squared distance is 2 - 2 cos of the angle between them, so what compares distances compares angles.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        vector = np.where(good, image, 0).astype(np.float32)
        if coded == "signed square":
            vector = np.sign(vector) * (vector / np.float32(127.5)) ** 2
        length = np.sqrt((vector.astype(np.float64) ** 2).sum(axis=0))
    good = good & (length > 0)
    return (vector / np.where(good, length, 1)).astype(np.float32), good
