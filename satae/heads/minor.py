"""The contrast with the surroundings counts, in the direction of bands in which the ground's own vary least.

What differs from its surroundings mostly differs in brightness, and along with it in the ways that the materials of the
scene differ from each other. The last principal component of these contrasts is a rule that they all keep, which
needs no network to be found: over water and docks, that green lies half-way between blue and red. Paint and rust
break it (minor components as detectors: Shyu et al. 2003; here of contrasts, not of pixels). One number is often near
0 by chance, so its square is averaged over the pixels next to each.

Measured in DN, where spectra mix linearly, whatever space the autoencoder works in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from satae.heads import Linear, View, Views, apportion, edges
from satae.nn.normalize import Normalizer, Vector
from satae.nn.surroundings import means, rings

NEAR = 3  # pixels, the side of the box of the mean
LEAST = 1e-6  # share of the variance of all contrasts under which a component is rounding: one band twice


@dataclass(frozen=True)
class Params(edges.Params):
    """The settings of edges."""


class MinorContrast(nn.Module):
    """Mean of (w . c)^2 over 3 x 3 pixels, c the difference of a pixel from the mean of the ring around it.

    The mean square of w . c over the sample is 1.
    """

    centre: Tensor
    weight: Tensor

    def __init__(self, normalizer: Normalizer, params: Params) -> None:
        super().__init__()
        self.ring, self.logarithmic = params.ring(), normalizer.logarithmic
        # x -> v - centre, the stretched bands, from which `_linear` goes on to DN up to a factor and an offset a band
        self.to_stretched = Linear(np.asarray(np.linalg.pinv(normalizer.affine), np.float64))
        centre = torch.tensor(normalizer.centre, dtype=torch.float32)
        self.register_buffer("centre", centre[None, :, None, None])
        self.register_buffer("weight", torch.ones_like(self.centre))

    def forward(self, view: View) -> Tensor:
        # (N, B, H, W), of which the sum over bands is w . c
        parts = self.weight * self._contrast(view.x, view.valid)
        # one number a pixel (N, 1, H, W), often near 0 by chance: averaged over those next to it
        square = parts.sum(dim=1, keepdim=True) ** 2
        # what is invalid may hold anything, and `means` expects 0 there
        known = torch.where(view.valid > 0.5, square, torch.zeros_like(square))
        # a box holds its own pixel: the last argument stands only where that is invalid, and nothing counts
        return apportion(means(known, view.valid, NEAR, 0, square), parts**2)

    def _contrast(self, x: Tensor, valid: Tensor) -> Tensor:
        """(N, B, H, W) in units of the range of each band, less the level of the sample where the ring is empty."""
        # less the level at x = 0, so that the 0 that `rings` gives where nothing is valid is the mean of the sample
        level = self._linear(x) - self._linear(torch.zeros(1, x.shape[1], 1, 1).to(self.centre))
        return level - rings(level, valid, [self.ring])[0]

    def _linear(self, x: Tensor) -> Tensor:
        # spectra mix linearly in DN: a contrast of logarithms would differ between sun and shade
        stretched = self.to_stretched(x) + self.centre
        return torch.exp(stretched) if self.logarithmic else stretched

    @torch.no_grad()
    def fit(self, views: Views) -> None:
        """Take the least component of the sample's contrasts, each band in units of its own."""
        bands = self.weight.shape[1]
        count, second = 0, torch.zeros(bands, bands, dtype=torch.float64)
        for view, chosen in views():
            # rings over chosen pixels alone, whatever else is seen around a tile
            contrast = self._contrast(view.x, chosen).permute(0, 2, 3, 1)
            # (n, B), and the mean products of bands (B, B); not centred, for no contrast at all is what is usual
            c = contrast[chosen[:, 0] > 0.5].double()
            count, second = count + len(c), second + c.T @ c
        # the numbers are few, so this is done in numpy and float64
        weight = least((second / max(count, 1)).numpy())
        self.weight.copy_(torch.from_numpy(weight)[None, :, None, None])


def least(second: Vector) -> Vector:
    """Weights (B) of the least component with at least LEAST of the variance, whose mean square is 1.

    `second` (B, B) holds the mean products of contrasts. A band without contrast has no weight.
    """
    # a band's own root mean square is its unit, so that the strongest band does not choose the component
    own = np.sqrt(np.diag(second))
    varies = own > 1e-6 * own.max(initial=1e-30)
    # a constant band has no contrast to be divided by, and a scene of such bands no rule to be broken
    out = np.zeros(len(own))
    if not varies.any():
        return out
    unit = own[varies]
    # of mean products in those units; values rise, so the first that is no rounding is the least
    values, vectors = np.linalg.eigh(second[np.ix_(varies, varies)] / np.outer(unit, unit))
    first = int(np.argmax(values >= LEAST * values.sum()))
    # back to the units of c, and to a mean square of 1
    out[varies] = vectors[:, first] / unit / np.sqrt(values[first])
    return out


def build(normalizer: Normalizer, params: Params) -> MinorContrast:
    """The head for a normaliser's bands."""
    return MinorContrast(normalizer, params)
