"""Scores of one date after the other, pixel by pixel: what was expected, how far from it, and in what units.

A `Memory` holds what is kept of each pixel between dates. Its arrays are float32 (number, pixel), so that going on from
a file gives what going on in memory gives. What all pixels share is a `Rules`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from satae.inference.sequences import Network
from satae.series import common, fits, median, pair, persistence, seasonal, whitening
from satae.series.products import product
from satae.series.rules import MEDIAN, Memory, Rules

# valid dates of a pixel, and their share of the usual number: below both of these it has no season
FEWEST = 10, 0.5

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """One date: `white` (B, pixel) deviations, `square` (pixel) their mean square, `residual` (B, pixel) in DN.

    `season`: what it is beside the season alone, where a network has its say.
    """

    white: Floats
    square: Floats
    residual: Floats
    gain: Floats | None
    variance: Floats
    season: Outcome | None = None


def learn(
    rules: Rules, x: npt.NDArray[np.floating], valid: Bools, usual: list[float] | None = None
) -> Memory:
    """What is kept of pixels with this history: x (date, B, pixel), `valid` (date, pixel), on the days of the rules.

    What `usual` is of them is put there, where the rules do not say it.
    """
    memory, square, left = fits.of_history(rules, x, valid, usual)
    scale = fits.scale_of(rules, left, square, valid)
    # what two or three dates make one expect all year is no season, and every date would be far from it
    scale[:, valid.sum(axis=0) < rules.fewest] = np.nan
    memory["scale"] = scale.astype(np.float32)
    memory["around"] = np.ones_like(memory["scale"])
    if rules.lookback:
        memory |= _looked(rules, left, scale, valid)
    return {**memory, **persistence.empty(rules.bands, rules.keep[1], x.shape[2])}


def _looked(rules: Rules, left: Floats, scale: Floats, valid: Bools) -> Memory:
    """What the last dates of the history left, in deviations, NaN where not valid; and their days."""
    size = rules.lookback
    unrest = np.ones(len(left)) if rules.unrest is None else rules.unrest
    white = np.einsum("cb,tbp->tcp", rules.whitening, left) / np.sqrt(scale * unrest[:, None, None])
    days = np.repeat(np.array(rules.days)[:, None], left.shape[2], axis=1)
    return {
        "left": np.where(valid[:, None], white, np.nan)[-size:].reshape(-1, left.shape[2]).astype(np.float32),
        "left_day": days[-size:].astype(np.float32),
    }


def rules_of(
    model: str, days: Floats, x: npt.NDArray[np.floating], valid: Bools, keep: tuple[int, int]
) -> Rules:
    """Centre, whitening and what dates have in common from a sample of pixels: x (date, B, pixel) over the history."""
    # (B, n) over all dates and pixels that count
    marked = x.transpose(1, 0, 2)[:, valid]
    centre = np.median(marked, axis=1).astype(np.float64)
    spread = np.maximum(1.4826 * np.median(np.abs(marked - centre[:, None]), axis=1), 1e-9)
    # at first bands by themselves, in deviations of all that was seen
    draft = Rules(model, tuple(map(float, days)), centre, np.diag(1 / spread), 1.0, keep)
    draft = _whitened(draft, x, valid)
    if not draft.seasonal:
        return _normalised(draft, x, valid)
    # the season of each pixel tells what its kind shows on a date, and without that the fit is repeated
    memory, _, _ = fits.of_history(draft, x, valid)
    count = valid.sum(axis=0)
    usual = float(np.median(count[count > 0]))
    draft = replace(draft, fewest=int(min(FEWEST[0], np.ceil(FEWEST[1] * usual))))
    kinds = _kinds(draft, memory)[:, count >= draft.fewest]
    draft = replace(draft, kinds=np.stack(common.scale(kinds)))
    draft = _whitened(replace(draft, shared=_common(draft, x, valid)), x, valid)
    # by the whitening that all dates to come are regressed with
    draft = replace(draft, shared=_common(draft, x, valid))
    return replace(draft, usual=fits.usual(draft, x, valid))


def _common(rules: Rules, x: npt.NDArray[np.floating], valid: Bools) -> Floats:
    """What each date of the history has in common (date, B, 1 + K), beside a season that was fitted without that."""
    rules = replace(rules, shared=None)
    memory = learn(rules, x, valid)
    return np.stack(
        [
            _shared(rules, memory, judge(rules, memory, now, day), good)
            for now, good, day in zip(x, valid, rules.days, strict=True)
        ]
    )


def _normalised(draft: Rules, x: npt.NDArray[np.floating], valid: Bools) -> Rules:
    """The rules of medians with what each date has in common, by the others; of two dates nothing is known of it."""
    if draft.model != MEDIAN or len(draft.days) < 3:
        return draft
    known = valid.any(axis=0)
    memory, _, _ = fits.of_history(draft, x, valid)
    draft = replace(draft, kinds=np.stack(common.scale(_kinds(draft, memory)[:, known])))
    shared, days = [], np.array(draft.days)
    for number, day in enumerate(draft.days):
        rest = np.arange(len(days)) != number
        of_rest = replace(draft, days=tuple(days[rest]))
        memory = learn(of_rest, x[rest], valid[rest])
        shared.append(_shared(of_rest, memory, judge(of_rest, memory, x[number], day), valid[number]))
    return _whitened(replace(draft, shared=np.stack(shared)), x, valid)


def _whitened(draft: Rules, x: npt.NDArray[np.floating], valid: Bools) -> Rules:
    """The rules with the whitening of what the fit leaves, which depends on weights, which depend on the whitening."""
    for _ in range(fits.ROUNDS):
        _, square, left = fits.of_history(draft, x, valid)
        of_pixels = left.transpose(1, 0, 2)[:, valid]
        draft = replace(draft, whitening=whitening.of_residuals(of_pixels))
    draft = replace(draft, whitening=whitening.level(draft.whitening, of_pixels))
    _, square, _ = fits.of_history(draft, x, valid)
    return replace(draft, middle=max(float(np.median(square[valid])), 1e-9))


def _shared(rules: Rules, memory: Memory, judged: Outcome, valid: Bools) -> Floats:
    """What the ground of a date has in common (B, 1 + K), by a sample that was judged without."""
    assert rules.kinds is not None  # a season has them
    known = valid & np.isfinite(judged.square)
    of = common.signs(_kinds(rules, memory)[:, known], *rules.kinds)
    return common.regress(of, judged.residual[:, known], rules.whitening)


def pair_rules(rules: Rules, memory: Memory, x: npt.NDArray[np.floating], valid: Bools) -> Rules:
    """The rules of a pair, by a sample of its second date: x (B, pixel), `valid` (pixel)."""
    first = memory["values"].astype(np.float64)
    known = valid & np.isfinite(first[0])
    second = x.astype(np.float64) - rules.centre[:, None]
    gain, offset, covariance = pair.regression(first[:, known], second[:, known])
    return replace(rules, whitening=whitening.of_covariance(covariance), gain=gain, offset=offset)


def judge(
    rules: Rules, memory: Memory, x: npt.NDArray[np.floating], day: float, shared: npt.ArrayLike | None = None
) -> Outcome:
    """Pixels (B, pixel) of one day beside what is expected of them, and of all ground by what it has in common."""
    centred = x.astype(np.float64) - rules.centre[:, None]
    gain = None
    if rules.seasonal:
        term = seasonal.basis(day, rules.origin)
        coefficients = _coefficients(rules, memory)
        gain, variance = seasonal.leverage(seasonal.unpack(memory["inverse"].astype(np.float64)), term[0])
        variance = seasonal.doubt(variance)
        there = seasonal.expectation(coefficients, term)[0]
    else:
        values = memory["values"].reshape(len(rules.days), rules.bands, -1).astype(np.float64)
        there, variance = median.expectation(values, np.array(rules.days), day)
        if rules.gain is not None and rules.offset is not None:
            there = product(rules.gain, there) + rules.offset[:, None]
            variance = np.zeros_like(variance)  # what is left of the regression holds both dates' noise
    if shared is not None and rules.kinds is not None:
        there = there + product(np.asarray(shared), common.signs(_kinds(rules, memory), *rules.kinds))
    residual = centred - there
    # a fit is less sure where few dates, or none of the season, were valid
    unit = np.sqrt(memory["scale"].astype(np.float64) * (1 + variance))
    white = product(rules.whitening, residual) / unit
    found = Outcome(white, (white**2).mean(axis=0), residual, gain, variance)
    return found if rules.network is None else _after(rules, rules.network, memory, found, day)


def _after(rules: Rules, network: Network, memory: Memory, season: Outcome, day: float) -> Outcome:
    """A date beside what a network expects the season to leave of it."""
    days = memory["left_day"][:, 0].astype(np.float64)
    seen = memory["left"].reshape(len(days), rules.bands, -1)
    mean, doubt = network.expectation(seen, days, day)
    white = (season.white - mean) / np.sqrt(1 + doubt)
    unit = np.sqrt(memory["scale"].astype(np.float64) * (1 + season.variance))
    back = np.asarray(np.linalg.inv(rules.whitening), np.float64)
    residual = season.residual - product(back, mean * unit)
    variance = (1 + season.variance) * (1 + doubt) - 1
    return Outcome(white, (white**2).mean(axis=0), residual, season.gain, variance, season)


def apart(
    rules: Rules, memory: Memory, x: npt.NDArray[np.floating], day: float, valid: Bools
) -> tuple[Outcome, Floats | None]:
    """A sample of one day judged without what its ground has in common, and that, which its other pixels share."""
    # what a network expects of a pixel is its own, and not what all ground has in common
    judged = judge(replace(rules, network=None), memory, x, day)
    if rules.kinds is None:
        return judged, None
    shared = _shared(rules, memory, judged, valid)
    return judge(rules, memory, x, day, shared), shared


def absorb(rules: Rules, memory: Memory, judged: Outcome, valid: Bools, day: float) -> Memory:
    """The memory with a date learned, where it agrees with what the season makes one expect."""
    judged = judged.season or judged
    if judged.gain is None:
        return memory
    # what is invalid has no weight, and must not be NaN either: 0 times NaN is NaN
    weight = seasonal.date_weights(judged.square, valid)
    residual = np.where(valid, judged.residual, 0.0)
    inverse = seasonal.unpack(memory["inverse"].astype(np.float64))
    moved, inverse = seasonal.update(
        _coefficients(rules, memory),
        inverse,
        judged.gain,
        seasonal.basis(day, rules.origin)[0],
        residual,
        weight,
    )
    pixels = len(weight)
    return {
        **_remembered(rules, memory, judged, weight > 0, day),
        "coefficients": moved.reshape(-1, pixels).astype(np.float32),
        "inverse": seasonal.pack(inverse).astype(np.float32),
    }


def _remembered(rules: Rules, memory: Memory, season: Outcome, agreed: Bools, day: float) -> Memory:
    """The memory with what a date left, in the place of the first date that a network looks back at."""
    if not rules.lookback:
        return memory
    now = np.where(agreed, season.white, np.nan).astype(np.float32)
    today = np.full((1, len(agreed)), day, np.float32)
    return {
        **memory,
        "left": np.concatenate([memory["left"][rules.bands :], now]),
        "left_day": np.concatenate([memory["left_day"][1:], today]),
    }


def ease(judged: Outcome, unrest: float) -> Outcome:
    """The date in units of its own unrest, a factor of all squares: haze, snow or a drought make a date a wide one."""
    season = None if judged.season is None else ease(judged.season, unrest)
    return replace(judged, white=judged.white / np.sqrt(unrest), square=judged.square / unrest, season=season)


def amid(judged: Outcome, around: npt.NDArray[np.floating]) -> Outcome:
    """The date in units of how the ground `around` (B, pixel) varies: what alarms go by, and not what is learned."""
    white = judged.white / np.sqrt(around.astype(np.float64))
    return replace(judged, white=white, square=(white**2).mean(axis=0))


def _kinds(rules: Rules, memory: Memory) -> Floats:
    """What pixels are like (K, pixel)."""
    if rules.seasonal:
        return common.season(_coefficients(rules, memory))
    return median.middle(
        memory["values"].reshape(-1, rules.bands, memory["values"].shape[1]).astype(np.float64)
    )


def _coefficients(rules: Rules, memory: Memory) -> Floats:
    return memory["coefficients"].reshape(seasonal.TERMS, rules.bands, -1).astype(np.float64)
