"""How rare the spectrum of a pixel is in the whole sample counts: an improbable one has a large error.

A mixture of Gaussians with full covariances, fitted by expectation maximisation (Dempster et al. 1977) to pixels of the
training sample. It knows the materials of the scene and how each varies, and nothing of where a pixel lies: a white
roof is rare although roofs around it are as large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.heads import ToBands, View, Views, apportion
from satae.nn.bank import random_share, vectors_at
from satae.nn.normalize import Normalizer

SAMPLE = 20_000  # pixels to which the mixture is fitted
USUAL = 0.999  # quantile of the log density over the sample, which has an error of 0
LEAST = 1e-3  # the least error, so that its logarithm stays finite


@dataclass(frozen=True)
class Params:
    """`mixture`: how many Gaussians; `rounds`: of their fitting; `floor`: added to each variance, in the space of x."""

    mixture: int = 16
    rounds: int = 30
    floor: float = 0.02

    def __post_init__(self) -> None:
        if not (1 <= self.mixture <= 64 and 1 <= self.rounds <= 1000):
            raise ValueError(f"mixture {self.mixture} is not 1 to 64, or rounds {self.rounds} not 1 to 1000")
        if not 0 < self.floor < math.inf:
            raise ValueError(f"floor {self.floor} is not positive")


class Rarity(nn.Module):
    """log p of what is most usual, less log p(x); never negative."""

    terms: Tensor
    constant: Tensor
    summed: Tensor
    usual: Tensor

    def __init__(self, normalizer: Normalizer, params: Params) -> None:
        super().__init__()
        self.params, self.to_bands = params, ToBands(normalizer)
        m, k = params.mixture, len(normalizer.affine)
        # the logarithm of a Gaussian is a sum of components, of their products two by two, and of a constant: of 4
        # components 14 planes, where M whitenings make 64; (M, K + K (K + 1) / 2, 1, 1)
        self.register_buffer("terms", torch.zeros(m, k * (k + 3) // 2, 1, 1))
        self.register_buffer("constant", torch.zeros(1, m, 1, 1))
        # (1 + K, M, 1, 1): ones, and the means
        self.register_buffer("summed", torch.ones(1 + k, m, 1, 1))
        self.register_buffer("usual", torch.zeros(1))

    def forward(self, view: View) -> Tensor:
        log = self._logs(view.x)  # (N, M, H, W)
        # sums over Gaussians as 1 x 1 convolutions, which ONNX Runtime is faster at than at sums over channels
        most = log.amax(dim=1, keepdim=True)
        parts = torch.exp(log - most)
        sums = F.conv2d(parts, self.summed)  # (N, 1 + K, H, W): their sum, and the sum of means times each
        error = (self.usual - most - torch.log(sums[:, :1])).clamp(min=LEAST)
        # the mean of what the pixel may be instead (N, K, H, W), from which its bands differ
        expected = sums[:, 1:] / sums[:, :1]
        return apportion(error, self.to_bands(view.x - expected) ** 2)

    @property
    def cells(self) -> int:
        """The components, their products, and the Gaussians."""
        return sum(self.terms.shape[:2])

    def _logs(self, x: Tensor) -> Tensor:
        """log of weight times density (N, M, H, W) of each Gaussian, up to a constant that all share."""
        # (N, K, H, W), (N, K - 1, H, W), ...: each component times itself and those behind it
        products = [x[:, t : t + 1] * x[:, t:] for t in range(x.shape[1])]
        return F.conv2d(torch.cat([x, *products], dim=1), self.terms) + self.constant

    @torch.no_grad()
    def fit(self, views: Views) -> None:
        """Fit the mixture to SAMPLE pixels of the sample."""
        pixels = random_share((vectors_at(view.x, chosen) for view, chosen in views()), 0)
        pixels = pixels[torch.linspace(0, len(pixels) - 1, min(len(pixels), SAMPLE)).long()].double()
        weights, means, covariances = mixture(pixels, self.params)
        # -(x - mean)' P (x - mean) / 2, multiplied out; P (M, K, K)
        inverse = torch.linalg.inv(covariances)
        linear = (inverse @ means[:, :, None])[..., 0]  # (M, K)
        # P_ij counts for i, j and for j, i, and P_ii once
        once = inverse - torch.diag_embed(torch.diagonal(inverse, dim1=1, dim2=2)) / 2
        squares = [-once[:, t, t:] for t in range(means.shape[1])]
        self.terms.copy_(torch.cat([linear, *squares], dim=1)[:, :, None, None])
        middle = weights.log() - torch.logdet(covariances) / 2 - (linear * means).sum(dim=1) / 2
        self.constant.copy_(middle[None, :, None, None])
        self.summed[1:] = means.T[:, :, None, None]
        found = torch.logsumexp(self._logs(pixels.float().T[None, :, :, None]), dim=1)
        self.usual[0] = torch.quantile(found.flatten().double(), USUAL)


def mixture(pixels: Tensor, params: Params) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (M), means (M, K) and covariances (M, K, K) of a mixture fitted to pixels (n, K), in float64."""
    n, k = pixels.shape
    generator = torch.Generator().manual_seed(0)
    m, floor = params.mixture, params.floor * torch.eye(k, dtype=pixels.dtype)
    # started at random pixels, each as wide as the sample
    means = pixels[torch.randint(n, (m,), generator=generator)]
    around = pixels - pixels.mean(dim=0)
    covariances = (around.T @ around / n + floor).repeat(m, 1, 1)
    weights = torch.full((m,), 1 / m, dtype=pixels.dtype)
    for _ in range(params.rounds):
        # shares (n, M): to which Gaussian a pixel belongs
        lower = torch.linalg.cholesky(covariances)
        off = torch.linalg.solve_triangular(
            lower, (pixels[None] - means[:, None]).transpose(1, 2), upper=False
        )
        logs = (
            weights.log()
            - torch.diagonal(lower, dim1=1, dim2=2).log().sum(dim=1)
            - 0.5 * (off**2).sum(dim=1).T
        )
        shares = torch.softmax(logs, dim=1)
        count = shares.sum(dim=0) + 1e-6
        weights = count / count.sum()
        means = (shares.T @ pixels) / count[:, None]
        apart = pixels[None] - means[:, None]  # (M, n, K)
        covariances = (apart * shares.T[:, :, None]).transpose(1, 2) @ apart / count[:, None, None] + floor
    return weights, means, covariances


def build(normalizer: Normalizer, params: Params) -> Rarity:
    """The head for a normaliser's bands."""
    return Rarity(normalizer, params)
