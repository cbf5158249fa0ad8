"""What an analyst's decisions say of other regions that look like those judged: by how much their odds change.

A Gaussian process classifier (Rasmussen and Williams 2006, algorithms 3.1 and 3.2) over signatures. Its prior is
the share of regions that were accepted, whatever they look like: what resembles nothing that was judged, and
everything where little was, stays where the score puts it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special, stats
from scipy.spatial import distance

from satae.decisions.decisions import ACCEPTED, REJECTED, Decisions
from satae.gis.columns import Region

STRENGTH = 2.0  # prior deviation of the log-odds
LENGTH = 1.0  # root mean square difference of signatures, in deviations, over which decisions carry
STEPS = 50  # of Newton's method, which takes about ten
SETTLED = 1e-9
BLOCK = 4096  # regions that are looked at together
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PreferenceCounts:
    """Decisions that ranks were moved by, decisions that none could be by, and how many ranks changed."""

    accepted: int
    rejected: int
    unusable: int
    moved: int


def prefer(regions: Sequence[Region], decisions: Decisions) -> tuple[list[Region], PreferenceCounts]:
    """The regions, in their order, with the feedback by which `columns.by_rank` moves them.

    Decisions on objects move objects, those on areas areas. Decisions of another number of bands, or of a version
    without signatures, are not used.
    """
    judged = decisions.are(ACCEPTED) | decisions.are(REJECTED)
    known = numbers_of(decisions.frame["signature"])
    accepted, used, moved = decisions.are(ACCEPTED), np.zeros(len(known), bool), list(regions)
    for kind in {region.kind for region in regions}:
        own = [i for i, region in enumerate(regions) if region.kind == kind]
        wanted = numbers_of([regions[i].signature for i in own])
        # signatures of another length are of another number of bands
        length = max(map(len, wanted))
        usable = np.array([len(numbers) == length > 0 for numbers in known], bool)
        usable &= judged & decisions.are_of(kind)
        used |= usable
        if usable.any():
            decided = np.array([known[i] for i in np.flatnonzero(usable)])
            values = odds(decided, accepted[usable], np.array(wanted))
            for i, value in zip(own, values, strict=True):
                moved[i] = replace(regions[i], feedback=float(value))
    counts = int((used & accepted).sum()), int((used & ~accepted).sum()), int((judged & ~used).sum())
    changed = sum(one != other for one, other in zip(_order(regions), _order(moved), strict=True))
    return moved, PreferenceCounts(*counts, changed)


def _order(regions: Sequence[Region]) -> list[int]:
    """The numbers of regions in the order of their ranks."""
    return sorted(range(len(regions)), key=lambda i: regions[i].key)


def numbers_of(texts: Iterable[str]) -> list[list[float]]:
    """The numbers of each signature, none where it is no list of finite numbers."""
    return [_numbers(text) for text in texts]


def _numbers(text: str) -> list[float]:
    try:
        found = [float(number) for number in json.loads(text)]
    except (ValueError, TypeError, RecursionError):
        return []
    return found if all(map(math.isfinite, found)) else []


def odds(decided: Floats, accepted: npt.NDArray[np.bool_], regions: Floats) -> Floats:
    """How much more likely each of m regions is to be accepted than any one: log10 of the ratio of the odds.

    `decided` (n, d) and `regions` (m, d) are signatures, of which only the order matters, number by number;
    `accepted` (n) says how the former were judged. 0 where there is none.
    """
    if not len(decided) or not len(regions):
        return np.zeros(len(regions))
    known, new, prior = _scaled(decided, accepted, regions)
    pull, _ = _mode(_covariance(known, known), accepted.astype(np.float64), prior)
    return np.asarray(_covariance(new, known) @ pull / math.log(10))


def chances(decided: Floats, accepted: npt.NDArray[np.bool_], regions: Floats) -> Floats:
    """How likely each of m regions is to be accepted, by what it looks like alone; see `odds`.

    The same classifier, averaged over what it is unsure of (Rasmussen and Williams 2006, algorithm 3.2, with the
    probit in the place of the logistic, as MacKay 1992): what resembles nothing that was judged is near the prior.
    """
    if not len(regions):
        return np.zeros(0)
    # nothing is known: either is as likely
    if not len(decided):
        return np.full(len(regions), 0.5)
    known, new, prior = _scaled(decided, accepted, regions)
    covariance = _covariance(known, known)
    pull, root = _mode(covariance, accepted.astype(np.float64), prior)
    # K* (K + 1/W)^-1 K* by a triangle's inverse: a product of matrices is quicker than to solve for each region
    lower = np.linalg.cholesky(np.eye(len(known)) + root[:, None] * covariance * root)
    inner = np.linalg.inv(lower) * root
    found = np.empty(len(new))
    for start in range(0, len(new), BLOCK):
        block = slice(start, start + BLOCK)
        near = _covariance(new[block], known)
        variance = STRENGTH**2 - ((near @ inner.T) ** 2).sum(axis=1)
        shrink = np.sqrt(1 + np.pi * np.maximum(variance, 0) / 8)
        found[block] = special.expit((near @ pull + prior) / shrink)
    return found


def _scaled(
    decided: Floats, accepted: npt.NDArray[np.bool_], regions: Floats
) -> tuple[Floats, Floats, float]:
    """Signatures on one scale, and the log-odds of the prior."""
    # together: the decided and the new ones share one scale
    scores = normal_scores(np.concatenate([decided, regions]))
    # Laplace's rule: one decision does not make the other kind impossible
    share = (accepted.sum() + 1) / (len(accepted) + 2)
    return scores[: len(decided)], scores[len(decided) :], math.log(share / (1 - share))


def normal_scores(values: Floats) -> Floats:
    """Each column (n, d) by rank, as quantiles of the standard normal (van der Waerden); ties share one."""
    # only ranks matter, so units, gains and offsets of a sensor do not
    ranks = stats.rankdata(values, axis=0)
    return np.asarray(special.ndtri(ranks / (len(values) + 1)), np.float64)


def _covariance(one: Floats, other: Floats) -> Floats:
    """(n, m), from the mean squared difference."""
    apart = distance.cdist(one, other, "sqeuclidean") / one.shape[1]
    return np.asarray(STRENGTH**2 * np.exp(-apart / (2 * LENGTH**2)))


def _mode(covariance: Floats, judged: Floats, prior: float) -> tuple[Floats, Floats]:
    """Where the posterior has its mode (algorithm 3.1): what each of n decisions pulls with there, the gradient of the
    log likelihood, and the square root of its curvature."""
    latent = np.zeros(len(judged))
    for _ in range(STEPS):
        # W = p (1 - p) is the curvature of the logistic likelihood; B = 1 + W^1/2 K W^1/2 is always well conditioned
        p = special.expit(latent + prior)
        root = np.sqrt(p * (1 - p))
        target = root**2 * latent + judged - p
        inner = np.eye(len(judged)) + root[:, None] * covariance * root
        pull = target - root * np.linalg.solve(inner, root * (covariance @ target))
        before, latent = latent, covariance @ pull
        if np.abs(latent - before).max() < SETTLED:
            break
    p = special.expit(latent + prior)
    return np.asarray(judged - p), np.asarray(np.sqrt(p * (1 - p)))
