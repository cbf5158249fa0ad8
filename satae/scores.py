"""Score heads: from a residual to an anomaly map and to the share of each band in it, inside the graph.

A head is a torch module made from the normaliser. It maps the residual x - reconstruction (N, K, H, W), in
the space that the autoencoder sees, to the contribution of each band (N, B, H, W); the anomaly map is their
sum, so that the shares explain the score exactly. A new head is a class here and a line in SCORES.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.errors import ConfigError
from satae.normalize import Normalizer, Vector


class Linear(nn.Module):
    """A fixed matrix (out, in) applied to the channels of every pixel."""

    weight: Tensor

    def __init__(self, matrix: Vector) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(matrix, dtype=torch.float32)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


class MeanSquare(nn.Module):
    """Mean over the bands of the squared residual, in standard deviations of each band."""

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        to_bands = np.asarray(np.linalg.pinv(normalizer.affine) / normalizer.spread[:, None], np.float64)
        self.to_bands = Linear(to_bands)
        self.bands = len(normalizer.spread)

    def forward(self, residual: Tensor) -> Tensor:
        out: Tensor = self.to_bands(residual) ** 2 / self.bands
        return out


class Whitened(nn.Module):
    """Squared length of the whitened residual w = W r, a Mahalanobis distance with a shrunk covariance.

    Band b contributes r_b (W' w)_b, which sums to |w|^2 and can be negative: a band that agrees with the
    others where they correlate takes some of their score away.
    """

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        back = np.asarray(
            np.linalg.pinv(normalizer.affine), np.float64
        )  # (B, K): residual in stretched bands
        self.to_bands = Linear(back)
        self.to_whitened = Linear(normalizer.whitening @ back)
        self.transposed = Linear(normalizer.whitening.T)

    def forward(self, residual: Tensor) -> Tensor:
        out: Tensor = self.to_bands(residual) * self.transposed(self.to_whitened(residual))
        return out


SCORES: dict[str, type[nn.Module]] = {"mse": MeanSquare, "whitened": Whitened}


def head(name: str, normalizer: Normalizer) -> nn.Module:
    """The score head `name`; ConfigError lists what there is."""
    if name not in SCORES:
        raise ConfigError(f"score = {name!r}: there is no such score; there are {', '.join(SCORES)}")
    return SCORES[name](normalizer)
