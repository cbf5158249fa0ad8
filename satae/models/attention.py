"""A convolutional autoencoder attends to what is alike around, for scenes that repeat themselves.

Before the code, each cell of 4 x 4 pixels attends to a window of cells around it (Ramachandran et al. 2019), and
channels are gated by their means over such a window (Hu et al. 2018). Both windows are finite, and so is the reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from satae.models import conv
from satae.nn.units import Attention, Squeeze


@dataclass(frozen=True)
class Params(conv.Params):
    """The settings of conv; `by`: window, squeeze or both; `window`: cells a side, odd; `heads` of the attention."""

    by: Literal["window", "squeeze", "both"] = "both"
    window: int = 5
    heads: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window % 2 == 0 or not 3 <= self.window <= 15:
            raise ValueError(f"window {self.window} is not an odd number between 3 and 15")
        if self.heads < 1 or 2 * self.width % self.heads:
            raise ValueError(f"heads {self.heads} do not share {2 * self.width} channels equally")


def build(channels: int, params: Params) -> conv.ConvAutoencoder:
    """The architecture for `channels` input channels."""
    # channels of the last stage: (N, 2 w, H/4, W/4) goes through both and keeps its shape
    w = 2 * params.width
    # both read a window of cells around each, never all of them: the reach stays finite, and so does the halo
    parts: dict[str, nn.Module] = {
        "window": Attention(w, params.window, params.heads),
        "squeeze": Squeeze(w, params.window),
    }
    # attention first, then the gates: those are of what attention gave
    chosen = parts.values() if params.by == "both" else [parts[params.by]]
    return conv.ConvAutoencoder(channels, params, neck=nn.Sequential(*chosen))
