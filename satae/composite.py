"""Bands of a scene as a picture for people: which are shown, between which values, how bright.

Every picture of a scene is made here, so that chips, maps and figures of one scene look alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BANDS = 3  # that are shown at the most
EXTREMES = 0.005, 0.995  # quantiles of a sample that are drawn black and white
GAMMA = 0.7  # under 1: most of a scene is dark beside its brightest roofs
GREY = 0.5  # of pixels that do not count

Values = npt.NDArray[Any]
Picture = npt.NDArray[np.uint8]


def display_bands(bands: int) -> list[int]:
    """Which of so many bands are shown: the first three, which are blue, green and red in most files, or the first."""
    return list(range(BANDS)) if bands >= BANDS else [0]


def contrast(sample: Values) -> tuple[Values, Values]:
    """Values (B) of a sample (B, n) that are drawn black and white, each band by itself."""
    low, high = np.quantile(sample, EXTREMES, axis=1)
    return low, high


def rgb(bands: Values, low: npt.ArrayLike, high: npt.ArrayLike, valid: Values | None = None) -> Values:
    """Bands (B, row, col) as (row, col, 3) in [0, 1]: the first three as blue, green, red, of fewer the first as grey.

    `low` and `high` (B) are drawn black and white; pixels where `valid` (row, col) is False are GREY.
    """
    chosen = display_bands(len(bands))
    start, stop = (np.asarray(ends)[chosen][:, None, None] for ends in (low, high))
    reach = np.where(stop > start, stop - start, 1)  # a band of one value is black
    level = np.nan_to_num(np.clip((bands[chosen] - start) / reach, 0, 1)) ** GAMMA
    drawn = np.moveaxis(level, 0, -1)[..., ::-1].repeat(BANDS // len(chosen), axis=-1)
    return np.asarray(drawn if valid is None else np.where(valid[..., None], drawn, GREY), level.dtype)


def bgr(bands: Values, low: npt.ArrayLike, high: npt.ArrayLike, valid: Values | None = None) -> Picture:
    """What `rgb` gives as OpenCV stores it: 0 to 255, blue first."""
    return np.ascontiguousarray(np.rint(255 * rgb(bands, low, high, valid)[..., ::-1]).astype(np.uint8))
