"""An inpainting autoencoder predicts hidden blocks from what surrounds them.

Pathak et al. (2016), with blocks on a lattice as in Zavrtanik et al. (2021). Every pixel is predicted in that one
of four passes in which its block is hidden, so a target that fits into a block cannot be copied; the network
sees what is hidden or invalid as 0 and is told so by a channel of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.models import Output

SUITS = {
    "input": {"space": "whitened", "ridge": 1e-3, "components": 32},
    # trimmed as in ring: anomalies of the training sample are not to be learned
    "objective": {"terms": {"mse": 1.0}, "trim": 0.97, "warm": 0.2},
    "score": ["whitened"],
    "train": {"learning_rate": 3e-3},
}
HALVED = 4  # input pixels a side of what one number of the code stands for
LARGEST = 16  # pixels a side of a block


@dataclass(frozen=True)
class Params:
    """The settings of masked.

    `target_px`: size of the largest target; a block is the next multiple of 4 pixels wide. `width`: channels of
    the first layer, doubled at the first halving.
    """

    target_px: float = 5.0
    width: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.target_px <= LARGEST:
            raise ValueError(f"target_px {self.target_px} is not between 1 and {LARGEST}")
        if not 1 <= self.width <= 1024:
            raise ValueError(f"width {self.width} is not between 1 and 1024")

    @property
    def block(self) -> int:
        """Side of a hidden block in pixels."""
        # a multiple of the network's stride, so that what the network makes of x moves with it by blocks
        return HALVED * math.ceil(self.target_px / HALVED)


class MaskedAutoencoder(nn.Module):
    """x (N, C, H, W) -> four passes of it (4N, C + 1, H, W) -> the hidden pixels of each, put together."""

    code_size = 0  # each pass has a code of its own

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        w, self.block = params.width, params.block
        # a lattice that is moved by a block is the same one: its passes change places
        self.stride = self.block
        # one period of the lattice
        self.context = 2 * self.block
        # at H/4 a cell is 4 pixels: dilations of 1 and 2 read 12 pixels to each side, with 4 it is 28
        dilations = (1, 2, 4) if self.block > 8 else (1, 2)  # enough to see past a block from its middle
        # (4 N, C + 1, H, W) -> (4 N, w, H, W) -> (4 N, 2 w, H/2, W/2) -> (4 N, 2 w, H/4, W/4)
        self.encoder = nn.Sequential(
            _layer(channels + 1, w),
            _layer(w, 2 * w, stride=2),  # H/2
            _layer(2 * w, 2 * w, stride=2),  # H/4
            *(_layer(2 * w, 2 * w, dilation=d) for d in dilations),
        )
        # back: (4 N, w, H/2, W/2) -> (4 N, w, H, W) -> (4 N, C, H, W)
        self.at_half = _layer(2 * w, w)
        self.at_full = _layer(w, w)
        self.output = nn.Conv2d(w, channels, 1)

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        n, channels, height, width = x.shape
        hidden = self.passes(height, width).to(x.device)[:, None]  # (4, 1, H, W)
        # a pass sees what is valid and not hidden from it
        seen = (valid > 0.5)[:, None] & ~hidden  # (N, 4, 1, H, W)
        # (N, 4, C, H, W), 0 where not seen; the channel beside it tells a hidden 0 from one that was measured
        known = torch.where(seen, x[:, None], torch.zeros_like(x)[:, None])
        shown = torch.cat([known, seen.to(x.dtype)], dim=2).reshape(n * 4, channels + 1, height, width)
        # of each pass only what it did not see counts; every pixel is hidden from one of the four
        # (4 N, C, H, W) -> (N, 4, C, H, W)
        predicted = self.inpaint(shown).reshape(n, 4, channels, height, width)
        # a sum of one prediction and three zeros: `where` and not a product, which would let a NaN through
        return Output(torch.where(hidden, predicted, torch.zeros_like(predicted)).sum(dim=1))

    def passes(self, height: int, width: int) -> Tensor:
        """Which pixels each of four passes hides, (4, H, W): every pixel once.

        The lattice starts at the first pixel, in training at a random one.
        """
        # a random start in training, so that the network does not learn where on the lattice it is
        shift = torch.randint(2 * self.block, (2,)).tolist() if self.training else (0, 0)
        # (H,) and (W,): True in every second band of `block` pixels
        rows, cols = (
            (torch.arange(side) + first) % (2 * self.block) < self.block
            for side, first in zip((height, width), shift, strict=True)
        )
        # the four products of bands and gaps tile the plane
        return torch.stack([r[:, None] & c[None, :] for r in (rows, ~rows) for c in (cols, ~cols)])

    def inpaint(self, shown: Tensor) -> Tensor:
        """What the network makes of one pass each, at all pixels."""
        height, width = shown.shape[-2:]
        # (4 N, 2 w, H/4, W/4), rounded up; resized to the input's own halves, as in conv
        z = self.encoder(shown)
        z = self.at_half(F.interpolate(z, size=((height + 1) // 2, (width + 1) // 2), mode="nearest"))
        z = self.at_full(F.interpolate(z, size=(height, width), mode="nearest"))
        out: Tensor = self.output(z)
        return out


def _layer(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )


def build(channels: int, params: Params) -> MaskedAutoencoder:
    """The architecture for `channels` input channels."""
    return MaskedAutoencoder(channels, params)
