"""How rare a spectrum is: the mixture of Gaussians against scipy and its laws, the head against the mixture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from detectors import fitted, head_of, image, mask
from scipy.stats import multivariate_normal

from satae.heads import View
from satae.heads.rarity import LEAST, USUAL, Params, mixture


def two_kinds(n: int = 4_000) -> torch.Tensor:
    """Pixels (n, 2), three quarters of which lie around (0, 0) and one around (6, 3)."""
    rng = np.random.default_rng(0)
    one = rng.multivariate_normal((0, 0), [[1, 0.6], [0.6, 1]], n * 3 // 4)
    other = rng.multivariate_normal((6, 3), [[0.3, 0], [0, 0.5]], n // 4)
    return torch.from_numpy(rng.permutation(np.concatenate([one, other])))


def log_density(
    pixels: np.ndarray, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray
) -> np.ndarray:
    parts = [
        np.log(w) + multivariate_normal(m, c).logpdf(pixels)
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return np.asarray(np.logaddexp.reduce(parts, axis=0))


def test_two_kinds_of_ground_are_found_with_their_shares_and_spreads():
    weights, means, covariances = (v.numpy() for v in mixture(two_kinds(), Params(2, 100, 1e-6)))
    order = np.argsort(means[:, 0])
    assert weights[order] == pytest.approx([0.75, 0.25], abs=0.02)
    assert np.allclose(means[order], [(0, 0), (6, 3)], atol=0.1)
    assert np.allclose(covariances[order], [[[1, 0.6], [0.6, 1]], [[0.3, 0], [0, 0.5]]], atol=0.1)


def test_no_round_makes_the_sample_less_likely():
    pixels = two_kinds(1_000)
    found = [
        log_density(pixels.numpy(), *(v.numpy() for v in mixture(pixels, Params(4, rounds, 1e-6)))).mean()
        for rounds in (1, 2, 4, 8, 16)
    ]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(found)) and found[-1] > found[0]


@pytest.mark.parametrize("bands", [1, 3, 8, 16])
def test_the_error_is_how_far_the_log_density_falls_under_what_is_usual(bands: int):
    made = fitted(bands)
    head = head_of(("rarity", {"mixture": 3}), made)
    rng = np.random.default_rng(1)
    x = torch.tensor(rng.normal(size=(2, bands, 40, 40)) ** 3, dtype=torch.float32)
    valid = mask(2, 40, 40)
    head.fit(lambda: iter([(View(x, valid, x), valid)]))
    pixels = x.permute(0, 2, 3, 1)[valid[:, 0] > 0.5]  # as few as these are all fitted to
    constants = [v.numpy() for v in mixture(pixels.double(), Params(3))]
    usual = np.quantile(log_density(pixels.numpy(), *constants), USUAL)
    anywhere = torch.tensor(rng.normal(size=(1, bands, 9, 7)) * 4, dtype=torch.float32)
    error = head(View(anywhere, torch.ones(1, 1, 9, 7), anywhere)).sum(dim=1)[0].numpy()
    expected = usual - log_density(anywhere[0].permute(1, 2, 0).numpy(), *constants)
    assert np.allclose(error, np.maximum(expected, LEAST), rtol=2e-3, atol=0.02)


def test_a_narrow_kind_of_ground_far_from_the_mean_is_as_exact_as_the_others():
    # a square of 20 over a variance of .02, multiplied out, is 10,000 before all but about 1 of it cancels
    made, rng = fitted(3), np.random.default_rng(4)
    x = torch.tensor(rng.normal(size=(1, 3, 60, 60)), dtype=torch.float32)
    x[..., :6] = 12 + 0.05 * x[..., :6]
    valid, head = torch.ones(1, 1, 60, 60), head_of(("rarity", {"mixture": 2}), made)
    head.fit(lambda: iter([(View(x, valid, x), valid)]))
    pixels = x[0].flatten(1).T
    density = log_density(pixels.numpy(), *(v.numpy() for v in mixture(pixels.double(), Params(2))))
    expected = np.maximum(np.quantile(density, USUAL) - density, LEAST)
    error = head(View(x, valid, x)).sum(dim=1).flatten().numpy()
    assert np.abs(error - expected).max() < 0.02


def test_a_spectrum_that_the_sample_has_not_is_rarer_than_all_that_it_has():
    made = fitted()
    head = head_of(("rarity", {"mixture": 4}), made)
    valid, x = (
        torch.ones(1, 1, 48, 48),
        torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 48, 48))).float(),
    )
    head.fit(lambda: iter([(View(x, valid, x), valid)]))
    with_target = x.clone()
    with_target[0, :, 20, 20] = torch.tensor([5.0, -5.0, 5.0])
    error = head(View(with_target, valid, with_target)).sum(dim=1)[0]
    assert error.argmax() == 20 * 48 + 20 and error[20, 20] > 3 * error.flatten().sort().values[-2]


def test_the_mixture_does_not_depend_on_how_the_sample_is_cut_up():
    made, dn = fitted(), image(4, 16, 16)
    x, valid = dn / dn.mean(), torch.ones(4, 1, 16, 16)
    one, several = head_of(("rarity", {}), made), head_of(("rarity", {}), made)
    one.fit(lambda: iter([(View(x, valid, x), valid)]))
    several.fit(lambda: iter([(View(x[i : i + 1], valid[:1], x[i : i + 1]), valid[:1]) for i in range(4)]))
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), several.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("wrong", [{"mixture": 0}, {"mixture": 65}, {"rounds": 0}, {"floor": 0.0}])
def test_a_mixture_that_cannot_be_is_refused(wrong: dict):
    with pytest.raises(ValueError, match="is not"):
        Params(**wrong)
