"""A deeper convolutional autoencoder sees further, for scenes with more texture than conv rebuilds.

He et al. (2016) behind each halving and doubling.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from satae.models import conv
from satae.nn.units import Residual, Style, layer


@dataclass(frozen=True)
class Params(conv.Params):
    """The settings of conv, and `blocks`: residual blocks at each size."""

    blocks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.blocks <= 16:
            raise ValueError(f"blocks {self.blocks} is not between 1 and 16")


def build(channels: int, params: Params) -> conv.ConvAutoencoder:
    """The architecture for `channels` input channels."""

    def unit(inputs: int, outputs: int, style: Style, *, stride: int = 1) -> nn.Module:
        # the halving or the change of channels first, then blocks that keep both
        blocks = (Residual(outputs, style) for _ in range(params.blocks))
        return nn.Sequential(layer(inputs, outputs, style, stride=stride), *blocks)

    # every stage of conv but the first convolution is such a unit, so its shapes are those of conv
    return conv.ConvAutoencoder(channels, params, unit)
