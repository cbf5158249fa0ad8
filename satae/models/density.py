"""A blind-spot autoencoder predicts how each pixel is distributed, given what surrounds it.

It sees rings, how much they vary, and boxes in eight directions around a guard; from its code it gives a
mixture of Gaussians for the pixel inside (mixture density network, Bishop 1994). Where the surroundings are
calm a small difference is a surprise, where they are rough a large one is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.models import Output, Sample, ring
from satae.models.ring import bottleneck
from satae.nn.surroundings import rings, sectors

SUITS = {
    # a logarithm, for what is bright varies more; a linear stretch and one scale for all bands found less (docs/log.md)
    "input": {"space": "whitened", "stretch": "log", "ridge": 1e-3, "components": 32},
    "objective": {"terms": {"surprise": 1.0}},
    "score": ["surprise"],
    "train": {
        "epochs": 12,
        # a small scene has few batches an epoch: it gets as many steps as the network needs to settle
        "min_steps": 40,
        "warmup": 0.3,
        "clip": 5.0,
        "learning_rate": 3e-3,
        "optimizer": "adamw",
        "weight_decay": 1e-2,
    },
    # shadows fall to one side: directions mean something, which mirrored tiles would take away
    "augment": {"flip": False, "turn": False},
}
VARIANCE = 1e-2  # added to the variance of a ring before its logarithm
LOGARITHMS = (-12.0, 8.0)  # of a predicted variance, the least and the largest


@dataclass(frozen=True)
class Params(ring.Params):
    """The settings of ring, and `mixture`: how many Gaussians; `floor`: their least variance, in the space of x."""

    # 9 rather than 17, and three rings up to 65 pixels: .117 to .138 of average precision on ports (docs/log.md)
    target_px: float = 9.0
    mixture: int = 8
    floor: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (1 <= self.mixture <= 64 and 0 < self.floor < math.inf):
            raise ValueError(f"mixture {self.mixture} is not 1 to 64, or floor {self.floor} not positive")


class DensityAutoencoder(nn.Module):
    """Surroundings -> code -> weights, means and variances of a mixture, the means on top of a linear path."""

    stride = 1
    centre: Tensor
    scale: Tensor

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        self.sides, self.code_size = params.sides(), params.code
        # boxes from about one guard to two away from the pixel, and twice as wide ones from about two to four
        guard = self.sides[0][0]
        self.boxes = [(guard, round(1.45 * guard)), (2 * guard - 1, round(2.8 * guard))]  # side, distance
        self.context = max(self.sides[-1][1] // 2, *(far + side // 2 for side, far in self.boxes))
        self.channels, self.mixture, self.floor = channels, params.mixture, params.floor
        # C numbers a ring, C for how much the middle one varies, C a box and direction: 20 C in all
        seen = channels * (len(self.sides) + 1 + 8 * len(self.boxes))
        # of what is seen; settled by `fit`
        self.register_buffer("centre", torch.zeros(1, seen, 1, 1))
        self.register_buffer("scale", torch.ones(1, seen, 1, 1))
        # 1 x 1 convolutions alone, as in ring: wider ones would look past the guard
        self.linear = nn.Conv2d(channels * len(self.sides), channels, 1)
        # a Gaussian has C means and C variances, and one weight in the mixture
        self.encoder, self.decoder = bottleneck(
            seen, params.hidden, params.code, params.mixture * (2 * channels + 1)
        )

    def surroundings(self, x: Tensor, valid: Tensor) -> Tensor:
        """What is seen of a pixel's surroundings: (N, seen, H, W), the rings first."""
        # three rings, the narrowest first: (N, C, H, W) each
        around = rings(x, valid, self.sides)
        # how much the middle ring varies, as a logarithm: rough places vary a thousand times as much as calm ones
        # E[x^2] - E[x]^2, which rounding can make negative; VARIANCE keeps the logarithm of a constant ring finite
        squares = rings(x**2, valid, self.sides[1:2])[0]
        spread = torch.log((squares - around[1] ** 2).clamp(min=0) + VARIANCE)
        # 8 C channels a distance, direction by direction; where nothing is valid the middle ring stands in
        found = [*around, spread]
        for side, far in self.boxes:
            found.append(sectors(x, valid, side, far, around[1]))
        return torch.cat(found, dim=1)

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        return self.predict(x, self.surroundings(x, valid))

    def predict(self, x: Tensor, seen: Tensor) -> Output:
        """The distribution of the pixel, from its surroundings alone."""
        # (N, D, H, W) at mean 0 and deviation 1, so that no channel rules the first layer
        seen = (seen - self.centre) / self.scale
        # (N, code, H, W)
        code = self.encoder(seen)
        # the rings come first: what is linear in them need not go through the bottleneck
        base = self.linear(seen[:, : self.channels * len(self.sides)])
        k, m = self.channels, self.mixture
        n, _, height, width = x.shape
        # in float32 even under autocast: variances and exponentials do not fit into half precision
        parts = self.decoder(code).float()
        # (N, M C + M C + M, H, W): means on top of the linear path, log-variances, and the logits of the weights
        offsets, logs, weights = parts.split([m * k, m * k, m], dim=1)
        # (N, M, C, H, W): a mean and a variance a Gaussian and channel, the channels independent given the Gaussian
        means = base.float()[:, None] + offsets.reshape(n, m, k, height, width)
        variance = torch.exp(logs.reshape(n, m, k, height, width).clamp(*LOGARITHMS)) + self.floor
        # (N, M, H, W): twice the negative log density, up to what a pixel on its mean has at the least variance
        distance = ((x[:, None] - means) ** 2 / variance + torch.log(variance / self.floor)).sum(dim=2)
        # weights sum to 1; kept as logarithms, for the density of a far Gaussian is 0 in float32
        share = torch.log_softmax(weights, dim=1)
        # (N, 1, H, W): a pixel is usual where any one of the Gaussians expects it
        surprise = -torch.logsumexp(share - 0.5 * distance, dim=1, keepdim=True)
        # (N, C, H, W): the mean of the mixture is what residuals are taken from
        expected = (share.exp()[:, :, None] * means).sum(dim=1)
        # negative by rounding alone: no density exceeds that of a pixel on its mean at the least variance
        return Output(expected, code, surprise.clamp(min=0))

    @torch.no_grad()
    def fit(self, pixels: Sample) -> None:
        """Bring what is seen to mean 0 and deviation 1 over the chosen pixels."""
        # sums (D,) of what is seen and of its square, in float64: digits are lost in their difference below
        count, first, second = 0.0, torch.zeros(1), torch.zeros(1)
        for x, valid, chosen in pixels():
            seen = self.surroundings(x, valid).double()
            count += float(chosen.sum())
            first = first + (seen * chosen).sum(dim=(0, 2, 3)).cpu()
            second = second + (seen**2 * chosen).sum(dim=(0, 2, 3)).cpu()
        mean = first / max(count, 1.0)
        # a channel that never varies is divided by 1e-3 and not by 0
        deviation = torch.sqrt((second / max(count, 1.0) - mean**2).clamp(min=0)) + 1e-3
        self.centre.copy_(mean[None, :, None, None])
        self.scale.copy_(deviation[None, :, None, None])


def build(channels: int, params: Params) -> DensityAutoencoder:
    """The architecture for `channels` input channels."""
    return DensityAutoencoder(channels, params)
