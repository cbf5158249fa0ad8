"""What is asked for becomes a threshold: against brute force, scipy and simulations with fixed seeds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from satae.errors import ConfigError
from satae.inference.calibrate import Alarms, Calibration, fit
from satae.scoring.rule import Far, Fdr, Rule, Threshold, Top, rule_of


def draw(shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(stats.chi2(4).rvs(shape, random_state=np.random.default_rng(seed)), float)


def calibration(n: int = 2_000, per_pixel: float = 1e-3, effective: float | None = None) -> Calibration:
    tail = fit(draw(n), effective)
    alarms = [Alarms(pixels=p, per_pixel=per_pixel / p, tail=tail) for p in (1, 4)]
    pixels = round(n / per_pixel)
    return Calibration(
        pixel=tail, tile=tail, region=tail, candidate=0.0, alarms=alarms, pixels=pixels, blocks=9
    )


def far_level(found: Calibration, rate: float, area: float | None, size: int) -> tuple[float, str]:
    """(raw threshold, remark or doubt)."""
    known = found, area, size
    return found.level(rate, area, size), Far(rate).remark(*known) or str(Far(rate).doubt(*known) or "")


@pytest.mark.parametrize("area", [None, 100.0, 1.0])
@pytest.mark.parametrize("size", [1, 4, 9])
def test_at_the_far_threshold_the_asked_number_of_false_alarms_is_expected(area: float | None, size: int):
    found = calibration()
    unit = 1e7 if area is None else 1e8 / area  # pixels in which alarms are counted
    rate = 1e-4 * unit
    raw, remark = far_level(found, rate, area, size)
    per_pixel = 1e-3 / (4 if size >= 4 else 1)
    assert unit * per_pixel * float(found.region.p(raw)) == pytest.approx(rate)
    assert remark == ""


def test_fewer_false_alarms_need_a_higher_threshold_never_below_the_candidates():
    found = calibration().model_copy(update={"candidate": 1.0})
    raws = [far_level(found, rate, 100.0, 4)[0] for rate in np.geomspace(1e9, 1e-6, 60)]
    assert (np.diff(raws) >= 0).all() and raws[0] == 1.0 and math.isfinite(raws[-1])


def test_a_remark_says_when_the_rate_asks_for_nothing():
    found = calibration()
    raw, remark = far_level(found, 1e9, 100.0, 4)
    assert raw == found.candidate and "all candidates are reported" in remark


def test_a_remark_says_when_the_sample_is_too_small_for_the_rate():
    found, unit = calibration(), 1e6
    least = found.region.smallest_p * 1e-3 * unit
    assert least == pytest.approx(5) and found.least_rate(100.0, 1) == pytest.approx(5)
    assert far_level(found, 1.01 * least, 100.0, 1)[1] == ""
    assert far_level(found, 2, 100.0, 1)[1] == (
        "ranks hold, counts do not: 2,000 background regions in 9 held-out blocks cannot tell rates under 5 false "
        "alarms per 100 km2, and 2 were asked for; about 2 more training scenes of this size would, or ask with "
        "--far 5 or --top"
    )
    assert "10 megapixels" in far_level(found, 1e-3, None, 1)[1]


def test_the_rate_that_a_remark_names_is_supported():
    for effective in (7, 31, 190, 1999):
        found = calibration(effective=effective)
        least = found.least_rate(100.0, 1)
        assert (
            Far(least).doubt(found, 100.0, 1) is None and Far(0.9 * least).doubt(found, 100.0, 1) is not None
        )


def test_the_remark_on_the_rate_counts_independent_regions():
    found = calibration(effective=200)
    assert far_level(found, 60, 100.0, 1)[1] == ""
    remark = far_level(found, 40, 100.0, 1)[1]
    assert "9 held-out blocks (worth 200 independent ones) cannot tell rates under 50" in remark
    assert remark.endswith("about 1 more training scene of this size would, or ask with --far 50 or --top")


def test_a_remark_says_when_no_pixel_can_have_the_heat_that_is_pending_for():
    found = calibration()
    field = SimpleNamespace(calibration=found, regions=lambda level: [])
    assert Threshold(0.9 * found.pixel.limit).select(field).remark == ""  # type: ignore[arg-type]
    assert "no pixel has a heat of 99" in Threshold(99.0).select(field).remark  # type: ignore[arg-type]


def benjamini_hochberg(p: np.ndarray, q: float) -> np.ndarray:
    """Which are rejected: those up to the last rank k with p_(k) <= k q / m, one by one."""
    m, order = len(p), np.argsort(p)
    last = max((k for k in range(1, m + 1) if p[order[k - 1]] <= k * q / m), default=0)
    out = np.zeros(m, bool)
    out[order[:last]] = True
    return out


@pytest.mark.parametrize("q", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_the_fdr_threshold_is_that_of_benjamini_and_hochberg(q: float, seed: int):
    found = calibration()
    peaks = np.append(draw(60, seed + 50), 20 + draw(15, seed))
    lowest, _ = Fdr(q).lowest(found, peaks)
    assert np.array_equal(peaks >= lowest, benjamini_hochberg(found.region.p(peaks), q))


def test_scipy_agrees_on_which_regions_are_significant():
    found, peaks = calibration(), np.append(draw(60, 7), [25.0, 30.0, 22.0])
    lowest, _ = Fdr(0.1).lowest(found, peaks)
    adjusted = stats.false_discovery_control(found.region.p(peaks), method="bh")
    assert np.array_equal(peaks >= lowest, adjusted <= 0.1)


def test_nothing_significant_is_an_infinite_threshold():
    assert Fdr(0.01).lowest(calibration(), np.array([1.0, 2.0]))[0] == math.inf
    assert Fdr(0.01).lowest(calibration(), np.array([])) == (math.inf, None)


def test_a_remark_says_when_the_sample_is_too_small_for_the_share():
    assert Fdr(0.1).lowest(calibration(2_000), np.ones(100))[1] is None
    assert "whether 0.1 of 100 candidates are false" in str(
        Fdr(0.1).lowest(calibration(900), np.ones(100))[1]
    )
    doubt = Fdr(0.1).lowest(calibration(2_000, effective=500), np.ones(100))[1]
    assert doubt is not None and doubt.factor == 1000 / 500 and "(worth 500 independent ones)" in str(doubt)


def test_the_share_of_false_regions_is_kept_on_the_average():
    shares = []
    for seed in range(60):
        found = calibration(5_000).model_copy(update={"region": fit(draw(5_000, seed))})
        peaks = np.append(draw(80, 999 + seed), 30 + draw(20, seed))
        kept = peaks >= Fdr(0.2).lowest(found, peaks)[0]
        shares.append(kept[:80].sum() / max(1, kept.sum()))
    assert np.mean(shares) <= 0.2 + 3 * np.std(shares) / math.sqrt(60)


NONE = {"far": None, "fdr": None, "top": None, "threshold": None}


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({}, Far(10)),
        ({"far": 0.5}, Far(0.5)),
        ({"fdr": 0.1}, Fdr(0.1)),
        ({"top": 5}, Top(5)),
        ({"threshold": 3.5}, Threshold(3.5)),
    ],
)
def test_the_rule_is_the_one_asked_for(asked: dict[str, float], rule: Rule):
    assert rule_of(**{**NONE, **asked}) == rule


@pytest.mark.parametrize(
    "asked",
    [{"far": 0}, {"far": -1}, {"far": math.inf}, {"far": math.nan}, {"fdr": 0}, {"fdr": 1}, {"top": 0},
     {"threshold": 0}, {"far": 1, "top": 3}, {"fdr": 0.1, "threshold": 2, "top": 1}],
)  # fmt: skip
def test_a_rule_out_of_range_or_two_at_once_are_refused(asked: dict[str, float]):
    with pytest.raises(ConfigError, match=r"out of range|exclude each other"):
        rule_of(**{**NONE, **asked})


@pytest.mark.parametrize("rule", [Far(0.5), Fdr(0.1), Top(5), Threshold(3.5)], ids=str)
def test_a_rule_says_its_number_in_words(rule: Rule):
    kind, number = str(rule).split()
    assert kind in ("far", "fdr", "top", "threshold") and f" {number}" in rule.sentence
