"""What stored numbers become and which of them count: fill, sums with an offset, vectors of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def sums(image: npt.NDArray[Any], shifts: tuple[float, ...]) -> npt.NDArray[Any]:
    """The DN (band, row, col) with a number a band added, held inside of an integer type."""
    if not any(shifts):
        return image
    # floats have room on both sides
    if image.dtype.kind == "f":
        return np.asarray(image + np.array(shifts, image.dtype)[:, None, None])
    limits = np.iinfo(image.dtype)
    span, moved = int(limits.max) - int(limits.min), np.empty_like(image)
    for plane, out, shift in zip(image, moved, shifts, strict=True):
        by = max(-span, min(span, int(shift)))
        # held before the sum where that would wrap around: no wider copy is made
        np.clip(plane, max(limits.min, limits.min - by), min(limits.max, limits.max - by), out=out)
        bits = out.view(out.dtype.str.replace("i", "u"))
        bits += bits.dtype.type(by % (span + 1))
    return moved


def directions(
    image: npt.NDArray[Any], good: npt.NDArray[np.bool_], coded: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Vectors (band, row, col) of length 1, and where they are good and have a direction.

    Their squared distance is 2 - 2 cos of the angle between them, so what compares distances compares angles.
    """
    # what is no number is 0 first, for it would make its whole vector none
    with np.errstate(invalid="ignore", over="ignore"):
        vector = np.where(good, image, 0).astype(np.float32)
        if coded == "signed square":
            vector = np.sign(vector) * (vector / np.float32(127.5)) ** 2
        length = np.sqrt((vector.astype(np.float64) ** 2).sum(axis=0))
    good = good & (length > 0)
    return (vector / np.where(good, length, 1)).astype(np.float32), good


def is_fill(image: npt.NDArray[Any], nodata: float) -> npt.NDArray[np.bool_]:
    """Where pixels equal `nodata`; floats to the precision that a number written as text keeps."""
    # integers are stored exactly
    if image.dtype.kind != "f":
        return np.asarray(image == nodata)
    if np.isnan(nodata):
        return np.asarray(np.isnan(image))
    # -3.4e38 is written with few digits in many files: the largest float and its rounded text are the same fill
    precision = 1e-4 if abs(nodata) > 1e38 else 4 * float(np.finfo(np.float32).eps)  # the latter is GDAL's
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((image == nodata) | (np.abs(image - nodata) <= precision * abs(nodata)))


def meaningful(image: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[np.bool_]:
    """True where all bands are finite as float32 and none is the user's nodata."""
    good = np.ones(image.shape[1:], bool)
    if image.dtype.kind == "f":
        # float64 beyond float32 would be infinite in the graph; NaN fails the comparison
        limit = float(np.finfo(np.float32).max)
        with np.errstate(invalid="ignore"):
            good &= (np.abs(image) <= limit).all(axis=0)
    if nodata is not None:
        good &= ~is_fill(image, nodata).any(axis=0)
    return good
