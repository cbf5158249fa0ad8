"""The bands of a scene that stand for those of a model by wavelength: the nearest ones, where each lies near enough.

Two hyperspectral sensors, or one after a recalibration, never have the same band centres. Nothing is interpolated: what
is scored was measured. Of wide bands only the order is settled so, where two providers name them differently.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from satae.errors import ModelError
from satae.inference.card import Band
from satae.inference.runtime import Model
from satae.scene.scene import File, Scene

NARROW = 30.0  # nanometres: wider bands are not so alike that one stands for its neighbour
SAME = 40.0  # nanometres by which centres of one band may differ between providers: NIR is 832 or 865
LISTED = 24  # wavelengths of a list in a sentence

log = logging.getLogger(__name__)


def by_wavelength(scene: Scene, model: Model) -> Scene:
    """The scene with one band for each of the model's, in its order, the nearest by wavelength.

    A scene comes back as it is where one of the two does not know its wavelengths, or where wide bands share a name or
    are not the same ones. Raises ModelError with both lists where a narrow band has no neighbour within its width.
    """
    wanted, widths = _known(model.card.bands)
    own = [nm for nm in scene.wavelengths if nm is not None]
    if not wanted or len(own) < len(scene.names):
        return scene
    if not _narrow(widths):
        return _in_order(scene, [b.name for b in model.card.bands], wanted)
    # (band of the model, band of the scene)
    apart = np.abs(np.array(wanted)[:, None] - np.array(own))
    order = apart.argmin(axis=1)
    if lacking := [nm for i, nm in enumerate(wanted) if apart[i, order[i]] > widths[i]]:
        raise ModelError(
            f"{scene.path} has no band within the width of {_listed(lacking)}: its bands lie at {_listed(own)} and the "
            f"model's at {_listed(wanted)}; choose a scene of such bands, or train a model on it"
        )
    # the scene as it was given: nothing to say
    if order.tolist() == list(range(len(own))):
        return scene
    twice = len(order) - len(set(order.tolist()))
    log.warning(
        "%s: %d of its %d bands are taken by wavelength, at most %.3g nm from those of the model%s",
        scene.path,
        len(order) - twice,
        len(own),
        apart.min(axis=1).max(),
        f"; {twice} of the model's bands share one with another" if twice else "",
    )
    return _picked(scene, order.tolist())


def _in_order(scene: Scene, names: Sequence[str], wanted: Sequence[float]) -> Scene:
    """The scene with its wide bands in the order of a model's, where they are the same ones under other names."""
    own = np.array([nm or 0.0 for nm in scene.wavelengths])
    # who shares a name goes by names, and says with --bands which are meant
    if len(own) != len(wanted) or set(names) & set(scene.names):
        return scene
    apart = np.abs(np.array(wanted)[:, None] - own)
    order = apart.argmin(axis=1).tolist()
    if sorted(order) != list(range(len(own))) or order == sorted(order) or apart.min(axis=1).max() > SAME:
        return scene
    log.warning(
        "%s: its bands %s are taken in the order of the model's, %s, by their wavelengths",
        scene.path,
        ", ".join(scene.names),
        ", ".join(names),
    )
    return _picked(scene, order)


def _narrow(widths: Sequence[float]) -> bool:
    return max(widths) <= NARROW


def _known(bands: Sequence[Band]) -> tuple[list[float], list[float]]:
    """Wavelengths and widths of a model's bands, the distance to the next one for a width that is not known.

    Empty where it does not know all wavelengths.
    """
    wanted = [band.wavelength for band in bands if band.wavelength is not None]
    if len(wanted) < len(bands):
        return [], []
    apart = np.abs(np.subtract.outer(wanted, wanted))
    np.fill_diagonal(apart, np.inf)
    widths = [band.width or float(near) for band, near in zip(bands, apart.min(axis=1), strict=True)]
    return wanted, widths


def _picked(scene: Scene, order: Sequence[int]) -> Scene:
    """The scene with some of its bands, by position."""
    # a file may come twice, for bands of another lie between its own
    flat = [(file, band) for file in scene.files for band in file.bands]
    chosen = [flat[i] for i in order]
    runs = [list(group) for _, group in groupby(chosen, key=lambda of: id(of[0]))]
    files = [File(run[0][0].source, tuple(band for _, band in run), run[0][0].alpha) for run in runs]
    names = [scene.names[i] for i in order]
    # a band that stands for two is named with its place
    names = [f"{name}_{i}" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]
    scales, offsets = (tuple(of[i] for i in order) for of in (scene.scales, scene.offsets))
    return replace(scene, files=tuple(files), names=tuple(names), scales=scales, offsets=offsets)


def _listed(wavelengths: Sequence[float]) -> str:
    """400, 410, ..., 2490 and 2500 nm."""
    texts = [f"{nm:g}" for nm in wavelengths]
    if len(texts) > LISTED:
        half = LISTED // 2
        texts = [*texts[:half], "...", *texts[-half:]]
        return f"{', '.join(texts)} nm ({len(wavelengths)} bands)"
    return f"{', '.join(texts)} nm"
