"""Tails: simulations with fixed seeds, scipy, and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from satae.inference.calibrate import (
    EMPIRICAL,
    Tail,
    effective_size,
    fit,
    fit_blocks,
    pareto,
)

DISTRIBUTIONS = {
    "normal": stats.norm(),
    "squares": stats.chi2(4),
    "heavy": stats.genpareto(0.4),
    "bounded": stats.uniform(),
    "counts": stats.poisson(3),
    "mixed": stats.lognorm(1.5),
}
EVERY = pytest.mark.parametrize("name", DISTRIBUTIONS)


def draw(name: str, shape: int | tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.asarray(DISTRIBUTIONS[name].rvs(shape, random_state=np.random.default_rng(seed)), float)


SAMPLES = {
    **{name: draw(name, 5_000) for name in DISTRIBUTIONS},
    "two": np.array([1.0, 2.0]),
    "ties": np.repeat([1.0, 2.0, 5.0], [500, 400, 100]),
    "constant": np.full(100, 3.0),
    "zeros": np.zeros(50),
    "two equal": np.array([4.0, 4.0]),
    "tiny": draw("squares", 7),
    "one above": np.append(np.zeros(999), 1.0),
    "large numbers": 1e12 + draw("squares", 500),
    "small numbers": 1e-9 * draw("squares", 500),
    "negative": -draw("squares", 500),
}
ALL = pytest.mark.parametrize("name", SAMPLES)


def probes(tail: Tail) -> np.ndarray:
    """Scores within the sample and beyond both ends of it, no two equal."""
    low, high = tail.scores[0], tail.scores[-1]
    inside = np.linspace(low, high, 500) if high > low else np.array([low])
    return np.unique(
        np.concatenate([low - tail.scale * np.arange(1, 10), inside, high + tail.scale * np.arange(30)])
    )


@ALL
def test_a_higher_score_always_has_a_smaller_tail(name: str):
    tail = fit(SAMPLES[name])
    e = tail.exponent(probes(tail))
    assert np.isfinite(e).all() and (e >= 0).all()
    assert (np.diff(e) > 0).all()


@ALL
def test_the_exponent_has_an_inverse(name: str):
    tail = fit(SAMPLES[name])
    s = probes(tail)
    assert np.allclose(tail.score_at(tail.exponent(s)), s, rtol=1e-9, atol=1e-7 * tail.scale)


@ALL
def test_knots_rise_and_the_tail_is_sound(name: str):
    tail = fit(SAMPLES[name])
    assert (np.diff(tail.scores) > 0).all() and (np.diff(tail.exponents) > 0).all()
    assert tail.scale > 0 and 0 <= tail.shape <= 1 and tail.n == len(SAMPLES[name])


@ALL
def test_a_tail_survives_its_json_exactly(name: str):
    tail = fit(SAMPLES[name])
    assert Tail.model_validate_json(tail.model_dump_json()) == tail


def test_p_is_ten_to_minus_the_exponent_and_nan_stays_nan():
    tail = fit(SAMPLES["normal"])
    assert np.allclose(tail.p([0.0, 2.0]), 10 ** -tail.exponent([0.0, 2.0]))
    assert np.isnan(tail.exponent([np.nan, 1.0])).tolist() == [True, False]


WITHOUT_SPREAD = {
    "three equal": [5.0] * 3,
    "two equal": [4.0] * 2,
    "constant": [3.0] * 100,
    "zeros": [0.0] * 50,
    "ties": [1.0] * 500 + [2.0] * 400 + [5.0] * 100,
    "equal to the last bit": [17.0, 17.0, 17.0 + 4e-15],
    "one above": [0.0] * 999 + [1.0],
}


@pytest.mark.parametrize("name", WITHOUT_SPREAD)
def test_a_sample_without_spread_supports_no_more_than_its_size_and_levels(name: str):
    """A score beyond everything is one of n + 1, at best carried as many times further as there are levels."""
    sample = WITHOUT_SPREAD[name]
    highest = fit(sample).exponent([16.7, 1e6, 1e300, np.inf]).max()
    assert math.log10(len(sample)) < highest <= math.log10(len(sample) * len(set(sample))) + 1


@pytest.mark.parametrize("n", [2, 5, 20, 200, 20_000])
def test_no_sample_tells_of_a_score_a_thousand_times_rarer_than_one_in_it(n: int):
    tail = fit(draw("heavy", n))
    found = tail.exponent([1e3, 1e6, 1e9, 1e300])
    assert (found < math.log10(1_000 * n)).all() and (found < tail.limit).all()
    assert (np.diff(found) > 0).all()  # all the same they rank


def test_scores_far_beyond_a_sample_keep_their_order_in_single_precision_and_have_an_inverse():
    tail = fit(SAMPLES["squares"])
    raw = np.geomspace(50, 1e9, 60)
    stored = tail.exponent(raw).astype(np.float32)
    assert (np.diff(stored) > 0).all()
    assert np.allclose(tail.score_at(stored), raw, rtol=1e-3)
    assert tail.score_at([tail.limit, tail.limit + 1]).tolist() == [math.inf] * 2


def test_the_equals_of_a_peak_in_a_sample_without_spread_have_scores_like_its():
    """Seen on a real scene: one region had a score of 7,920,656 and its equals .17, 0 and 0."""
    scores = fit([17.14] * 3).exponent([17.15, 16.84, 16.82, 16.66])
    assert scores.max() - scores.min() < 0.1


@EVERY
@pytest.mark.parametrize("n", [50, 500, 5_000])
def test_p_values_are_conformal_within_the_sample(name: str, n: int):
    """P(p <= a) <= a for scores exchangeable with the sample, as far as it supports a."""
    rounds, each = 80, 400
    for a in {EMPIRICAL / n, 0.05, 0.2, 0.5}:
        if a < EMPIRICAL / n:
            continue
        low = [
            np.mean(fit(draw(name, n, seed)).p(draw(name, each, 10_000 + seed)) <= a)
            for seed in range(rounds)
        ]
        error = np.std(low) / math.sqrt(rounds)
        assert np.mean(low) <= a + 4 * error + 1e-3 * a, (a, np.mean(low))


@EVERY
def test_p_values_of_a_large_sample_are_near_the_truth(name: str):
    tail, truth = fit(draw(name, 50_000)), DISTRIBUTIONS[name]
    s = truth.ppf([0.5, 0.9, 0.99, 0.999])
    exact = truth.sf(s - 1) if name == "counts" else truth.sf(s)
    assert np.allclose(tail.p(s), exact, rtol=0.2)


@pytest.mark.parametrize("name", ["normal", "squares", "heavy"])
def test_the_pareto_tail_extrapolates_a_hundredfold(name: str):
    """100 times beyond the sample; a tail lighter than exponential is taken for exponential, so p is larger."""
    truth = DISTRIBUTIONS[name]
    ratios = [fit(draw(name, 5_000, seed)).p(truth.isf(2e-6)) / 2e-6 for seed in range(40)]
    assert 1 / 5 < np.exp(np.median(np.log(ratios))) < (100 if name == "normal" else 5)


@pytest.mark.parametrize("shape", [0.1, 0.3, 0.6])
def test_the_shape_of_a_pareto_tail_is_recovered(shape: float):
    x = stats.genpareto(shape, scale=2.5).rvs(20_000, random_state=np.random.default_rng(0))
    found = pareto(x)
    assert found[0] == pytest.approx(shape, abs=0.04) and found[1] == pytest.approx(2.5, rel=0.05)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_an_exponential_tail_has_shape_0_whatever_its_unit(scale: float):
    x = scale * np.random.default_rng(1).exponential(size=20_000)
    shape, found = pareto(x)
    assert shape < 0.03 and found == pytest.approx(scale, rel=0.03)


@pytest.mark.parametrize("shape", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("n", [50, 1_000])
def test_the_pareto_fit_is_as_likely_as_that_of_scipy(shape: float, n: int):
    x = stats.genpareto(shape).rvs(n, random_state=np.random.default_rng(n))
    theirs = stats.genpareto.fit(x, floc=0)
    ours = pareto(x)
    if 0 <= theirs[0] <= 1:
        gap = stats.genpareto(theirs[0], scale=theirs[2]).logpdf(x).sum()
        gap -= stats.genpareto(ours[0], scale=ours[1]).logpdf(x).sum()
        assert gap < 0.05


def test_a_bounded_tail_is_never_given_an_end():
    x = np.random.default_rng(0).random(5_000)
    assert pareto(x)[0] == 0
    assert np.isfinite(fit(x).exponent([1.0, 2.0, 100.0])).all()


@pytest.mark.parametrize("x", [[], [0.0], [0.0, 0.0], [1.0]])
def test_too_few_excesses_do_no_harm(x: list[float]):
    assert all(math.isfinite(v) and v >= 0 for v in pareto(np.array(x)))


@pytest.mark.parametrize("x", [[], [1.0], [1.0, np.nan], [1.0, np.inf]])
def test_a_sample_that_is_none_is_a_fault_of_the_caller(x: list[float]):
    with pytest.raises(ValueError, match="at least two finite scores"):
        fit(x)


def test_scores_beyond_the_sample_get_p_values_below_what_it_supports_but_never_0():
    tail = fit(SAMPLES["squares"])
    assert 0 < tail.p(10 * max(tail.scores)) < tail.smallest_p == EMPIRICAL / 5_000


def test_more_of_the_sample_above_means_a_larger_p():
    sample = SAMPLES["normal"]
    with_anomalies = np.append(sample, np.full(25, 50.0))
    s = np.linspace(0, 6, 100)
    assert (fit(with_anomalies).p(s) >= fit(sample).p(s) * (1 - 1e-9)).all()


def in_blocks(alike: float, blocks: int, size: int, seed: int = 0) -> np.ndarray:
    """Scores (blocks, size); each is with probability sqrt(alike) that of its whole block, else its own.

    The correlation of two of a block is `alike`, and so is that of what they exceed.
    """
    rng = np.random.default_rng(seed)
    own, common = rng.normal(size=(blocks, size)), rng.normal(size=(blocks, 1))
    return np.where(rng.random((blocks, size)) < math.sqrt(alike), common, own)


@pytest.mark.parametrize("alike", [0.05, 0.2, 0.6])
@pytest.mark.parametrize("size", [50, 400])
def test_the_design_effect_is_that_of_a_known_correlation_within_blocks(alike: float, size: int):
    """1 + (m - 1) rho for blocks of m (Kish 1965)."""
    worth = [fit_blocks(list(in_blocks(alike, 400, size, seed))).independent for seed in range(5)]
    assert 400 * size / np.mean(worth) == pytest.approx(1 + (size - 1) * alike, rel=0.25)


@pytest.mark.parametrize(("blocks", "size"), [(20, 500), (200, 100), (2_000, 10)])
def test_independent_scores_are_worth_their_number(blocks: int, size: int):
    worth = [fit_blocks(list(in_blocks(0, blocks, size, seed))).independent for seed in range(10)]
    assert 0.8 * blocks * size < np.mean(worth) <= blocks * size


@pytest.mark.parametrize("blocks", [5, 40, 400])
def test_scores_alike_within_blocks_are_worth_the_number_of_blocks(blocks: int):
    tail = fit_blocks(list(in_blocks(1, blocks, 100)))
    assert tail.n == 100 * blocks and blocks <= tail.independent < 1.6 * blocks
    assert tail.smallest_p == min(1, EMPIRICAL / tail.independent)


def test_cells_show_a_dependence_that_blocks_hide():
    """Each block holds the same scores, so blocks do not differ; cells are of one score each."""
    block = np.repeat(draw("squares", 50), 20)
    parts, cells = [block] * 4, np.array_split(np.tile(block, 4), 200)
    assert fit_blocks(parts).independent == 4_000
    assert 200 <= fit_blocks(parts, cells).independent < 250


def test_blocks_of_unequal_size_are_weighed_by_it():
    """As many hits as the size lets expect are no sign of dependence, however unequal the blocks are."""
    sizes = np.array([10, 100, 1_000, 10_000])
    assert effective_size(sizes // 10, sizes, 11_110) == 11_110
    assert effective_size([1, 10, 100, 5_000], sizes, 11_110) < 20
    assert effective_size([0, 0, 0, 0], sizes, 11_110) == pytest.approx(11_110**2 / (sizes**2).sum())


@pytest.mark.parametrize(
    ("hits", "sizes"), [([3], [9]), ([0, 0], [9, 9]), ([9, 9], [9, 9]), ([1, 0], [9, 0])]
)
def test_where_hits_say_nothing_a_sample_is_worth_its_blocks(hits: list[int], sizes: list[int]):
    assert effective_size(hits, sizes, sum(sizes)) == np.count_nonzero(sizes)


def test_what_a_sample_is_worth_changes_no_p_value():
    parts = list(in_blocks(0.5, 50, 100))
    ours, plain = fit_blocks(parts), fit(np.concatenate(parts))
    assert ours.model_copy(update={"effective": None}) == plain and plain.independent == plain.n == 5_000
    assert ours.smallest_p > 5 * plain.smallest_p


def test_a_tail_of_an_older_card_is_worth_its_size():
    text = fit(SAMPLES["tiny"]).model_dump(exclude={"effective"})
    assert Tail.model_validate(text).smallest_p == 1 and Tail.model_validate(text).independent == 7
