"""Whether a scene is of the kind that a model was trained on: refused where it cannot be, doubted where it is not.

`check_fit` compares what is declared and the gross range; `verdict_on` compares a sample of pixels and of tile
scores with those of training. Nothing is adapted to the scene.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.errors import ModelError
from satae.grid import Grid, Window
from satae.inference import radiometry
from satae.inference.card import Domain, check_bands, check_gsd, generic
from satae.inference.radiometry import Change
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
FILL = 0.01  # share of the sampled pixels, from which on one number in every band may be fill
Floats = npt.NDArray[np.float64]
Image = npt.NDArray[Any]

log = logging.getLogger(__name__)


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


def check_fit(scene: Scene, model: Model, *, force: bool = False) -> None:
    """ModelError where bands, dtype, GSD or the meaning or range of the scene's DN are not those of the model.

    With `force` a doubt about what they mean, which a scene of a kind of its own may raise too, is only logged.
    """
    card, path = model.card, str(scene.path)
    names, declared = tuple(b.name for b in card.bands), (scene.scales, scene.offsets)
    # numbers are no names: whether bands were turned round to be right, or are wrong, their pixels must tell
    numbered = generic(names) and sorted(names) == sorted(scene.names)
    check_bands(card, names if numbered else scene.names, scene.dtype, declared, path)
    check_gsd(card, scene.grid.gsd_m, path)
    # what takes long to decode, or has many bands, is seen in few places: another unit or offset moves all pixels
    few = len(scene.names) > radiometry.MOST or any(f.source.slow for f in scene.files)
    with scene.open() as reader:
        windows = _windows(scene.grid, 64, 1, side=3 if few else SIDE)
        seen = [reader.read(window) for window in windows]
    own = radiometry.measure(seen)
    if numbered and names != scene.names and not _right(own, scene, model):
        check_bands(card, scene.names, scene.dtype, declared, path)
    if not own.quantiles:
        return
    if card.domain is not None and (found := radiometry.change(own, card.domain, card.dtype)) is not None:
        # fill that nobody declared has an end of its own, darker or brighter than all that was learned
        doubt = _fill(seen, scene, model) or _doubt(found, scene, model, own, card.domain)
        if not force:
            raise ModelError(f"{doubt}, or --force-domain if the scene is as it should be")
        log.warning("%s; it is scored as it is", doubt)
    floor, ceiling = np.array(card.normalization.floor), np.array(card.normalization.ceiling)
    # refused where the middle 90 % lie outside of all that the model can tell apart
    low, high = radiometry.at(own, 0.05), radiometry.at(own, 0.95)
    for i, band in enumerate(card.bands):
        if low[i] > ceiling[i] or high[i] < floor[i]:
            raise ModelError(
                f"{path} has DN from {low[i]:.4g} to {high[i]:.4g} in {band.name} and the model was trained on "
                f"{floor[i]:.4g} to {ceiling[i]:.4g}; bring both to one scale, or train a model on the scene"
            )


def _fill(seen: Sequence[tuple[Image, npt.NDArray[np.bool_]]], scene: Scene, model: Model) -> str:
    """What to say where one number in every band covers much, and all is well without it; empty where not so."""
    learned = model.card.domain
    found = np.concatenate([image[:, valid].T for image, valid in seen])
    values, counts = np.unique(found[(found == found[:, :1]).all(axis=1), 0], return_counts=True)
    if learned is None or not len(values) or counts.max() < FILL * len(found):
        return ""
    value = values[counts.argmax()]
    rest = radiometry.measure((image, valid & ~(image == value).all(axis=0)) for image, valid in seen)
    if rest.quantiles and radiometry.change(rest, learned, model.card.dtype) is not None:
        return ""
    # as it is stored, for nodata are looked for before anything is added
    stored = _dn(float(value) - scene.shifts[0])
    return (
        f"{scene.path}: {counts.max() / len(found):.0%} of the sampled pixels are {stored} in every band, which looks "
        f"like fill that nobody declared; pass --nodata {stored}"
    )


def _right(own: Domain, scene: Scene, model: Model) -> bool:
    """Whether bands in the order of their numbers would be in a wrong one."""
    learned = model.card.domain
    if learned is None or not own.quantiles:
        return False
    order = [scene.names.index(b.name) for b in model.card.bands]
    found = radiometry.change(radiometry.in_order(own, order), learned, model.card.dtype)
    return found is not None and found.kind == "swapped"


def _doubt(found: Change, scene: Scene, model: Model, own: Domain, learned: Domain) -> str:
    """What seems to have been done to a scene's DN, by which numbers, and what undoes it."""
    names = [b.name for b in model.card.bands]
    if found.kind == "swapped":
        again = f"--bands {','.join(scene.names[i] for i in found.order)}" if found.order else "--bands"
        return (
            f"{scene.path} looks as if its bands ({_some(scene.names)}) came in another order than those of the model "
            f"({_some(names)}): "
            + (f"pass {again}" if scene.names != tuple(names) or generic(names) else "check their names")
        )
    level = radiometry.DARK if found.kind == "shifted" else radiometry.BRIGHT
    seen, known = (_some([_dn(v) for v in radiometry.at(d, level)]) for d in (own, learned))
    if found.kind == "full":
        return (
            f"{scene.path} has DN at the end of {scene.dtype}: 95 % lie below {seen}, and of training below {known}, "
            "as after a factor that was too large; bring it to the scale of training from what it was made of"
        )
    if found.kind == "scaled":
        times = (
            f"{_about(found.number)} times"
            if found.number >= 1
            else f"1/{_about(1 / max(found.number, 1e-9))} of"
        )
        return (
            f"{scene.path} has DN of about {times} those that the model was trained on: 95 % lie below {seen}, and "
            f"of training below {known}; bring it to their scale, such as with `gdal_translate -scale`"
        )
    return (
        f"{scene.path} looks as if about {_about(found.number)} were added to every DN: the darkest hundredth ends at "
        f"{seen}, and that of training at {known}; pass --offset with what takes it off (-1000 for reflectance "
        "of Sentinel-2 from baseline 04.00 on)"
    )


def _some(words: Sequence[str]) -> str:
    """A list of which the middle is left out where it is long."""
    return ", ".join(words if len(words) <= 8 else [*words[:4], "...", *words[-2:]])


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
    low, middle, high = (radiometry.at(domain, level) for level in (0.05, 0.5, 0.95))
    median = np.median(found, axis=0)
    i = int((np.abs(median - middle) / np.maximum(high - low, 1e-12)).argmax())
    at, learned_at, least, most = (_dn(v[i]) for v in (median, middle, low, high))
    name = model.card.bands[i].name
    return f"; {name} has a median of {at} and was learned at {learned_at} ({least} to {most} for 90 %)"


def _about(value: float) -> str:
    """Two digits: what is estimated is not known better."""
    return _dn(float(f"{value:.2g}"))


def _dn(value: float) -> str:
    """Four digits, or all of a whole number."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
