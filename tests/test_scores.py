"""Score heads: float64 numpy says what the map must be, and the bands' shares add up to it."""

import numpy as np
import pytest
import torch

from satae import normalize, scores
from satae.errors import ConfigError
from satae.normalize import Normalizer
from satae.scores import SCORES

RIDGE = 0.02
EVERY = pytest.mark.parametrize("name", SCORES)
SPACES = pytest.mark.parametrize("whitened", [True, False])


def pixels(bands: int = 4, n: int = 3_000) -> np.ndarray:
    rng = np.random.default_rng(bands)
    return 500 * np.exp(0.3 * rng.normal(size=(n, bands)) @ rng.normal(size=(bands, bands)))


def fitted(whitened: bool, bands: int = 4, components: int = 32) -> Normalizer:
    return normalize.fit(pixels(bands), whitened=whitened, ridge=RIDGE, components=components)


def residuals(made: Normalizer, size: int = 6) -> np.ndarray:
    """Residuals (2, B, H, W) in stretched bands."""
    return np.random.default_rng(1).normal(size=(2, len(made.mean), size, size))


def contributions(name: str, made: Normalizer, r: np.ndarray) -> np.ndarray:
    """What the head makes of stretched residuals that are brought to the space of the autoencoder."""
    x = np.einsum("kb,nbhw->nkhw", made.affine, r)
    head = scores.head(name, made).eval()
    with torch.no_grad():
        return head(torch.tensor(x, dtype=torch.float32)).numpy().astype(np.float64)


@EVERY
@SPACES
@pytest.mark.parametrize("bands", [1, 3, 13])
def test_a_head_gives_one_share_a_band(name: str, whitened: bool, bands: int):
    made = fitted(whitened, bands)
    out = contributions(name, made, residuals(made))
    assert out.shape == (2, bands, 6, 6) and np.isfinite(out).all()


@EVERY
@SPACES
def test_no_residual_is_no_score(name: str, whitened: bool):
    made = fitted(whitened)
    assert (contributions(name, made, 0 * residuals(made)) == 0).all()


@EVERY
@SPACES
def test_the_sum_of_the_shares_is_never_negative(name: str, whitened: bool):
    made = fitted(whitened)
    assert contributions(name, made, residuals(made)).sum(axis=1).min() >= -1e-4


@EVERY
def test_the_space_that_the_autoencoder_sees_does_not_change_the_score_of_a_residual(name: str):
    r = residuals(fitted(True))
    one, other = (contributions(name, fitted(space), r) for space in (True, False))
    assert np.allclose(one, other, rtol=1e-3, atol=1e-3)


@SPACES
def test_mse_is_the_mean_over_bands_of_squared_standard_deviations(whitened: bool):
    made = fitted(whitened)
    spread = made.stretched(pixels()).std(axis=0)
    r = residuals(made)
    expected = (r / spread[:, None, None]) ** 2 / 4
    assert np.allclose(contributions("mse", made, r), expected, rtol=1e-3, atol=1e-4)


@SPACES
def test_whitened_is_a_mahalanobis_distance_with_a_shrunk_covariance(whitened: bool):
    made = fitted(whitened)
    covariance = np.cov(made.stretched(pixels()).T, bias=True)
    inverse = np.linalg.inv(covariance + RIDGE * np.trace(covariance) / 4 * np.eye(4))
    r = residuals(made)
    expected = np.einsum("nihw,ij,njhw->nhw", r, inverse, r)
    assert np.allclose(contributions("whitened", made, r).sum(axis=1), expected, rtol=1e-3)


def test_whitened_over_leading_components_is_the_length_of_the_whitened_residual():
    made = fitted(True, bands=13, components=5)
    r = residuals(made)
    inside = np.einsum("bk,kc,nchw->nbhw", np.linalg.pinv(made.affine), made.affine, r)
    expected = (np.einsum("kb,nbhw->nkhw", made.whitening, inside) ** 2).sum(axis=1)
    assert np.allclose(contributions("whitened", made, r).sum(axis=1), expected, rtol=1e-3)


@EVERY
def test_the_band_that_errs_alone_has_the_largest_share(name: str):
    made = fitted(True)
    r = np.zeros((1, 4, 2, 2))
    r[:, 2] = 1
    assert (contributions(name, made, r).argmax(axis=1) == 2).all()


def test_an_unknown_score_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=rf"score = 'ssim9': .*{', '.join(SCORES)}"):
        scores.head("ssim9", fitted(True))
