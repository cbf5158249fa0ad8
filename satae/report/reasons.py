"""Why a region was reported: its pixels beside what the model expected, measured band by band.

`looks` takes each region from pixels that were read and inferred before; `band_shares` and `spectral_share` say
what its error consists of, and `chips` draws it. It explains a score and makes none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from satae.grid import Window
from satae.inference.regions import Anomaly

SIDES = (32, 48, 64, 96, 192)  # of windows, in pixels: divisors of a chip's panel
CONTEXT = 1.5  # window over region
LISTED = 5  # bands, of those that add most
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """A region in its surroundings.

    `image` and `expected` (band, row, col) are stored and reconstructed DN, `error` (band, row, col) what each band
    adds; the last two are known in the region, and around it only of the bands that are shown. `valid` and `inside`
    (row, col) say which pixels count, and which of them the region holds. A region too large for a window is seen
    around its peak.
    """

    window: Window
    image: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    expected: npt.NDArray[np.float32]
    error: npt.NDArray[np.float32]
    inside: npt.NDArray[np.bool_]


class Pixels(Protocol):
    """Pixels of a scene that were read and inferred before; windows may reach beyond it."""

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Image (band, row, col) in DN and which pixels count (row, col)."""

    def explanation(self, window: Window) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """What each band adds to the error, and what was expected in DN (band, row, col)."""


def looks(pixels: Pixels, stride: int, found: Sequence[Anomaly]) -> Iterator[Look]:
    """One look a region, in order; windows begin at multiples of `stride`."""
    for anomaly in found:
        window = frame(anomaly, stride)
        image, valid = pixels.read(window)
        error, expected = pixels.explanation(window)
        yield Look(window, image, valid, expected, error, anomaly.inside(window) & valid)


def frame(anomaly: Anomaly, stride: int) -> Window:
    """A square around a region, from a multiple of the stride on; around the peak where it is too large."""
    extent = anomaly.window.longest
    # at least the region and a stride, since the corner moves back to a multiple of one
    wanted = max(math.ceil(CONTEXT * extent), extent + stride)
    side = next((s for s in SIDES if s >= wanted), SIDES[-1])
    # a region larger than any window is seen around its peak
    middle = anomaly.window.middle if extent + stride <= side else (anomaly.row, anomaly.col)
    corner = Window.around(*middle, side).cell((stride, stride))
    whole = -(-side // stride) * stride
    return Window(corner.row, corner.col, whole, whole)


def band_errors(look: Look) -> Floats:
    """What each band adds to the error of the region (B)."""
    return np.asarray(look.error[:, look.inside].sum(axis=1, dtype=np.float64))


def band_shares(errors: Floats, names: Sequence[str]) -> str:
    """The shares of the LISTED bands that add most, by falling share, as a JSON object.

    The shares of all bands sum to 1. Under a whitened score a band can take error away, as it agrees with
    the others where they correlate: its share is 0. Empty where there is no error to share.
    """
    # a band that took error away has no share
    added = np.maximum(errors, 0)
    total = float(added.sum())
    if not (total > 0 and math.isfinite(total)):
        return "{}"
    order = np.argsort(-errors, kind="stable")[:LISTED]
    return json.dumps({names[i]: round(float(added[i]) / total, 3) for i in order}, ensure_ascii=False)


def spectral_share(look: Look, spread: Floats) -> float:
    """The share of the squared residual that is one offset of the whole region's spectrum, in [0, 1].

    With r = (DN - expected) / spread of each pixel, |mean of r|^2 / mean of |r|^2: the part between in an
    analysis of variance. A region of another colour than expected is near 1, one whose texture or outline
    is unexpected near 0; the rest, 1 less this, is structural. A region of n pixels of pure noise has 1 / n
    on average, so that of a few pixels means little. NaN where there is no residual.
    """
    residual = look.image[:, look.inside].astype(np.float64) - look.expected[:, look.inside]
    # (B, n), in ranges of each band
    residual /= spread[:, None]
    total = float((residual**2).sum(axis=0).mean()) if residual.size else 0.0
    if not (total > 0 and math.isfinite(total)):
        return math.nan
    return min(1.0, float((residual.mean(axis=1) ** 2).sum()) / total)
