"""A wide convolutional autoencoder makes a small file by units whose channels are interleaved (ShuffleNet).

ShuffleNet v2 (Ma et al. 2018): two branches of half the channels each. At equal width it has a sixth of the weights of
conv and a quarter of its products, and takes about as long on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from satae.models import conv
from satae.nn.units import Shuffle


@dataclass(frozen=True)
class Params(conv.Params):
    """The settings of conv, with an even width."""

    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % 2:
            raise ValueError(f"width {self.width} is odd: the branches of a unit share it")


def build(channels: int, params: Params) -> conv.ConvAutoencoder:
    """The architecture for `channels` input channels."""
    # a unit convolves half of the channels and passes the rest on; where sizes change it convolves all
    return conv.ConvAutoencoder(channels, params, Shuffle)
