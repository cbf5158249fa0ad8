"""Whether a scene is of the kind that a model was trained on: refused where it cannot be, doubted where it is not.

`check_fit` compares what is declared and the gross range; `verdict_on` compares a sample of pixels and of tile
scores with those of training. Nothing is adapted to the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from satae.errors import ModelError
from satae.grid import Grid, Window
from satae.inference.card import check_bands, check_gsd
from satae.inference.runtime import Model
from satae.scene.scene import Scene
from satae.scene.stream import Source
from satae.scoring.cache import PixelCache

SIDE = 7  # windows a row and column of the sample, at the most
LARGEST = 256  # pixels a side of a window
WINDOWS = 25  # of them that are scored
FEWEST = 6  # windows from which a scene is judged
RARE_PEAK = 0.05  # tail probability of a window's peak, among held-out tiles, and ...
RARE_PIXEL = 0.01  # ... of a pixel, among held-out ones
CROWD = 0.05  # share of rare pixels, five times what is normal, that makes a window with a rare peak strange
STRANGE = 0.5  # share of strange windows from which on a scene is foreign
OUTSIDE = 0.5  # share of pixels outside the range of training from which on that is worth a note
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What is judged of a scene.

    `domain` is 'same' or 'foreign', or None where the scene is too small to tell; `note` says what differs.
    """

    domain: str | None = None
    note: str = ""

    @property
    def foreign(self) -> bool:
        """Whether regions of the scene would be the scene itself."""
        return self.domain == "foreign"


def check_fit(scene: Scene, model: Model) -> None:
    """ModelError where bands, dtype, GSD or the range of the scene's DN are not those of the model."""
    card, path = model.card, str(scene.path)
    check_bands(card, scene.names, scene.dtype, (scene.scales, scene.offsets), path)
    check_gsd(card, scene.grid.gsd_m, path)
    # nine small windows: enough to see another unit or offset, which shifts all pixels
    sample = np.concatenate(_pixels(scene, _windows(scene.grid, 64, 1, side=3)))
    if not len(sample):
        return
    floor, ceiling = np.array(card.normalization.floor), np.array(card.normalization.ceiling)
    # refused where the middle 90 % lie outside of all that the model can tell apart
    low, high = np.quantile(sample, [0.05, 0.95], axis=0)
    for i, band in enumerate(card.bands):
        if low[i] > ceiling[i] or high[i] < floor[i]:
            raise ModelError(
                f"{path} has DN from {low[i]:.4g} to {high[i]:.4g} in {band.name} and the model was trained on "
                f"{floor[i]:.4g} to {ceiling[i]:.4g}; bring both to one scale, or train a model on the scene"
            )


def verdict_on(kept: PixelCache, model: Model) -> Verdict:
    """The verdict on a scene from windows that are spread over it.

    Foreign where half of them are strange: their peak is one that 1 in 20 held-out tiles of training has,
    and rare pixels are not a few, as an object would have them, but 5 % of the window. Where half of the
    pixels lie, in some band, outside the range of 99.8 % of the training sample and the scores are still
    ordinary, that is a note and no more: nothing is flooded, but something may be missed.
    """
    side = min(model.card.tile, LARGEST)
    windows = _windows(kept.grid, side, model.card.stride)
    pixels = _pixels(kept, windows)
    # at least half of a window is valid: of less its maximum is not that of a tile
    usable = [i for i, p in enumerate(pixels) if len(p) >= side**2 / 2]
    usable = [usable[i] for i in np.unique(np.linspace(0, len(usable) - 1, WINDOWS).astype(int)) if usable]
    if len(usable) < FEWEST:
        return Verdict()
    found = np.concatenate([pixels[i] for i in usable])
    normal = model.card.normalization
    outside = ((found < normal.low) | (found > normal.high)).any(axis=1).mean()
    strange = _strange(kept, model, [windows[i] for i in usable])
    foreign, reasons = strange >= STRANGE * len(usable), []
    if foreign:
        reasons.append(f"{strange} of {len(usable)} sampled tiles score as hardly any of training does")
    if outside >= OUTSIDE:
        reasons.append(f"{outside:.0%} of the sampled pixels lie outside the range that was learned")
    note = " and ".join(reasons) + _most_shifted(found, model) if reasons else ""
    return Verdict("foreign" if foreign else "same", note)


def _windows(grid: Grid, size: int, stride: int, side: int = SIDE) -> list[Window]:
    """Up to `side` x `side` whole tiles, evenly spread, from multiples of the stride on."""
    starts = []
    for length in (grid.height, grid.width):
        whole = max(1, length // size)
        places = np.unique(np.linspace(0, whole - 1, side).astype(int)) * size
        starts.append([int(p) // stride * stride for p in places])
    return [Window(row, col, size, size) for row in starts[0] for col in starts[1]]


def _pixels(scene: Source, windows: Sequence[Window]) -> list[Floats]:
    """Valid pixels (n, B) of each window."""
    found = []
    with scene.open() as reader:
        for window in windows:
            image, valid = reader.read(window)
            found.append(image[:, valid].T.astype(np.float64))
    return found


def _strange(kept: PixelCache, model: Model, windows: Sequence[Window]) -> int:
    """How many windows have a rare peak and a crowd of rare pixels."""
    calibration, count = model.card.calibration, 0
    assert calibration is not None
    for window in windows:
        scores = kept.scores(window)
        values = scores[np.isfinite(scores)]
        crowd = (calibration.pixel.p(values) <= RARE_PIXEL).mean()
        count += bool(calibration.tile.p(values.max()) <= RARE_PEAK and crowd >= CROWD)
    return count


def _most_shifted(found: Floats, model: Model) -> str:
    """The band whose median lies furthest from that of training, in units of the range of 90 %."""
    domain = model.card.domain
    if domain is None:
        return ""
    # the five quantiles that a card holds: 5, 25, 50, 75 and 95 %
    low, _, middle, _, high = np.array(domain.quantiles).T
    median = np.median(found, axis=0)
    i = int((np.abs(median - middle) / np.maximum(high - low, 1e-12)).argmax())
    at, learned_at, least, most = (_dn(v[i]) for v in (median, middle, low, high))
    name = model.card.bands[i].name
    return f"; {name} has a median of {at} and was learned at {learned_at} ({least} to {most} for 90 %)"


def _dn(value: float) -> str:
    """Four digits, or all of a whole number."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
