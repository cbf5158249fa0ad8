"""Principal components beside numpy's singular values, for more rows than columns and for fewer."""

from __future__ import annotations

import numpy as np
import pytest

from satae.nn.pca import principal


@pytest.mark.parametrize(("rows", "columns"), [(200, 20), (15, 40), (30, 30)])
@pytest.mark.parametrize("size", [1, 5, 14])
def test_reconstruction_and_variance_are_those_of_the_svd(rows: int, columns: int, size: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + 5
    found = principal(x, columns)
    _, s, vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    best = (x - x.mean(axis=0)) @ vt[:size].T @ vt[:size] + x.mean(axis=0)
    assert np.allclose(found.reconstruction(x, size), best)
    assert np.allclose(found.variance[:size], s[:size] ** 2 / rows)
    assert np.allclose(found.code(x, size).var(axis=0), found.variance[:size])


def test_bytes_are_taken_without_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satae.nn.pca.CHUNK", 7)
    x = np.random.default_rng(0).integers(0, 256, (100, 12), dtype=np.uint8)
    assert np.allclose(principal(x, 12).reconstruction(x, 12), x)
    assert np.allclose(principal(x, 3).basis, principal(x.astype(float), 3).basis)


def test_rows_that_span_few_directions_have_few_components() -> None:
    rng = np.random.default_rng(0)
    for rows, columns in ((200, 30), (20, 30)):
        x = rng.normal(size=(rows, 4)) @ rng.normal(size=(4, columns))
        found = principal(x, 30)
        assert found.basis.shape == (4, columns) and np.allclose(found.basis @ found.basis.T, np.eye(4))
        assert np.allclose(found.reconstruction(x, 30), x)


def test_equal_rows_have_no_component() -> None:
    found = principal(np.full((5, 3), 2.0), 3)
    assert len(found.basis) == 0 and np.allclose(found.reconstruction(np.full((5, 3), 2.0), 3), 2)
