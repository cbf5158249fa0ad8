"""A bank of vectors: sorting all distances is the oracle; what is kept is an even sample, or covers it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from satae.nn import bank
from satae.nn.bank import Bank, random_share, vectors_at


def vectors(n: int = 300, d: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def filled(size: int = 100, nearest: int = 3, coreset: bool = False, seed: int = 0) -> Bank:
    made = Bank(size, 4, nearest)
    made.fit(vectors(), seed, coreset=coreset)
    return made


@pytest.mark.parametrize("nearest", [1, 2, 10, 100])
def test_the_distance_is_that_to_the_kth_nearest(nearest: int):
    made, features = filled(nearest=nearest), torch.randn(2, 4, 5, 6)
    distance, index = made(features)
    flat = features.permute(0, 2, 3, 1).reshape(-1, 1, 4).double().numpy()
    every = ((flat - made.vectors.double().numpy()) ** 2).sum(axis=2)
    assert distance.shape == (2, 1, 5, 6) and index.shape == (2, 5, 6)
    assert np.allclose(distance.flatten(), np.sort(every, axis=1)[:, nearest - 1], rtol=1e-4)
    assert np.allclose(distance.flatten(), every[np.arange(60), index.flatten()], rtol=1e-4)


@pytest.mark.parametrize("shares", [1, 4, 20, 100])
@pytest.mark.parametrize("size", [(5, 6), (1, 1), (9, 11)])
def test_in_shares_it_is_the_farthest_of_those_nearest_in_each(shares: int, size: tuple[int, int]):
    made, features = filled(), torch.randn(2, 4, *size)
    distance, index = made.in_shares(features, shares)
    flat = features.permute(0, 2, 3, 1).reshape(-1, 1, 4).double().numpy()
    every = ((flat - made.vectors.double().numpy()) ** 2).sum(axis=2)
    expected = every.reshape(len(every), shares, -1).min(axis=2).max(axis=1)
    assert distance.shape == (2, 1, *size) and index.shape == (2, *size)
    assert np.allclose(distance.flatten(), expected, rtol=1e-4)
    assert np.allclose(distance.flatten(), every[np.arange(len(every)), index.flatten()], rtol=1e-4)


def test_rounding_in_shares_is_a_millionth_of_the_distance_from_the_middle_of_the_bank():
    made, bright = filled(), 1e3 * torch.randn(1, 4, 8, 8)
    made.vectors[:] = torch.cat([1e3 * vectors(50), bright[0].flatten(1).T[:50]])
    distance, _ = made.in_shares(bright, 10)
    flat = bright[0].flatten(1).T[:, None].double()
    every = ((flat - made.vectors.double()) ** 2).sum(dim=2).reshape(64, 10, 10)
    error = (distance.flatten() - every.amin(dim=2).amax(dim=1)).abs()
    from_middle = ((flat[:, 0] - made.vectors.mean(dim=0)) ** 2).sum(dim=1)
    assert (error < 2e-6 * from_middle.clamp(min=1e6)).all()


def test_odd_pixels_among_the_remembered_excuse_no_other_unless_each_share_has_one():
    made = filled()
    odd = torch.full((1, 4, 1, 1), 30.0)
    for i in range(9):
        made.vectors[10 * i] = 30.0
        assert float(made.in_shares(odd, 10)[0]) > 1000
    made.vectors[95] = 30.0
    assert float(made.in_shares(odd, 10)[0]) < 1e-2


def test_a_remembered_vector_is_at_no_distance_though_it_is_far_from_zero():
    made = Bank(10, 4, 1)
    made.fit(vectors(10) * 1e-2 + 100, 0)
    distance, _ = made(made.vectors.T[None, :, :, None].contiguous())
    assert (distance == 0).all()


def test_a_bank_of_fewer_than_the_neighbour_that_counts_takes_the_last():
    assert Bank(5, 4, 9).nearest == 5


@pytest.mark.parametrize("coreset", [False, True])
def test_what_is_remembered_was_seen_each_once_and_repeatably(coreset: bool):
    made, again, other = (filled(coreset=coreset, seed=s) for s in (0, 0, 1))
    seen = {tuple(v) for v in vectors().tolist()}
    kept = [tuple(v) for v in made.vectors.tolist()]
    assert set(kept) <= seen and len(set(kept)) == 100
    assert torch.equal(made.vectors, again.vectors) and not torch.equal(made.vectors, other.vectors)


def test_a_sample_smaller_than_the_bank_is_remembered_whole_and_some_of_it_twice():
    made = Bank(100, 4, 1)
    made.fit(vectors(30), 0)
    counts = np.unique(made.vectors.numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == 30 and set(counts) == {3, 4}


def radius(kept: torch.Tensor) -> float:
    return float(torch.cdist(vectors(), kept).min(dim=1).values.max())


def test_a_cover_is_at_most_twice_as_wide_as_the_best_one():
    """Gonzalez 1985: vectors of a greedy cover are all as far apart as what is left is from the nearest of them."""
    kept = filled(20, coreset=True).vectors
    apart = torch.cdist(kept, kept) + 1e9 * torch.eye(20)
    assert radius(kept) <= float(apart.min()) + 1e-5
    assert radius(kept) < radius(filled(20).vectors)


def test_a_small_sample_is_drawn_whole_and_in_order():
    parts = [vectors(50, seed=s) for s in range(3)]
    assert torch.equal(random_share(parts, 0), torch.cat(parts))


@pytest.mark.parametrize("size", [1, 37, 500])
def test_a_large_sample_is_drawn_evenly_and_repeatably(monkeypatch, size: int):
    monkeypatch.setattr(bank, "DRAWN", 1_000)
    ordered = torch.arange(20_000.0)[:, None]
    kept = random_share(ordered.split(size), 0)
    assert len(kept) == 1_000 and torch.equal(kept, random_share(ordered.split(size), 0))
    assert not torch.equal(kept, random_share(ordered.split(size), 1))
    assert (kept.diff(dim=0) > 0).all()
    tenths = np.histogram(kept, bins=10, range=(0, 20_000))[0]
    assert tenths.min() > 60 and tenths.max() < 145


def test_an_empty_sample_is_refused():
    with pytest.raises(ValueError, match="empty"):
        random_share([], 0)


def test_picked_are_the_vectors_of_chosen_pixels_in_order():
    features, chosen = torch.arange(24.0).reshape(1, 2, 3, 4), torch.zeros(1, 1, 3, 4)
    chosen[0, 0, 0, 1] = chosen[0, 0, 2, 3] = 1
    assert vectors_at(features, chosen).tolist() == [[1, 13], [11, 23]]
