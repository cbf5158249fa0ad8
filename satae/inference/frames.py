"""Overlapping frames whose outputs are averaged: how a model is applied that sees one frame of pixels at a time.

A number of such a model follows from all of its frame, so no halo gives what another frame would. Each pixel is seen
in all frames of a lattice that hold it, and counts most where it lies in their middle: there are no seams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

OVERLAP = 2  # frames that hold a pixel, along rows and along columns
PIXELS = 2**18  # of frames in one inference

Mask = npt.NDArray[np.bool_]
Outputs = Sequence[npt.NDArray[np.float32]]
Run = Callable[[npt.NDArray[Any], Mask], Outputs]
"""images (n, B, F, F) and masks (n, F, F) -> outputs (n, K, F, F)."""


def window(side: int) -> npt.NDArray[np.float64]:
    """The weight of each pixel of a frame (side, side): sin^2 along rows times sin^2 along columns.

    Two such frames that overlap by half sum to 1 where they do.
    """
    # half a pixel in, so that no weight is 0 and a frame that is alone with a pixel still gives it a value
    along = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    return np.asarray(along[:, None] * along[None, :])


def blend(run: Run, image: npt.NDArray[Any], valid: Mask, frame: int, step: int) -> Outputs:
    """The outputs (N, K, H, W) of `run` for an image (N, B, H, W), averaged over frames at multiples of `step`.

    A frame counts by `window` and by the share of it that is valid, and is not run where nothing is. What is
    at least frame - step pixels from the edges is seen in every frame that there is for it: that part of the
    result does not depend on what the image was cut from. 0 where no frame holds a valid pixel.
    """
    height, width = image.shape[-2:]
    # to a whole number of steps, and to one frame at least; what is added is invalid
    more = [max(frame - side, -(side - frame) % step) for side in (height, width)]
    image = np.pad(image, ((0, 0), (0, 0), (0, more[0]), (0, more[1])))
    valid = np.pad(valid, ((0, 0), (0, more[0]), (0, more[1])))
    sums: list[npt.NDArray[np.float64]] = []
    total = np.zeros(valid.shape)
    weight = window(frame)
    # as many frames in one inference as bound its memory, whatever the size of the image
    for places in _batches(valid, frame, step):
        parts = [(i, slice(row, row + frame), slice(col, col + frame)) for i, row, col in places]
        outputs = run(
            np.stack([image[i, :, rows, cols] for i, rows, cols in parts]),
            np.stack([valid[part] for part in parts]),
        )
        sums = sums or [np.zeros((len(image), out.shape[1], *valid.shape[1:])) for out in outputs]
        for number, (i, rows, cols) in enumerate(parts):
            # a frame that is mostly invalid was rebuilt from its fill: it says less
            share = weight * valid[i, rows, cols].mean()
            total[i, rows, cols] += share
            for added, out in zip(sums, outputs, strict=True):
                added[i, :, rows, cols] += share * out[number]
    # (N, 1, H, W); pixels that no frame reached stay 0
    scale = 1 / np.where(total > 0, total, 1)[:, None]
    return [(added * scale)[..., :height, :width].astype(np.float32) for added in sums]


def _batches(valid: Mask, frame: int, step: int) -> Iterator[list[tuple[int, int, int]]]:
    """(image, row, col) of the frames that hold a valid pixel, some at a time; one frame where none does."""
    count, height, width = valid.shape
    places = [
        (i, row, col)
        for i in range(count)
        for row in range(0, height - frame + 1, step)
        for col in range(0, width - frame + 1, step)
        if valid[i, row : row + frame, col : col + frame].any()
        # one frame in any case: the number and shapes of outputs are known from a run alone
    ] or [(0, 0, 0)]
    size = max(1, PIXELS // frame**2)
    for start in range(0, len(places), size):
        yield places[start : start + size]
