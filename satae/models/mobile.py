"""Mobile: the convolutional autoencoder with depthwise separable convolutions, a fifth of the work on a CPU.

MobileNet (Howard et al. 2017). Worth it from a width of 32 on, where products over channels are what takes time.
"""

from __future__ import annotations

from dataclasses import dataclass

from satae.blocks import separable
from satae.models import conv


@dataclass(frozen=True)
class Params(conv.Params):
    """As conv."""

    width: int = 32


def build(channels: int, params: Params) -> conv.ConvAutoencoder:
    """The architecture for `channels` input channels."""
    return conv.ConvAutoencoder(channels, params, separable)
