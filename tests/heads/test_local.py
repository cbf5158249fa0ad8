"""Contrast in the covariance of the ring, against a loop over its pixels in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectors import fitted, head_of, mask

from satae.heads import View
from satae.heads.local import MOST, RIDGE, mahalanobis


def ring_of(valid: np.ndarray, row: int, col: int, inner: int, outer: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (n) of the valid pixels of a ring."""
    rows, cols = np.nonzero(valid)
    apart = np.maximum(abs(rows - row), abs(cols - col))
    inside = (apart > inner // 2) & (apart <= outer // 2)
    return rows[inside], cols[inside]


@pytest.mark.parametrize("bands", [1, 3, 8])
def test_the_error_is_the_distance_of_the_middle_in_the_covariance_of_its_ring(bands: int):
    made = fitted(bands)
    head = head_of(("local", {"target_px": 2.0}), made)
    inner, outer = head.sides
    rng = np.random.default_rng(bands)
    side, k = 31, min(MOST, bands)
    x = rng.normal(size=(1, bands, side, side)) * rng.uniform(0.5, 3, (1, bands, 1, 1))
    valid = mask(1, side, side, 0.8)
    valid[0, 0, 10, 10] = 1
    good = valid[0, 0].numpy() > 0
    view = View(torch.tensor(x * good, dtype=torch.float32), valid, torch.zeros(1, bands, side, side))
    head.fit(lambda: iter([(view, valid)]))

    def contrast_of(row: int, col: int) -> np.ndarray:
        r, c = ring_of(good, row, col, inner, outer)
        return x[0, :k, row, col] - (x[0, :k][:, r, c].mean(axis=1) if len(r) else 0)

    contrasts = np.array([contrast_of(r, c) for r, c in zip(*np.nonzero(good), strict=True)])
    ridge = RIDGE * (contrasts.T @ contrasts / len(contrasts) + 1e-6 * np.eye(k))
    found = head(view).sum(dim=1)[0].numpy()
    for row, col in ((10, 10), (15, 16), (0, 0), (30, 3)):
        r, c = ring_of(good, row, col, inner, outer)
        around = x[0, :k][:, r, c]
        covariance = np.cov(around, bias=True).reshape(k, k) + ridge
        box = good[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2]
        near = x[0, :k, max(0, row - 1) : row + 2, max(0, col - 1) : col + 2][:, box].mean(axis=1)
        d = near - around.mean(axis=1)
        assert found[row, col] == pytest.approx(d @ np.linalg.solve(covariance, d), rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_elimination_is_the_solution_of_the_equations(size: int):
    rng = np.random.default_rng(size)
    half = rng.normal(size=(2, 3, 4, size, size))
    matrices = half @ half.swapaxes(-1, -2) + 0.1 * np.eye(size)
    d = rng.normal(size=(2, 3, 4, size))
    expected = np.einsum("nhwk,nhwk->nhw", d, np.linalg.solve(matrices, d[..., None])[..., 0])
    columns = [torch.from_numpy(matrices[..., t:, t].transpose(0, 3, 1, 2)) for t in range(size)]
    found = mahalanobis(torch.from_numpy(d.transpose(0, 3, 1, 2)), columns)
    assert np.allclose(found[:, 0], expected)


def test_a_faint_boat_on_calm_water_counts_for_more_than_a_roof_among_roofs():
    made = fitted()
    head = head_of(("local", {"target_px": 5.0}), made)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 3, 64, 128)) * 0.1
    x[..., 64:] = np.kron(rng.normal(size=(1, 3, 16, 16)) * 2, np.ones((1, 1, 4, 4)))
    x[..., 30:33, 30:33] += 1.0
    view = View(torch.tensor(x, dtype=torch.float32), torch.ones(1, 1, 64, 128), torch.zeros(1, 3, 64, 128))
    head.fit(lambda: iter([(view, view.valid)]))
    error = head(view).sum(dim=1)[0].numpy()
    assert error[31, 31] > np.quantile(error[:, 80:], 0.99)
    plain = (x[0] ** 2).sum(axis=0)  # both grounds are 0 on average
    assert plain[31, 31] < np.median(plain[:, 80:]) / 2
