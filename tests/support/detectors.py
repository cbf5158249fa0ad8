"""What tests of models, heads and graph build: small detectors on made-up pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from satae import heads as scores
from satae import models
from satae.choices import Choices
from satae.config import HeadSettings, MapSettings
from satae.detector.fusion import Mapping
from satae.detector.graph import Detector
from satae.errors import ConfigError
from satae.heads import SCORES
from satae.models import MODELS, Sample
from satae.nn import normalize
from satae.nn.normalize import Normalizer

BANDS = 3
SMALL = {
    "width": 4, "hidden": 8, "code": 4, "size": 16, "nearest": 3, "shares": 4, "mixture": 2, "leading": 2,
    "components": 2, "target_px": 3.0, "ring": "3-7", "window": 3,
}  # fmt: skip
HEADS = [
    *((name, {}) for name in scores.NAMES),
    ("sectors", {"large": 0.5}),
    ("memory", {"of": "residual"}),
    ("memory", {"of": "pixel+0.5*code+context", "coreset": True}),
]
HEAD_IDS = [name + "".join(f"-{v}" for v in params.values()) for name, params in HEADS]
NETS = pytest.mark.parametrize("net", models.NAMES)
EVERY_HEAD = pytest.mark.parametrize("head", HEADS, ids=HEAD_IDS)
Named = tuple[str, dict[str, Any]]


def small(choices: Choices, name: str) -> dict[str, Any]:
    """Parameters that make a variant small and quick."""
    return {key: value for key, value in SMALL.items() if choices.takes(name, key)}


def pixels(n: int = 3_000, bands: int = BANDS, seed: int = 0) -> np.ndarray:
    """Positive, correlated and skewed DN (n, bands)."""
    mixed = np.random.default_rng(bands).normal(size=(bands, bands))
    return 500 * np.exp(0.3 * np.random.default_rng(seed).normal(size=(n, bands)) @ mixed)


def fitted(bands: int = BANDS, **how: Any) -> Normalizer:
    """The normaliser of those pixels."""
    return normalize.fit(pixels(bands=bands), **{"whitened": True, **how})


def net_of(name: str, channels: int = BANDS, seed: int = 0, **params: Any) -> torch.nn.Module:
    """A small architecture in evaluation mode."""
    torch.manual_seed(seed)
    return models.build(name, channels, {**small(MODELS, name), **params}).eval()


def head_of(head: Named, made: Normalizer) -> torch.nn.Module:
    """A small head."""
    name, params = head
    return scores.head(HeadSettings(name=name, params={**small(SCORES, name), **params}), made).eval()


def image(count: int, height: int, width: int, seed: int = 0, bands: int = BANDS) -> torch.Tensor:
    """DN (N, B, H, W) without structure."""
    drawn = pixels(count * height * width, bands, seed).reshape(count, height, width, bands)
    return torch.tensor(drawn.transpose(0, 3, 1, 2), dtype=torch.float32).contiguous()


def mask(count: int, height: int, width: int, share: float = 0.8, seed: int = 0) -> torch.Tensor:
    """A random mask (N, 1, H, W), 1.0 = good."""
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 1, height, width, generator=rng) < share).float()


def sample_of(detector: Detector, seed: int = 5, size: int = 24) -> Sample:
    """Two tiles of which most pixels are chosen."""

    def sample() -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for i in range(2):
            valid = mask(1, size, size, seed=seed + i)
            dn = image(1, size, size, seed=seed + i, bands=len(detector.input.floor[0]))
            yield detector.input(dn, valid), valid, valid * mask(1, size, size, 0.9, seed + 9 + i)

    return sample


def detector(net: str = "conv", *heads: Named, positive: bool = False, **steps: Any) -> Detector:
    """A small detector, fitted in closed form where that is its way; skips what does not go together.

    With `positive` weights every input is felt in every output that reads it.
    """
    made, model = fitted(), net_of(net)
    if positive:
        for weight in model.parameters():
            weight.data = weight.data.abs() + 0.05
    found = [head_of(h, made) for h in heads or [("whitened", {})]]
    out = Detector(made, model, found, Mapping(MapSettings(**steps), len(found))).eval()
    sample = sample_of(out)
    if hasattr(model, "fit"):
        model.fit(sample)
    try:
        out.settle(sample)
    except ConfigError as error:
        pytest.skip(str(error))
    return out


def toy(side: int = 128) -> np.ndarray:
    """Three bands of smooth waves, of which the third follows from the others."""
    rows, cols = np.mgrid[:side, :side]
    one, two = np.sin(rows / 7) + np.sin(cols / 11), np.cos((rows + cols) / 9)
    noise = np.random.default_rng(0).normal(0, 0.02, (3, side, side))
    return (1000 + 300 * (np.stack([one, two, one - two]) + noise)).astype(np.float32)
