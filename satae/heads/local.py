"""The contrast of a pixel with the ring around it counts, in units of how that ring itself varies.

Local RX (Reed and Yu 1990; here with a ridge): the squared Mahalanobis distance of the mean of 3 x 3 pixels from the
mean of the ring, in the covariance of the pixels of the ring. On water a faint boat stands out; among roofs a roof does
not. Where a ring is too calm, or too small, to say how it varies, the contrasts of the whole sample do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.heads import ToBands, View, Views, apportion, edges
from satae.nn.normalize import Normalizer
from satae.nn.surroundings import means, rings, total

NEAR = 3  # pixels, the side of the box whose mean is compared
MOST = 5  # components in which covariances are taken: their number grows with the square
LEAST = 1e-6  # the least variance that is divided by
RIDGE = 0.1  # of the covariance of the sample's contrasts that is added to that of a ring


@dataclass(frozen=True)
class Params(edges.Params):
    """The size of the target, which the ring leaves out; MOST and RIDGE are fixed."""


class LocalContrast(nn.Module):
    """d' (C + RIDGE C_all)^-1 d over the first MOST components of x."""

    ridge: Tensor

    def __init__(self, normalizer: Normalizer, params: Params) -> None:
        super().__init__()
        self.sides, self.to_bands = params.ring(), ToBands(normalizer)
        self.components = k = min(MOST, len(normalizer.affine))
        self.register_buffer("ridge", RIDGE * torch.eye(k)[:, :, None, None])

    def forward(self, view: View) -> Tensor:
        known = torch.where(view.valid > 0.5, view.x, torch.zeros_like(view.x))
        # what the ring is like: the mean (N, K, H, W), and the columns of the covariance of its first components
        around, columns = self._ring(known, view.valid)
        x = known[:, : self.components]
        # the mean of 3 x 3 pixels, for a single one is mostly noise and an object is larger
        near = total(x, NEAR) / total(view.valid, NEAR).clamp(min=1)
        distance = mahalanobis(near - around[:, : self.components], columns)
        return apportion(distance, self.to_bands(view.x - around) ** 2)

    def _ring(self, known: Tensor, valid: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of the valid pixels of the ring the mean (N, K, H, W), and the covariance with its ridge, of which the t-th
        column is (N, MOST - t, H, W), from the diagonal down."""
        k = self.components
        products = [known[:, t : t + 1] * known[:, t:k] for t in range(k)]
        # one tensor of components and their products, so that all are summed over boxes at once
        moments = means(torch.cat([known, *products], dim=1), valid, *self.sides[::-1])
        mean, *second = moments.split([known.shape[1], *range(k, 0, -1)], dim=1)
        return mean, [
            found - mean[:, t : t + 1] * mean[:, t:k] + self.ridge[t:, t] for t, found in enumerate(second)
        ]

    @torch.no_grad()
    def fit(self, views: Views) -> None:
        """Take the mean square of the contrasts of single pixels with their rings over the sample."""
        k, count = self.components, 0
        second = torch.zeros(k, k, dtype=torch.float64)
        for view, chosen in views():
            x = view.x[:, :k]
            contrast = x - rings(x, chosen, [self.sides])[0]
            c = contrast.permute(0, 2, 3, 1)[chosen[:, 0] > 0.5].double()
            count, second = count + len(c), second + c.T @ c
        spread = second / max(count, 1) + 1e-6 * torch.eye(k, dtype=torch.float64)
        self.ridge.copy_((RIDGE * spread)[:, :, None, None])


def mahalanobis(difference: Tensor, columns: list[Tensor]) -> Tensor:
    """d' C^-1 d (N, 1, H, W) of differences d (N, K, H, W) and the columns of C, from the diagonal down.

    By elimination (the outer product form of LDL'): a component at a time is taken from all that follow, and what is
    left of each, squared over what is left of its variance, adds up.
    """
    found = torch.zeros_like(difference[:, :1])
    while columns:
        pivot = columns[0][:, :1].clamp(min=LEAST)  # (N, 1, H, W)
        found = found + difference[:, :1] ** 2 / pivot
        share = columns[0][:, 1:] / pivot
        difference = difference[:, 1:] - share * difference[:, :1]
        # C_ij - C_it C_jt / C_tt
        columns = [
            column - share[:, i:] * columns[0][:, i + 1 : i + 2] for i, column in enumerate(columns[1:])
        ]
    return found


def build(normalizer: Normalizer, params: Params) -> LocalContrast:
    """The head for a normaliser's bands."""
    return LocalContrast(normalizer, params)
