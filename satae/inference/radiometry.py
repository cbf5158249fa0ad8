"""Whether the DN of a scene mean what those of training meant: not shifted, not scaled, bands in the same order.

What differs from one true scene to the next is what lies in it. What hardly differs is how dark its darkest pixels are
in every band at once, how bright its brightest, and how bands change together from a pixel to the next. Only that is
compared, so that water beside desert is no fault, and what is found has one cause and one cure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.inference.card import Domain

LEVELS = (0.001, 0.01, 0.02, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
ENDS = (0.01, 0.99)  # levels at which DN are held before it is asked how bands change together
DARK, BRIGHT = 0.01, 0.95  # levels by which a shift and a scale are known
MOST = 16  # bands of which it is kept how they change together; of more, so many that are evenly spread
EXHAUSTIVE = 6  # bands up to which every order is tried; of more, two exchanged, all turned round or moved on
FEWEST = 4096  # valid pixels by which a scene is judged
TIMES = 4.0  # factor in all bands from which on a scene is scaled, and by which bands may differ in it
DARKER = 3.2  # factor of the dark end, likewise, in the band in which that is brightest
SHIFT = 0.1  # of the range of each band, from which on its dark end is shifted
AGREE = 0.5  # of the shift, by which bands may differ in it
SIGNED = 0.2  # of the bands, that may lie on both sides of zero
# of the ranges of bands in training: what is asked to judge a shift, and the order
FAINT, CONTRAST = 0.05, 0.25
MARGIN = 0.2  # in the logarithm of the distance, by which another order must be nearer than the one given
ALIKE = 0.05  # of the distance of training from itself in another order, up to which no order can be told
RIDGE, FINE_RIDGE = 1e-3, 1e-2  # shrinkage of covariances over pixels, and of those over steps
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """What a scene's DN are beside those of training.

    'full' where they pile up at the end of their type, 'scaled' by `number`, 'shifted' by `number`, or 'swapped': band
    `order[i]` is what band i was expected to be. The order is empty where it is not known band by band.
    """

    kind: str
    number: float = 0.0
    order: tuple[int, ...] = ()


def measure(pieces: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]]) -> Domain:
    """What the DN of some windows are like, each an image (band, row, col) and its `valid` pixels.

    The darkest and the brightest hundredth of each band are held at its ends, for how bands change together is asked of
    the ground, and what is looked for may be a few pixels hundreds of times as bright.
    """
    seen = list(pieces)
    found = np.concatenate([image[:, valid].T for image, valid in seen]).astype(np.float64)
    if len(found) < 2:
        return Domain(levels=list(LEVELS), quantiles=[], pixels=len(found))
    chosen = _spread(found.shape[1])
    ends = np.quantile(found[:, chosen], ENDS, axis=0)
    texture, steps = np.zeros((len(chosen), len(chosen))), 0
    for image, valid in seen:
        dn = image[chosen].astype(np.float64).clip(*ends[:, :, None, None])
        for axis in (1, 2):
            both = np.minimum(np.delete(valid, 0, axis - 1), np.delete(valid, -1, axis - 1))
            step = np.diff(dn, axis=axis)[:, both]
            texture, steps = texture + step @ step.T, steps + step.shape[1]
    if not steps:
        return Domain(levels=list(LEVELS), quantiles=[], pixels=len(found))
    return Domain(
        levels=list(LEVELS),
        quantiles=np.quantile(found, LEVELS, axis=0).T.tolist(),
        pixels=len(found),
        covariance=_short(np.atleast_2d(np.cov(found[:, chosen].clip(*ends).T))),
        texture=_short(texture / steps),
    )


def change(scene: Domain, learned: Domain, dtype: str) -> Change | None:
    """What was done to the DN of a scene, where it can be told from what lies in it; else None.

    Models of older versions, and scenes of a few pixels, say too little.
    """
    if scene.pixels < FEWEST or not set(LEVELS) <= set(learned.levels):
        return None
    # numbers on both sides of zero, such as decibels and embeddings, are no light: they have no dark end
    # (some bands of a cube, in which water vapour leaves noise alone, are not meant)
    if any((at(d, DARK) < -SHIFT * np.abs(at(d, 0.5))).mean() > SIGNED for d in (scene, learned)):
        return None
    if _full(scene, learned, np.dtype(dtype)):
        return Change("full")
    # where there is nothing to see, as under a sheet of cloud, darkness says little, and order where there is not much
    widths, known = (np.sort(at(d, 0.99) - at(d, DARK)) for d in (scene, learned))
    contrast = 0.0 if (known <= 0).any() else float((widths / known).min())
    return (
        _scaled(scene, learned)
        or (_shifted(scene, learned) if contrast >= FAINT else None)
        or (_swapped(scene, learned) if contrast >= CONTRAST else None)
    )


def in_order(domain: Domain, order: Sequence[int]) -> Domain:
    """What is measured of bands in another order: band i is band `order[i]`; of many bands only quantiles are left."""
    kept = list(order) if len(order) == len(domain.texture) else []
    pairs = ([[matrix[i][j] for j in kept] for i in kept] for matrix in (domain.covariance, domain.texture))
    return Domain(
        levels=domain.levels,
        quantiles=[domain.quantiles[i] for i in order],
        pixels=domain.pixels,
        **dict(zip(("covariance", "texture"), pairs, strict=True)),
    )


def at(domain: Domain, level: float) -> Floats:
    """The DN of each band at one of the levels of a domain."""
    return np.array(domain.quantiles)[:, domain.levels.index(level)]


def _full(scene: Domain, learned: Domain, dtype: np.dtype[Any]) -> bool:
    """Whether DN pile up at the largest number of an integer type, as they do after a factor, and did not in training.

    That is so in half of the bands. Clouds and snow do it in 8 bit, so there three quarters of the pixels must; of more
    bits a twentieth is no scene.
    """
    if dtype.kind not in "iu":
        return False
    end, (upper, under) = np.iinfo(dtype).max, (0.25, 0.75) if dtype.itemsize == 1 else (BRIGHT, 0.99)
    return bool(((at(scene, upper) >= end) & (at(learned, under) < end)).mean() >= 0.5)


def _scaled(scene: Domain, learned: Domain) -> Change | None:
    """Every band is several times as bright, or as dark, by about one factor."""
    own, theirs = at(scene, BRIGHT), at(learned, BRIGHT)
    if ((theirs <= 0) | (own < 0)).mean() > SIGNED:
        return None
    ratio = np.maximum(own, 0)[theirs > 0] / theirs[theirs > 0]
    # a tenth of many bands may be noise, on either side
    least, most = np.quantile(ratio, [0.1, 0.9]) if len(own) > MOST else (ratio.min(), ratio.max())
    # of very dark ones little more than rounding is left, which no factor describes
    alike = most <= TIMES * least or most < 1 / 50
    # open water alone is as much darker, but not below the water that was learned: in the band in which dark pixels
    # are brightest, for in others next to nothing is left of them anyway
    i = int(np.where(theirs > 0, at(learned, DARK) / np.maximum(theirs, 1e-12), -1).argmax())
    floor, known = at(scene, DARK)[i], at(learned, DARK)[i]
    darker = most <= 1 / TIMES and floor * DARKER <= known
    if alike and (darker or (least >= TIMES and floor >= DARKER * known)):
        return Change("scaled", float(np.median(ratio)))
    return None


def _shifted(scene: Domain, learned: Domain) -> Change | None:
    """The darkest pixels of every band are brighter, or darker, by about one number.

    Light that nothing reflects is in the darkest pixels of at least one band of any ground: bare soil is dark in blue,
    snow in the short infrared, woods in red. With one or two bands there is no such band to count on.
    """
    own, theirs = at(scene, DARK), at(learned, DARK)
    if len(own) < 3:
        return None
    moved = own - theirs
    by = float(np.median(moved))
    enough = (np.sign(by) * moved >= SHIFT * (at(learned, BRIGHT) - theirs)).all()
    if by == 0 or not enough or (np.abs(moved - by) > AGREE * abs(by)).any():
        return None
    return Change("shifted", by)


def _swapped(scene: Domain, learned: Domain) -> Change | None:
    """In another order bands vary, and change from pixel to pixel, far more as they did in training."""
    if min(len(scene.texture), len(learned.texture)) < 2:
        return None
    of = _spread(len(learned.quantiles))
    width = (at(learned, 0.99) - at(learned, DARK))[of]
    unit = np.outer(width, width)
    orders = np.array(list(_orders(len(of))))
    far, told = np.zeros(len(orders)), np.zeros(len(orders))
    for mine, theirs, ridge, weight in (
        (scene.texture, learned.texture, FINE_RIDGE, 1.0),
        (scene.covariance, learned.covariance, RIDGE, 0.5),
    ):
        # (order, band, band): the scene's bands in each order, in units of the model's ranges
        turned = np.array(mine)[orders[:, :, None], orders[:, None, :]] / unit
        # the floor is a difference that a sample of training itself would have
        far += weight * np.log(
            _distance(_shrunk(turned, ridge), _shrunk(np.array(theirs) / unit, ridge)) + 1e-3
        )
        own = np.array(theirs)[orders[:, :, None], orders[:, None, :]] / unit
        told += weight * _distance(_shrunk(own, ridge), _shrunk(np.array(theirs) / unit, ridge))
    best = int(far.argmin())
    # bands that are alike in training, such as noise, may stand in any order
    if far[0] - far[best] <= MARGIN or told[best] <= ALIKE:
        return None
    whole = len(of) == len(learned.quantiles)
    return Change("swapped", order=tuple(orders[best].tolist()) if whole else ())


def _distance(some: Floats, one: Floats) -> Floats:
    """The symmetric Kullback-Leibler divergence of Gaussians (n, B, B) and (B, B) around zero, whatever their sizes."""
    size = np.exp((np.linalg.slogdet(one)[1] - np.linalg.slogdet(some)[1]) / len(one))[:, None, None]
    there = np.linalg.solve(one[None], some * size)
    back = np.linalg.solve(some * size, np.broadcast_to(one, some.shape))
    both = np.trace(there, axis1=1, axis2=2) + np.trace(back, axis1=1, axis2=2)
    return np.asarray(np.maximum(both / 2 - len(one), 0))


def _shrunk(covariance: Floats, ridge: float) -> Floats:
    """A covariance, or several, with a share of its mean variance added to each."""
    bands = covariance.shape[-1]
    mean = np.trace(covariance, axis1=-2, axis2=-1) / bands
    return np.asarray(covariance + ridge * mean[..., None, None] * np.eye(bands))


def _orders(bands: int) -> Iterable[tuple[int, ...]]:
    """The order as it is, and others."""
    plain = tuple(range(bands))
    if bands <= EXHAUSTIVE:
        yield from itertools.permutations(plain)
        return
    yield from (plain, plain[::-1], (*plain[1:], 0), (plain[-1], *plain[:-1]))
    for i, j in itertools.combinations(plain, 2):
        yield tuple({i: j, j: i}.get(k, k) for k in plain)


def _spread(bands: int) -> npt.NDArray[np.int64]:
    """Up to MOST of so many bands, evenly spread."""
    return np.unique(np.linspace(0, bands - 1, min(bands, MOST)).round().astype(np.int64))


def _short(matrix: Floats) -> list[list[float]]:
    """Six digits of each number: a card is read by people too."""
    return [[float(f"{v:.6g}") for v in row] for row in matrix]
