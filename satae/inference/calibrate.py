"""From raw scores to tail probabilities, and to the level at which background leaves so many regions.

The sample is the scores of held-out blocks. Down to p = 10 / n the tail is empirical and conservative (a
conformal p-value), beyond that a generalised Pareto tail joins it; nothing is trimmed and no Gaussian is
assumed (METHODS 6). Neighbours are alike, so n observations are worth fewer independent ones: those say what a
tail supports. Anomalies that hide in the held-out blocks make every p-value larger, never smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pydantic

from satae.console import round_up

Floats = npt.NDArray[np.float64]
EMPIRICAL = 10  # exceedances below which the empirical tail is not trusted
TAIL_SHARE = 0.05  # of the sample, to which the Pareto tail is fitted
CARRIED = 100  # times beyond 1 / n, to which a fitted tail is believed at the most
LAST = 1.0  # decades that are left to all scores beyond that, so that they rank
UNSEEN = 0.1  # of a score, the spread of a sample that shows none
KNOTS = 400
CANDIDATE_SHARE = (
    0.01  # of held-out pixels; no region reaches under that quantile, unless a lower one is asked for
)
SPECK = 4  # pixels; smaller regions are dropped by default
SIZES = (1, SPECK, 16)  # smallest sizes for which background regions are counted
PER_KM2 = 100.0  # false alarms are stated per 100 km2, or per 10 megapixels where areas are unknown
PER_PIXELS = 1e7
FAR = 10.0  # false alarms that are accepted by default


class Tail(pydantic.BaseModel, frozen=True, extra="forbid"):
    """p(s) = P(score >= s) for background, strictly decreasing.

    `scores` and `exponents` (-log10 p) are knots, both strictly increasing; beyond the last one the tail is
    generalised Pareto with `shape` >= 0 and `scale`, as far as `reach`; from there on the exponent rises ever more
    slowly and stays under `limit`. `n` is the size of the sample and `effective` the number of independent
    observations that it is worth, None where nobody knows (in models of older versions).
    """

    n: int
    scores: list[float]
    exponents: list[float]
    shape: float
    scale: float
    effective: float | None = pydantic.Field(default=None, gt=0)

    @property
    def independent(self) -> float:
        """How many independent observations the sample is worth; its size where that is not known."""
        return self.n if self.effective is None else self.effective

    @property
    def worth(self) -> str:
        """What is to be said of a sample that is worth less than its size, or nothing."""
        return "" if self.independent > 0.95 * self.n else f" (worth {self.independent:.3g} independent ones)"

    @property
    def smallest_p(self) -> float:
        """The smallest tail probability that the sample itself supports."""
        return min(1.0, EMPIRICAL / self.independent)

    @property
    def reach(self) -> float:
        """The exponent up to which the fitted tail is believed.

        It is that of 1 / n, carried as many times further as there are knots to fit it to: a constant or a handful of
        scores says nothing of what is beyond it, and no sample of anything more than a hundred times rarer.
        """
        return max(self.exponents[-1], math.log10(self.n * min(len(self.scores), CARRIED)))

    @property
    def limit(self) -> float:
        """The exponent that no score reaches."""
        return self.reach + LAST

    @property
    def is_short(self) -> bool:
        """Whether the sample is too small, or its scores too much alike, for a tail to be carried far."""
        return len(self.scores) < CARRIED

    def exponent(self, scores: npt.ArrayLike) -> Floats:
        """-log10 p of raw scores, under `limit`; NaN stays NaN."""
        e = self._fitted(scores)
        # the logarithm keeps what lies far beyond apart, in single precision too, and the quotient keeps it under 1
        grown = np.log1p(np.maximum(e - self.reach, 0))
        with np.errstate(invalid="ignore"):
            share = np.where(np.isinf(grown), 1.0, grown / (LAST + grown))
        return np.asarray(np.minimum(e, self.reach) + LAST * share)

    def score_at(self, exponents: npt.ArrayLike) -> Floats:
        """The inverse of `exponent`; infinite from `limit` on."""
        e = np.asarray(exponents, np.float64)
        share = np.clip((e - self.reach) / LAST, 0, 1)
        with np.errstate(divide="ignore", over="ignore"):
            return self.fitted_at(np.minimum(e, self.reach) + np.expm1(LAST * share / (1 - share)))

    def _fitted(self, scores: npt.ArrayLike) -> Floats:
        """-log10 p of raw scores as the fit has it, however far beyond the sample."""
        s = np.asarray(scores, np.float64)
        first, last = self.scores[0], self.scores[-1]
        # under the first knot the exponent falls towards 0, as an exponential that meets the knot
        below = self.exponents[0] * np.exp(np.minimum(s - first, 0) / self.scale)
        # beyond the last knot the exponent of the Pareto tail is added to that of the knot
        with np.errstate(over="ignore"):
            excess = np.maximum(s - last, 0) / self.scale
        # shape 0 is the exponential distribution, the limit of the formula below
        if self.shape < 1e-9:
            above = excess / math.log(10)
        else:
            above = np.log1p(self.shape * excess) / (self.shape * math.log(10))
        # between knots straight in the exponent, that is exponential in p; constant beyond both ends
        inner = np.interp(s, self.scores, self.exponents)
        return np.where(s < first, below, inner + above)

    def fitted_at(self, exponents: npt.ArrayLike) -> Floats:
        """The raw scores at which the fit itself has these exponents, however far beyond the sample."""
        e = np.asarray(exponents, np.float64)
        with np.errstate(divide="ignore"):
            # minus infinity where the exponent is 0: no score is that low
            below = self.scores[0] + self.scale * np.log(np.minimum(e / self.exponents[0], 1))
        excess = np.maximum(e - self.exponents[-1], 0) * math.log(10)
        above = excess if self.shape < 1e-9 else np.expm1(self.shape * excess) / self.shape
        inner = np.interp(e, self.exponents, self.scores)
        return np.where(e < self.exponents[0], below, inner + self.scale * above)

    def p(self, scores: npt.ArrayLike) -> Floats:
        """Tail probabilities of raw scores."""
        return np.asarray(10.0 ** -self.exponent(scores))


def fit(sample: npt.ArrayLike, effective: float | None = None) -> Tail:
    """The tail of a sample of at least two finite scores, worth `effective` independent ones."""
    s = np.sort(np.asarray(sample, np.float64).ravel())
    n = len(s)
    if n < 2 or not np.isfinite(s).all():
        raise ValueError(f"a calibration sample needs at least two finite scores, not {n}")
    # evenly in the logarithm of the rank: as many knots for the rarest thousandth as for the middle
    ranks = np.unique(np.geomspace(min(EMPIRICAL, n), n, KNOTS).round().astype(int))[::-1]
    # knots are scores of the sample; ties become one
    scores = np.unique(s[n - ranks])
    at_least = n - np.searchsorted(s, scores, side="left")
    # the share of the sample that is as high, the new score counted with it: a conformal p-value, never 0
    p = np.minimum(at_least + 1, n) / (n + 1)
    # strictly falling, or neither function could be inverted
    keep = np.concatenate([[True], np.diff(p) < 0])
    scores, p = scores[keep], p[keep]
    # exceedances over a threshold are Pareto in the limit (Pickands 1975), and so are those over a higher one
    tail = s[n - _tail_count(n) :]
    shape, scale = pareto(tail[1:] - tail[0])
    # the scale at the last knot is that at the threshold plus shape times the distance
    scale += shape * max(0.0, scores[-1] - tail[0])
    # a tail of one value has a width of 0; what it does not show it does not deny
    floor = max((1e-9 if scale else UNSEEN) * abs(float(s[-1])), 1e-12)
    return Tail(
        n=n,
        scores=scores.tolist(),
        exponents=(-np.log10(p)).tolist(),
        shape=float(shape),
        scale=float(max(scale, floor)),
        effective=effective,
    )


def _tail_count(n: int) -> int:
    """How many of n scores count as the tail: TAIL_SHARE, or EMPIRICAL, or half of them."""
    return min(max(EMPIRICAL, math.ceil(TAIL_SHARE * n)), math.ceil(n / 2))


def effective_size(hits: npt.ArrayLike, sizes: npt.ArrayLike, n: int) -> float:
    """How many independent observations n of them are worth, from the `hits` among the `sizes` of each block.

    n over the design effect (Kish 1965): the variance of the share of hits as it is found between blocks, over
    that of independent trials. Never more than n, never fewer than there are blocks (as many of one size as the
    sizes are worth), and those where the hits say nothing.
    """
    h, m = np.asarray(hits, np.float64), np.asarray(sizes, np.float64)
    total = m.sum()
    # as many blocks of one size as these of several are worth (Kish 1965)
    blocks, share = total**2 / (m**2).sum(), h.sum() / total
    # no variance between blocks to be seen: the careful answer
    if blocks <= 1 or not 0 < share < 1:
        return float(min(blocks, n))
    # the variance of the count of hits about what each size would give; 1 - 1 / blocks for the mean is taken from them
    between = ((h - share * m) ** 2).sum() / (1 - 1 / blocks)
    # 1 where blocks differ no more than independent trials do
    design = between / (share * (1 - share) * total)
    return float(min(n, max(blocks, n / max(design, 1.0))))


def fit_blocks(parts: Sequence[npt.ArrayLike], cells: Sequence[npt.ArrayLike] = ()) -> Tail:
    """The tail of a sample that comes block by block; the hits of its design effect are the tail itself.

    `cells` are the same scores in smaller groups. They are not independent, but many: where few blocks happen to
    be alike they still show that neighbours are, so the smaller of both answers counts.
    """
    values = np.concatenate([np.asarray(p, np.float64).ravel() for p in parts])
    n = len(values)
    if not n:
        return fit(values)
    # the lowest score of the tail, without sorting all
    level = np.partition(values, n - _tail_count(n))[n - _tail_count(n)]
    # blocks and cells give two answers; the smaller one is taken
    worth = []
    for groups in (parts, cells) if len(cells) else (parts,):
        hits = [np.count_nonzero(np.asarray(g) >= level) for g in groups]
        worth.append(effective_size(hits, [np.size(g) for g in groups], n))
    return fit(values, max(1.0, min(worth)))


def pareto(excess: Floats) -> tuple[float, float]:
    """Maximum-likelihood (shape, scale) of a generalised Pareto distribution with shape >= 0.

    By the profile likelihood in theta = shape / scale (Grimshaw 1993); a bounded tail (shape < 0) is not
    allowed, as it would give observations beyond its end a probability of 0.
    """
    # ties with the threshold say nothing of what lies above it
    x = excess[excess > 0]
    if len(x) < 2:
        return 0.0, float(x.mean()) if len(x) else 0.0
    mean = float(x.mean())
    # for a given theta the best shape is the mean of log(1 + theta x), so one number is searched for and not two
    thetas = np.geomspace(1e-4, 1e3, 400) / mean
    shapes = np.array([np.log1p(t * x).mean() for t in thetas])
    # a mean over the sample; of shape 0, with scale `mean`, it is -log(mean) - 1
    likelihood = -np.log(shapes / thetas) - shapes - 1
    best = int(likelihood.argmax())
    if likelihood[best] <= -math.log(mean) - 1 or best == 0:  # the exponential distribution fits as well
        return 0.0, mean
    # over 1 the distribution has no mean, which a few wild scores in a small sample can feign
    shape = float(min(shapes[best], 1.0))
    return shape, float(shape / thetas[best]) if shapes[best] <= 1 else mean / 2


def alarm_unit(pixel_area_m2: float | None) -> float:
    """The pixels over which false alarms are counted."""
    return PER_PIXELS if pixel_area_m2 is None else PER_KM2 * 1e6 / pixel_area_m2


class Alarms(pydantic.BaseModel, frozen=True, extra="forbid"):
    """How many background regions of at least `pixels` pixels have a peak over a threshold.

    `per_pixel` of scene at the candidate level; `tail` is the share of those that have one over a higher level.
    """

    pixels: int
    per_pixel: float
    tail: Tail


class Calibration(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Tails for the units in which scores are read, from one held-out sample.

    `pixel`: single pixels (the heatmap). `tile`: maxima of tiles. `region`: peaks of candidate regions, which
    have at least SPECK pixels, none under `candidate` (a raw score). `alarms`: counts of regions by their
    smallest size, rising. `pixels` and `blocks` are the size of the sample, in pixels and in spatially
    separate blocks.
    """

    pixel: Tail
    tile: Tail
    region: Tail
    candidate: float
    alarms: list[Alarms]
    pixels: int
    blocks: int

    def alarms_of(self, min_pixels: int) -> Alarms:
        """The counts for the largest size up to `min_pixels`: never fewer than such regions cause."""
        return [a for a in self.alarms if a.pixels <= max(min_pixels, self.alarms[0].pixels)][-1]

    def share(self, rate: float, pixel_area_m2: float | None, min_pixels: int) -> float:
        """The share of background's regions at the candidate level that `rate` a unit of area are, at most 1."""
        return min(1.0, rate / alarm_unit(pixel_area_m2) / self.alarms_of(min_pixels).per_pixel)

    def least_rate(self, pixel_area_m2: float | None, min_pixels: int) -> float:
        """The smallest rate of false alarms a unit of area that the sample supports; two digits, rounded up."""
        alarms = self.alarms_of(min_pixels)
        return round_up(alarms.tail.smallest_p * alarms.per_pixel * alarm_unit(pixel_area_m2))

    def level(self, rate: float, pixel_area_m2: float | None, min_pixels: int) -> float:
        """The raw score at which background leaves `rate` regions of `min_pixels` a unit of area."""
        # the share that is wanted is a tail probability of regions: their level is its inverse
        exponent = -math.log10(self.share(rate, pixel_area_m2, min_pixels))
        # by the fit itself, without a limit: a rate beyond the sample is extrapolated, and the rule says so
        return max(float(self.alarms_of(min_pixels).tail.fitted_at(exponent)), self.candidate)
