"""The squared Mahalanobis distance of the code from the codes of the sample counts.

Mean and covariance are fitted to the sample, as in Lee et al. (2018) with one class. The bands share the
distance in proportion to their squared residuals.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.heads import ToBands, View, Views, apportion
from satae.nn.bank import vectors_at
from satae.nn.normalize import Normalizer
from satae.nn.pca import moments


@dataclass(frozen=True)
class Params:
    """The settings of latent.

    `ridge`: added to the covariance, in units of its mean eigenvalue.
    """

    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.ridge < float("inf"):
            raise ValueError(f"ridge {self.ridge} is not a positive number")


class LatentDistance(nn.Module):
    """|W (code - mean)|^2 with W'W the inverse of the shrunk covariance; W is 1 until `fit`."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, normalizer: Normalizer, params: Params) -> None:
        super().__init__()
        # sizes of one until `fit`, for the size of the code is known to the architecture alone
        self.ridge = params.ridge
        self.to_bands = ToBands(normalizer)
        self.register_buffer("mean", torch.zeros(1, 1, 1, 1))
        self.register_buffer("whitening", torch.ones(1, 1, 1, 1))

    def forward(self, view: View) -> Tensor:
        # (N, D, H, W) at every pixel, whatever the stride of the code
        away = view.code_for("score = 'latent'") - self.mean
        # until `fit` there is no matrix for a code of this size, and the plain distance stands in
        fitted = self.whitening.shape[1] == away.shape[1]
        z = F.conv2d(away, self.whitening) if fitted else away
        # (N, 1, H, W)
        error = (z**2).sum(dim=1, keepdim=True)
        # the distance is one number a pixel; which bands it is about is read from the residual
        return apportion(error, self.to_bands(view.x - view.reconstruction) ** 2)

    def fit(self, views: Views) -> None:
        """Mean and covariance over the chosen pixels, in float64."""
        # codes at every chosen pixel, those of a cell as often as it has such pixels
        mean, covariance = moments(
            vectors_at(view.code_for("score = 'latent'"), chosen) for view, chosen in views()
        )
        values, vectors = torch.linalg.eigh(covariance)
        # raised by a share of their mean: else a direction in which codes hardly vary would rule the distance
        shrunk = values.clamp(min=0) + (self.ridge * values.clamp(min=0).mean()).clamp(min=1e-12)
        # rows are eigenvectors over their deviations: |W z|^2 = z' C^-1 z, C the shrunk covariance
        whitening = vectors.T / shrunk.sqrt()[:, None]
        # assigned, not copied into: the buffers had another size
        self.mean = mean[None, :, None, None].to(self.mean)
        self.whitening = whitening[:, :, None, None].to(self.whitening)


def build(normalizer: Normalizer, params: Params) -> LatentDistance:
    """The head for a normaliser's bands."""
    return LatentDistance(normalizer, params)
