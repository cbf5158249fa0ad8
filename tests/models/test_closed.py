"""Architectures that learn nothing by gradients: float64 numpy and loops say what they must give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectors import BANDS, fitted, head_of, image, mask, net_of, pixels

from satae import models
from satae.config import MapSettings
from satae.detector.fusion import Mapping
from satae.detector.graph import Detector, Input
from satae.models import Sample
from satae.nn import normalize

HEIGHT, WIDTH = 17, 21


def drawn(share: float = 0.7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """x (1, 3, H, W), 0 where it is not valid, and the mask."""
    valid = mask(1, HEIGHT, WIDTH, share, seed)
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(1, BANDS, HEIGHT, WIDTH, generator=rng) * valid, valid


def sample_of(x: torch.Tensor, valid: torch.Tensor, chosen: torch.Tensor | None = None) -> Sample:
    return lambda: iter([(x, valid, valid if chosen is None else chosen)])


def scores_of(net: str, **how: float) -> tuple[np.ndarray, np.ndarray]:
    """The map of pixels by the whole detector, and their stretched values (n, B) in float64."""
    made = fitted(4, whitened=True, **how)
    found = Detector(
        made, net_of(net, 4), [head_of(("whitened", {}), made)], Mapping(MapSettings(), 1)
    ).eval()
    dn = pixels(400, 4, seed=9)
    tall = torch.tensor(dn.T.reshape(1, 4, 20, 20), dtype=torch.float32)
    with torch.no_grad():
        return found(tall, torch.ones(1, 1, 20, 20))[0].flatten().numpy(), made.stretch_values(dn)


@pytest.mark.parametrize(("net", "ridge"), [("rx", 1e-9), ("rx_shrunk", 1e-3)])
def test_rx_is_the_squared_mahalanobis_distance_from_the_sample(net: str, ridge: float):
    assert models.suits(net)["input"]["ridge"] == ridge
    found, v = scores_of(net, ridge=ridge, components=models.suits(net)["input"]["components"])
    made = fitted(4)
    sample = made.stretch_values(pixels(bands=4))
    covariance = np.cov(sample.T, bias=True)
    inverse = np.linalg.pinv(covariance + ridge * np.trace(covariance) / 4 * np.eye(4))
    away = v - sample.mean(axis=0)
    assert np.allclose(found, np.einsum("ni,ij,nj->n", away, inverse, away), rtol=2e-3)


@pytest.mark.parametrize("components", [1, 3, 10])
@pytest.mark.parametrize("channels", [1, 5])
def test_pca_leaves_what_the_singular_vectors_leave(components: int, channels: int):
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(400, channels)) @ rng.normal(size=(channels, channels)) + 3).astype(np.float32)
    x = torch.tensor(z.T.reshape(1, channels, 20, 20))
    made = models.build("pca", channels, {"components": components})
    made.fit(sample_of(x, torch.ones(1, 1, 20, 20)))
    kept = max(1, min(components, channels - 1))
    centred = z.astype(np.float64) - z.mean(axis=0, dtype=np.float64)
    _, _, vectors = np.linalg.svd(centred, full_matrices=False)
    expected = centred - centred @ vectors[:kept].T @ vectors[:kept]
    out = made(x, torch.ones(1, 1, 20, 20))
    residual = (x - out.reconstruction)[0].flatten(1).T.numpy()
    assert np.allclose(residual, expected, atol=1e-4)
    code = (out.code[0].flatten(1).T.numpy() ** 2).sum(axis=1)
    assert np.allclose(code + (expected**2).sum(axis=1), (centred**2).sum(axis=1), rtol=1e-3)


def ring_mean(
    x: np.ndarray, valid: np.ndarray, row: int, col: int, ring: tuple[int, int]
) -> np.ndarray | None:
    """The mean (C) over the valid pixels of a ring."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    far = np.maximum(abs(rows - row), abs(cols - col))
    inside = valid & (far > ring[0] // 2) & (far <= ring[1] // 2)
    return x[:, inside].mean(axis=1) if inside.any() else None


def ring_means(x: torch.Tensor, valid: torch.Tensor, sides: list[tuple[int, int]]) -> np.ndarray:
    """(ring, C, H, W); where a ring is empty the mean of the next larger, in the end 0."""
    values, good = x[0].double().numpy(), valid[0, 0].numpy() > 0
    out = np.zeros((len(sides), BANDS, HEIGHT, WIDTH))
    for row in range(HEIGHT):
        for col in range(WIDTH):
            mean = np.zeros(BANDS)
            for i in sorted(range(len(sides)), key=lambda i: -sides[i][1]):
                found = ring_mean(values, good, row, col, sides[i])
                mean = out[i, :, row, col] = mean if found is None else found
    return out


@pytest.mark.parametrize("share", [1.0, 0.7, 0.05])
@pytest.mark.parametrize("sides", [[(1, 3)], [(5, 9)], [(3, 5), (5, 9)], [(1, 3), (3, 7), (7, 13)]])
@pytest.mark.parametrize("combine", ["min", "mean"])
def test_annulus_is_the_distance_to_the_mean_of_the_ring_that_counts(sides: list, combine: str, share: float):
    x, valid = drawn(share)
    text = ",".join(f"{inner}-{outer}" for inner, outer in sides)
    made = models.build("annulus", BANDS, {"rings": text, "combine": combine})
    residual = (x - made(x, valid).reconstruction)[0].double().numpy()
    apart = x[0].double().numpy() - ring_means(x, valid, sides)
    squares = (apart**2).sum(axis=1)
    good = valid[0, 0].numpy() > 0
    if combine == "min":
        expected = squares.min(axis=0)
    else:
        every = np.concatenate([(x[0].double().numpy() ** 2).sum(axis=0)[None], squares])
        expected = np.exp(np.log(np.maximum(every, 1e-12)).mean(axis=0))
    assert np.allclose((residual**2).sum(axis=0)[good], expected[good], rtol=1e-3, atol=1e-4)


def test_the_ring_of_annulus_is_as_large_as_the_target_asks_for():
    assert models.build("annulus", 3, {}).sides == [(9, 17)]
    assert models.build("annulus", 3, {"target_px": 9.0}).sides == [(17, 33)]
    assert models.build("annulus", 3, {"target_px": 1}).sides == [(1, 3)]
    assert models.build("annulus", 3, {"rings": "5-9,9-17"}).context == 8


def nearest(features: np.ndarray, bank: np.ndarray, k: int) -> np.ndarray:
    """Squared distances of (n, D) to the k-th nearest of (m, D)."""
    return np.sort(((features[:, None] - bank[None]) ** 2).sum(axis=2), axis=1)[:, k - 1]


@pytest.mark.parametrize("context", [0.0, 0.5])
@pytest.mark.parametrize(("size", "k"), [(1, 1), (30, 3), (1000, 10)])
def test_memory_is_the_distance_to_the_kth_nearest_of_what_it_remembers(context: float, size: int, k: int):
    x, valid = drawn()
    made = models.build("memory", BANDS, {"size": size, "nearest": k, "context": context, "ring": "3-7"})
    made.fit(sample_of(x, valid))
    features = x[0].double().numpy().reshape(BANDS, -1).T
    if context:
        around = ring_means(x, valid, [(3, 7)])[0].reshape(BANDS, -1).T
        features = np.concatenate([features, context * around], axis=1)
    good = valid[0, 0].numpy().ravel() > 0
    remembered = made.bank.vectors.double().numpy()
    known = features[good]
    assert all(np.isclose(known, vector, atol=1e-5).all(axis=1).any() for vector in remembered)
    other, seen = drawn(seed=5)
    features = other[0].double().numpy().reshape(BANDS, -1).T
    if context:
        around = ring_means(other, seen, [(3, 7)])[0].reshape(BANDS, -1).T
        features = np.concatenate([features, context * around], axis=1)
    residual = (other - made(other, seen).reconstruction)[0].double().numpy()
    kept = seen[0, 0].numpy().ravel() > 0
    found = (residual**2).sum(axis=0).ravel()
    assert np.allclose(found[kept], nearest(features, remembered, k)[kept], rtol=1e-3, atol=1e-5)


def test_without_context_the_reconstruction_of_memory_is_a_remembered_pixel():
    x, valid = drawn()
    made = net_of("memory")
    made.fit(sample_of(x, valid))
    out = made(x, valid).reconstruction[0].flatten(1).T
    assert torch.cdist(out, made.bank.vectors).min(dim=1).values.max() < 1e-3


def test_pixels_that_are_not_chosen_are_not_remembered():
    x, valid = drawn(1.0)
    chosen = valid.clone()
    chosen[..., WIDTH // 2 :] = 0
    x[..., WIDTH // 2 :] += 100
    made = net_of("memory")
    made.fit(sample_of(x, valid, chosen))
    assert made.bank.vectors.max() < 50


def test_a_scene_of_constant_pixels_is_no_division_by_zero():
    made = normalize.fit(np.random.default_rng(0).normal(100, 5, (500, 3)), whitened=True)
    dn, valid = torch.full((1, 3, 16, 16), 100.0), torch.ones(1, 1, 16, 16)
    for net in ("rx", "pca", "annulus", "memory"):
        model = net_of(net)
        if hasattr(model, "fit"):
            model.fit(sample_of(Input(made)(dn, valid), valid))
        found = Detector(made, model, [head_of(("whitened", {}), made)], Mapping(MapSettings(), 1)).eval()
        assert torch.isfinite(found(dn, valid)[0]).all()
        assert torch.isfinite(found(image(1, 16, 16), valid)[0]).all()
