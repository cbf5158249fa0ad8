"""Principal components of patches: numpy's SVD of patches cut by loops says what the best linear code keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from satae.training import patches
from satae.training.patches import whole


def sample_of(x: torch.Tensor, chosen: torch.Tensor):
    return lambda: iter([(x, torch.ones_like(chosen), chosen)])


def cut(x: np.ndarray, stride: int) -> np.ndarray:
    """Patches (n, C stride^2) in the order of torch's unfold: channel, row, col."""
    n, _, height, width = x.shape
    places = [(i, r, c) for i in range(n) for r in range(0, height, stride) for c in range(0, width, stride)]
    return np.array([x[i, :, r : r + stride, c : c + stride].ravel() for i, r, c in places])


def correlated(count: int, side: int, channels: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(count, 1, side, side)).cumsum(axis=2).cumsum(axis=3)
    mixed = base * rng.normal(size=(1, channels, 1, 1)) + 0.3 * rng.normal(size=(count, channels, side, side))
    return torch.tensor(mixed, dtype=torch.float32)


@pytest.mark.parametrize(("stride", "size", "side"), [(1, 2, 16), (2, 5, 16), (4, 7, 16), (8, 3, 16)])
def test_rebuilt_patches_are_the_projection_on_the_leading_singular_vectors(
    stride: int, size: int, side: int
):
    x = correlated(4, side)
    rows = cut(x.double().numpy(), stride)
    mean = rows.mean(axis=0)
    basis = np.linalg.svd(rows - mean, full_matrices=False)[2][:size]
    expected = (rows - mean) @ basis.T @ basis + mean
    found = patches.fit(sample_of(x, torch.ones(4, 1, side, side)), stride, size)
    assert np.allclose(cut(found.reconstruction(x).numpy(), stride), expected, atol=1e-3)


def test_a_patch_with_a_pixel_that_is_not_chosen_is_not_fitted_to():
    x, chosen = correlated(4, 16), torch.ones(4, 1, 16, 16)
    chosen[:, :, 5, 9] = 0
    changed = x.clone()
    changed[:, :, 4:8, 8:12] = 1e6
    one, other = (patches.fit(sample_of(z, chosen), 4, 3) for z in (x, changed))
    assert torch.equal(one.mean, other.mean) and torch.equal(one.basis, other.basis)


@pytest.mark.parametrize("size", [0, 12, 48, 100])
def test_a_code_that_copies_or_is_nothing_has_no_peer(size: int):
    few = patches.fit(sample_of(correlated(1, 8), torch.ones(1, 1, 8, 8)), 4, size)
    assert few is None


def test_what_is_left_over_of_a_side_is_left_out():
    assert whole(torch.zeros(1, 2, 11, 9), 4).shape == (1, 2, 8, 8)
