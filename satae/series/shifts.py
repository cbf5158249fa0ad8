"""By how much a date lies beside its place, in parts of a pixel, and its pixels moved back.

The shift is what of a date's difference from what is expected follows its gradient: of ground that lies s pixels
further on, x(p) = e(p - s), which is e - s e' for small s. It is solved by least squares over all windows of a sample,
all bands and pixels that count, as Lucas and Kanade (1981) do, again and again with what is expected moved by what was
found. Unlike the correlation of phases it needs no gapless picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

LEAST = 0.15  # pixels from which on a date is moved
MOST = 2.0  # pixels up to which it is: what lies further off is another fault
SURE = 5.0  # standard errors that a shift must have
LEFT = 0.98  # of the usual residual, that moving a date back must leave at the most
ROUNDS = 6
FEWEST = 500  # numbers over bands and pixels that must tell it
FAR = 2.5  # robust deviations from which on a pixel counts less
REACH = 4  # pixels around a window that moving it back takes

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Shift = tuple[float, float]  # (rows, columns) that the ground lies further on than it should
NONE: Shift = (0.0, 0.0)


def estimate(images: Sequence[Floats], expected: Sequence[Floats], valid: Sequence[Bools]) -> Shift:
    """The shift of one date, NONE where it is under LEAST or cannot be told.

    `images` and `expected` are windows (B, row, col) in comparable units, `valid` (row, col) those that count in both.
    """
    shift = np.zeros(2)
    error, apart = np.inf, []
    for _ in range(ROUNDS):
        step, error, usual = _step(images, expected, valid, shift)
        apart.append(usual)
        if not np.isfinite(error):
            return NONE
        shift = np.clip(shift + step, -2 * MOST, 2 * MOST)
        if np.abs(step).max() < 0.01:
            break
    size = float(np.hypot(*shift))
    # what seems to lie further off is another place or another fault, and moving it would hide that
    if size < max(LEAST, SURE * error) or size > MOST:
        return NONE
    # what a cloud does to slopes makes a shift too, but not one by which the ground lies nearer
    if _step(images, expected, valid, shift)[2] > LEFT * apart[0]:
        return NONE
    return float(np.round(shift[0], 3)), float(np.round(shift[1], 3))


def _step(
    images: Sequence[Floats], expected: Sequence[Floats], valid: Sequence[Bools], shift: Floats
) -> tuple[Floats, float, float]:
    """What is to be added to a shift, the standard error of that, and how far pixels are from what is expected."""
    slopes, left = [], []
    for image, there, good in zip(images, expected, valid, strict=True):
        known = good & np.isfinite(there).all(axis=0)
        here, inner = back(np.where(known, there, 0.0), known, (-shift[0], -shift[1]))
        # a pixel's slope is of its neighbours, so both must be known
        inner = cv2.erode(inner.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
        inner &= known
        if inner.sum() < 9:
            continue
        down, right = np.gradient(here, axis=(1, 2))
        # brightness of a window is no shift
        for band in range(len(here)):
            down_, right_, residual = (a[band][inner] for a in (down, right, image - here))
            slopes.append(np.stack([down_ - down_.mean(), right_ - right_.mean()], axis=1))
            # a cloud that the masks missed would take the mean along, and clear ground seem darker all over
            left.append(residual - np.median(residual))
    if not left or sum(map(len, left)) < FEWEST:
        return np.zeros(2), np.inf, 0.0
    slope, residual = np.concatenate(slopes), np.concatenate(left)
    scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-9)
    # what has changed, and clouds that the masks missed, have no say
    weight = np.minimum(1.0, FAR * scale / np.maximum(np.abs(residual), 1e-12)) ** 2
    normal = (slope * weight[:, None]).T @ slope
    if np.linalg.cond(normal) > 1e6:
        return np.zeros(2), np.inf, 0.0
    inverse = np.linalg.inv(normal)
    step = -inverse @ (slope.T @ (weight * residual))
    return step, float(scale * np.sqrt(np.trace(inverse))), scale


def back(image: npt.NDArray[Any], valid: Bools, shift: Shift) -> tuple[npt.NDArray[Any], Bools]:
    """An image (B, row, col) and `valid` moved back by a shift: x(p + shift), by cubic convolution (Keys 1981).

    A pixel counts where all 4 x 4 that it is made of do; nothing beyond the edge does.
    """
    rows, cols = (_taps(s) for s in shift)
    size = 2 * REACH + 1
    support = cv2.erode(
        valid.astype(np.uint8), np.outer(rows != 0, cols != 0).astype(np.uint8), anchor=(REACH, REACH),
        borderType=cv2.BORDER_CONSTANT, borderValue=0,
    )  # fmt: skip
    clean = np.where(valid, image, 0).astype(np.float64)
    moved = np.stack(
        [cv2.sepFilter2D(band, cv2.CV_64F, cols, rows, borderType=cv2.BORDER_REFLECT) for band in clean]
    )
    assert len(rows) == len(cols) == size
    if image.dtype.kind in "iu":
        limits = np.iinfo(image.dtype)
        moved = np.clip(np.rint(moved), limits.min, limits.max)
    return moved.astype(image.dtype), support > 0


def _taps(shift: float) -> Floats:
    """The weights of pixels -REACH to REACH around one, by which its value `shift` further on is made."""
    apart = np.abs(np.arange(-REACH, REACH + 1) - shift)
    near = 1.5 * apart**3 - 2.5 * apart**2 + 1
    further = -0.5 * apart**3 + 2.5 * apart**2 - 4 * apart + 2
    out = np.where(apart <= 1, near, np.where(apart < 2, further, 0.0))
    out[np.abs(out) < 1e-12] = 0.0
    return np.asarray(out / out.sum())
