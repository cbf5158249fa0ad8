"""Bands of a scene as a picture for people: which are shown, between which values, how bright.

Every picture of a scene is made here, so that chips, maps and figures of one scene look alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BANDS = 3  # that are shown at the most
EXTREMES = 0.005, 0.995  # quantiles of a sample that are drawn black and white
GAMMA = 0.7  # under 1: most of a scene is dark beside its brightest roofs
GREY = 0.5  # of pixels that do not count
COLOURS = {"blue": (430.0, 480.0, 520.0), "green": (520.0, 560.0, 605.0), "red": (605.0, 665.0, 700.0)}
# from, best and to in nanometres
FILLERS = {"band", "b", "sr", "surface", "reflectance", "toa", "boa", "dn"}  # words that say no colour

Values = npt.NDArray[Any]
Picture = npt.NDArray[np.uint8]


def display_bands(bands: int) -> list[int]:
    """Which of so many bands are shown: the first three, which are blue, green and red in most files, or the first."""
    return list(range(BANDS)) if bands >= BANDS else [0]


def natural(
    names: Sequence[str], wavelengths: Sequence[float | None] = (), declared: Sequence[str] = ()
) -> list[int]:
    """The bands that are blue, green and red, in this order: by name, else by wavelength, else as the file declares.

    Names and what is `declared` are one word a band, wavelengths in nanometres. Where one of the three is not found,
    the bands are those of `display_bands`.
    """
    said = [[w for w in re.findall("[a-z]+", name.lower()) if w not in FILLERS] for name in names]
    for found in (
        [_only([i for i, words in enumerate(said) if words == [colour]]) for colour in COLOURS],
        [_nearest(wavelengths, *reach) for reach in COLOURS.values()],
        [_only([i for i, kind in enumerate(declared) if kind == colour]) for colour in COLOURS],
    ):
        if None not in found:
            return [i for i in found if i is not None]
    return display_bands(len(names))


def _only(found: list[int]) -> int | None:
    return found[0] if len(found) == 1 else None


def _nearest(wavelengths: Sequence[float | None], lowest: float, best: float, highest: float) -> int | None:
    inside = [
        (abs(nm - best), i) for i, nm in enumerate(wavelengths) if nm is not None and lowest <= nm < highest
    ]
    return min(inside)[1] if inside else None


def contrast(sample: Values, ends: tuple[float, float] = EXTREMES) -> tuple[Values, Values]:
    """Values (B) of a sample (B, n) that are drawn black and white, quantiles of each band by itself."""
    low, high = np.quantile(sample, ends, axis=1)
    return low, high


def rgb(
    bands: Values,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    valid: Values | None = None,
    *,
    gamma: float = GAMMA,
) -> Values:
    """Bands (B, row, col) as (row, col, 3) in [0, 1]: the first three as blue, green, red, of fewer the first as grey.

    `low` and `high` (B) are drawn black and white; pixels where `valid` (row, col) is False are GREY.
    """
    chosen = display_bands(len(bands))
    start, stop = (np.asarray(ends)[chosen][:, None, None] for ends in (low, high))
    reach = np.where(stop > start, stop - start, 1)  # a band of one value is black
    level = np.nan_to_num(np.clip((bands[chosen] - start) / reach, 0, 1)) ** gamma
    drawn = np.moveaxis(level, 0, -1)[..., ::-1].repeat(BANDS // len(chosen), axis=-1)
    return np.asarray(drawn if valid is None else np.where(valid[..., None], drawn, GREY), level.dtype)


def bgr(
    bands: Values,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    valid: Values | None = None,
    *,
    gamma: float = GAMMA,
) -> Picture:
    """What `rgb` gives as OpenCV stores it: 0 to 255, blue first."""
    drawn = rgb(bands, low, high, valid, gamma=gamma)
    return np.ascontiguousarray(np.rint(255 * drawn[..., ::-1]).astype(np.uint8))
