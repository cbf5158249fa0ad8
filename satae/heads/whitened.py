"""The squared length of the whitened residual W r counts: a Mahalanobis distance with a shrunk covariance.

Where the autoencoder sees the whitened space itself, that is the squared error there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from satae.heads import Linear, View, with_sum
from satae.nn.normalize import Normalizer


@dataclass(frozen=True)
class Params:
    """This score has no settings."""


class WhitenedSquare(nn.Module):
    """Band b contributes r_b (W' w)_b, which sums to |w|^2 and can be negative: a band that agrees with the
    others where they correlate takes some of their error away."""

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        back = np.asarray(
            np.linalg.pinv(normalizer.affine), np.float64
        )  # (B, K): residual in stretched bands
        # r = back (x - reconstruction) (B), w = whitening r (K), and W' w (B) again
        self.to_bands = Linear(back)
        self.to_whitened = Linear(normalizer.whitening @ back)
        self.transposed = Linear(normalizer.whitening.T)

    def forward(self, view: View) -> Tensor:
        # (N, K, H, W); the product below is (N, B, H, W), and sums over bands to r' W' W r
        residual = view.x - view.reconstruction
        white = self.to_whitened(residual)
        return with_sum(self.to_bands(residual) * self.transposed(white), (white**2).sum(dim=1, keepdim=True))


def build(normalizer: Normalizer, params: Params) -> WhitenedSquare:
    """The head for a normaliser's bands."""
    return WhitenedSquare(normalizer)
