"""A wide convolutional autoencoder makes a small file by depthwise separable convolutions (MobileNet).

MobileNet (Howard et al. 2017). At equal width it has a sixth of the weights of conv and a fifth of its products; on a
CPU, where memory is what such layers wait for, it takes about as long.
"""

from __future__ import annotations

from dataclasses import dataclass

from satae.models import conv
from satae.nn.units import separable


@dataclass(frozen=True)
class Params(conv.Params):
    """The settings of conv."""

    width: int = 32


def build(channels: int, params: Params) -> conv.ConvAutoencoder:
    """The architecture for `channels` input channels."""
    # of 9 a b weights of a 3 x 3 convolution, 9 a + a b are left
    return conv.ConvAutoencoder(channels, params, separable)
