"""The mixture density and the boxes around a pixel, against numpy in float64 and against what they promise."""

import math

import numpy as np
import pytest
import torch

from satae import heads, models
from satae.config import HeadSettings
from satae.heads import View
from satae.nn import normalize
from satae.nn.surroundings import EIGHT

CHANNELS = 3


def built(**params: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build("density", CHANNELS, {"hidden": 8, "code": 4, "mixture": 3, **params}).double().eval()


def image(side: int = 48, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = np.random.default_rng(seed).normal(size=(1, CHANNELS, side, side))
    return torch.tensor(drawn), torch.ones(1, 1, side, side, dtype=torch.float64)


@torch.no_grad()
def parts(net: torch.nn.Module, seen: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (m, pixels), means and variances (m, K, pixels) of the mixture, computed from the layers' outputs."""
    m, k = net.mixture, CHANNELS
    given = (seen - net.centre) / net.scale
    base = net.linear(given[:, : net.linear.in_channels])[0].reshape(k, -1).numpy()
    out = net.decoder(net.encoder(given))[0].reshape(m * (2 * k + 1), -1).numpy().astype(np.float64)
    means = out[: m * k].reshape(m, k, -1) + base
    variance = np.exp(out[m * k : 2 * m * k].reshape(m, k, -1)) + net.floor
    weights = np.exp(out[2 * m * k :])
    return weights / weights.sum(axis=0), means, variance


@torch.no_grad()
def test_the_surprise_is_the_negative_log_density_over_the_least_there_can_be():
    net, (x, valid) = built(), image()
    seen = net.surroundings(x, valid)
    weights, means, variance = parts(net, seen)
    pixel = x[0].reshape(CHANNELS, -1).numpy()
    normal = np.exp(-0.5 * (pixel - means) ** 2 / variance) / np.sqrt(2 * math.pi * variance)
    density = (weights * normal.prod(axis=1)).sum(axis=0)
    least = -np.log((1 / np.sqrt(2 * math.pi * net.floor)) ** CHANNELS)
    expected = -np.log(density) - least
    out = net(x, valid)
    assert np.allclose(out.surprise[0, 0].reshape(-1).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert np.allclose(
        out.reconstruction[0].reshape(CHANNELS, -1).numpy(), (weights[:, None] * means).sum(axis=0), atol=1e-5
    )
    assert (expected > 0).all()


@torch.no_grad()
def test_the_prediction_does_not_see_the_pixel_or_its_guard():
    net, (x, valid) = built(target_px=9.0), image(96)
    changed = x.clone()
    changed[..., 44:53, 44:53] += 100.0
    one, other = net(x, valid), net(changed, valid)
    assert torch.allclose(one.reconstruction[..., 48, 48], other.reconstruction[..., 48, 48], atol=1e-6)
    assert other.surprise[0, 0, 48, 48] > one.surprise[0, 0, 48, 48] + 100


def test_it_learns_that_calm_ground_makes_small_differences_a_surprise():
    """Two grounds with the same mean, one ten times as rough: the same difference counts for more on the calm one."""
    rng = np.random.default_rng(0)
    rough = np.where(np.arange(128)[None, :] < 64, 0.1, 1.0)
    x = torch.tensor(rng.normal(size=(1, CHANNELS, 128, 128)) * rough, dtype=torch.float32)
    valid = torch.ones(1, 1, 128, 128)
    torch.manual_seed(0)
    net = models.build("density", CHANNELS, {"floor": 0.001})
    net.fit(lambda: iter([(x, valid, valid)]))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    seen = net.surroundings(x, valid)
    for _ in range(150):
        loss = net.predict(x, seen).surprise.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    odd, usual = torch.full_like(x, 0.8), torch.zeros_like(x)
    with torch.no_grad():
        more = (net.predict(odd, seen).surprise - net.predict(usual, seen).surprise)[0, 0, 48:80]
    assert more[:, 16:32].median() > 4 * more[:, 96:112].median()


@pytest.mark.parametrize("nearest", [1, 3, 24])
def test_sectors_is_the_distance_to_the_box_that_counts(nearest: int):
    rng = np.random.default_rng(1)
    pixels = rng.normal(size=(2_000, CHANNELS)) * [1, 2, 3]
    made = normalize.fit(pixels, whitened=True)
    head = heads.head(HeadSettings(name="sectors", params={"nearest": nearest}), made).eval()
    x, _ = image(60)
    x = x.float()
    valid = torch.ones(1, 1, 60, 60)
    with torch.no_grad():
        error = head(View(x, valid, torch.zeros_like(x))).sum(dim=1)[0].numpy()
    z = x[0].numpy().astype(np.float64)
    for row, col in ((30, 30), (25, 41)):
        found = []
        for side, far in ((3, 4), (5, 7), (9, 12)):
            for r, c in EIGHT:
                top, left = row + r * far - side // 2, col + c * far - side // 2
                box = z[:, top : top + side, left : left + side].mean(axis=(1, 2))
                found.append(((z[:, row, col] - box) ** 2).sum())
        assert error[row, col] == pytest.approx(sorted(found)[nearest - 1], rel=1e-4)
