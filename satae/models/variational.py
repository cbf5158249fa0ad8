"""A variational autoencoder learns a smooth code, for scores of the code (the head `latent`).

Kingma and Welling (2014). The code is a distribution: the decoder sees mean + deviation * noise in training and the
mean in use, so that scores are the same each time. The objective `kl` keeps it near a standard normal one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from satae.models import Output, conv

LARGEST = 10.0  # of a log-variance, either way: its exponential stays finite in half precision


@dataclass(frozen=True)
class Params(conv.Params):
    """The settings of conv."""


class VariationalAutoencoder(conv.ConvAutoencoder):
    """x (N, C, H, W) -> mean and log-variance of a code (N, K, H/4, W/4) -> reconstruction (N, C, H, W)."""

    def __init__(self, channels: int, params: Params) -> None:
        # twice the channels at the end of the encoder: K of the mean, then K of the log-variance
        super().__init__(channels, params, heads=2)

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        # (N, K, H/4, W/4) each
        mean, spread = self.encoder(x).chunk(2, dim=1)
        # before the exponential, not after: its gradient is infinite where it overflows
        log_variance = spread.clamp(-LARGEST, LARGEST)
        # a draw in training alone: scores of the same image are to be the same
        code = mean
        if self.training:
            # mean + deviation * noise: gradients reach both, which a draw of the code itself would stop
            code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        # the mean is the code that is reported in training too: what is looked at later is what scores are made from
        return Output(self.decode(code, *x.shape[-2:]), mean, log_variance=log_variance)


def build(channels: int, params: Params) -> VariationalAutoencoder:
    """The architecture for `channels` input channels."""
    return VariationalAutoencoder(channels, params)
