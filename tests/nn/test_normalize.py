"""Normalisation: numpy in float64 says what the fitted numbers must be."""

import numpy as np
import pytest

from satae.errors import TrainError
from satae.nn.normalize import TAIL, Normalizer, fit

RIDGE = 0.05


def sample(bands: int = 4, n: int = 5_000, seed: int = 0) -> np.ndarray:
    """Correlated, skewed pixels (n, bands) such as surfaces give."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, bands)) @ rng.normal(size=(bands, bands))
    return 800 * np.exp(0.4 * mixed) + 50 * rng.random((n, bands))


def whitened(pixels: np.ndarray, made: Normalizer) -> np.ndarray:
    return (made.stretch_values(pixels) - made.mean) @ made.whitening.T


def test_low_and_high_are_quantiles():
    pixels = sample()
    made = fit(pixels, whitened=True)
    assert np.allclose([made.low, made.high], np.quantile(pixels, [TAIL, 1 - TAIL], axis=0), rtol=1e-12)


@pytest.mark.parametrize("logarithmic", [True, False])
def test_mean_and_spread_are_those_of_the_stretched_sample(logarithmic: bool):
    pixels = sample()
    made = fit(pixels, whitened=False, logarithmic=logarithmic)
    v = made.stretch_values(pixels)
    assert np.allclose(made.mean, v.mean(axis=0), rtol=1e-10)
    assert np.allclose(made.spread, v.std(axis=0), rtol=1e-10)
    assert np.allclose(v @ made.affine - made.mean @ made.affine, (v - v.mean(axis=0)) / v.std(axis=0))


@pytest.mark.parametrize("logarithmic", [True, False])
def test_the_whitened_sample_has_the_shrunk_variances_and_no_correlation(logarithmic: bool):
    pixels = sample()
    made = fit(pixels, whitened=True, logarithmic=logarithmic, ridge=RIDGE)
    covariance = np.cov(made.stretch_values(pixels).T, bias=True)
    values = np.linalg.eigvalsh(covariance)[::-1]
    expected = values / (values + RIDGE * np.trace(covariance) / 4)
    assert np.allclose(np.cov(whitened(pixels, made).T, bias=True), np.diag(expected), atol=1e-8)


def test_the_squared_length_is_a_mahalanobis_distance_with_a_ridge():
    pixels = sample()
    made = fit(pixels, whitened=True, ridge=RIDGE)
    v = made.stretch_values(pixels)
    covariance = np.cov(v.T, bias=True)
    inverse = np.linalg.inv(covariance + RIDGE * np.trace(covariance) / 4 * np.eye(4))
    r = v - v.mean(axis=0)
    assert np.allclose((whitened(pixels, made) ** 2).sum(axis=1), np.einsum("ni,ij,nj->n", r, inverse, r))


def test_components_are_the_leading_ones():
    pixels = sample(bands=6)
    whole, part = (fit(pixels, whitened=True, components=k) for k in (6, 2))
    assert part.affine.shape == (2, 6)
    assert np.allclose(part.affine, whole.affine[:2])


def test_the_unit_of_a_band_does_not_matter():
    pixels, units = sample(), np.array([1, 10, 1e-4, 3.7])
    one, other = fit(pixels, whitened=True), fit(pixels * units, whitened=True)
    assert np.allclose(one.stretch_values(pixels), other.stretch_values(pixels * units), atol=1e-9)
    assert np.allclose(one.whitening, other.whitening, rtol=1e-6, atol=1e-9)


def test_an_offset_of_a_band_does_not_matter():
    pixels, offset = sample(), np.array([0, 1000, -50, 7])
    one, other = fit(pixels, whitened=True), fit(pixels + offset, whitened=True)
    assert np.allclose(whitened(pixels, one), whitened(pixels + offset, other), atol=1e-6)


@pytest.mark.parametrize("logarithmic", [True, False])
def test_a_dead_band_says_nothing_and_does_no_harm(logarithmic: bool):
    pixels = np.column_stack([sample(), np.full(5_000, 7.0)])
    made = fit(pixels, whitened=False, logarithmic=logarithmic)
    without = fit(pixels[:, :4], whitened=False, logarithmic=logarithmic)
    assert np.allclose(made.mean[:4], without.mean)
    assert np.allclose((made.stretch_values(pixels) - made.mean)[:, 4], 0)
    for space in (made, fit(pixels, whitened=True, logarithmic=logarithmic)):
        assert np.abs(space.affine).max() < 1e3


def test_a_band_that_varies_in_single_pixels_keeps_its_range():
    pixels = np.column_stack([sample(), np.zeros(5_000)])
    pixels[17, 4] = 900
    made = fit(pixels, whitened=True)
    assert (made.low[4], made.high[4]) == (0, 900)


@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize("value", [0, 1, 65_535, -3e38])
def test_a_constant_scene_is_refused_in_one_sentence(value: float, logarithmic: bool):
    with pytest.raises(TrainError, match=r"^every band is constant.*nothing to learn$"):
        fit(np.full((100, 3), value), whitened=True, logarithmic=logarithmic)


@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_enormous_outliers_leave_everything_finite(logarithmic: bool, dtype: type):
    pixels = sample(n=50_000).astype(dtype)
    plain = fit(pixels, whitened=True, logarithmic=logarithmic)
    pixels[:2] = 3e38
    pixels[2:4] = -3e38
    made = fit(pixels, whitened=True, logarithmic=logarithmic)
    assert np.isfinite(whitened(pixels, made)).all() and np.isfinite(made.affine).all()
    assert np.allclose(made.high, plain.high, rtol=0.2)


@pytest.mark.parametrize("bands", [1, 2, 13, 200])
def test_any_number_of_bands_is_fitted(bands: int):
    made = fit(sample(bands=bands, n=1_000), whitened=True, components=32)
    assert made.affine.shape == (min(bands, 32), bands)
    assert np.isfinite(made.affine).all()


@pytest.mark.parametrize("logarithmic", [True, False])
def test_the_stretch_never_falls_and_is_clipped_at_floor_and_ceiling(logarithmic: bool):
    made = fit(sample(), whitened=True, logarithmic=logarithmic)
    line = np.linspace(-1e5, 1e5, 2_001)[:, None] * np.ones(4)
    v = made.stretch_values(line)
    assert (np.diff(v, axis=0) >= 0).all()
    assert np.allclose(v[0], made.stretch_values(made.floor)) and np.allclose(
        v[-1], made.stretch_values(made.ceiling)
    )


@pytest.mark.parametrize(("noise", "floor"), [(0.0, 0.02), (0.001, 0.02), (0.02, 0.1)])
def test_the_floor_of_the_logarithm_lies_well_above_the_noise(noise: float, floor: float):
    sample = np.random.default_rng(0).uniform(0, 1000, (50_000, 2))
    made = fit(sample, whitened=False, logarithmic=True, noise=[noise * 1000, 0.0])
    span = made.high - made.low
    assert made.log_floor == pytest.approx(floor, rel=0.01)
    assert np.allclose(np.exp(made.stretch_values(made.low[None])), made.log_floor, rtol=1e-6)
    assert np.allclose(np.exp(made.stretch_values(made.low[None] + span / 2)), 0.5 + made.log_floor)
