"""The plain convolutional autoencoder: undercomplete, two halvings, a decoder of resize and convolution.

Masci et al. (2011) with the decoder of Odena et al. (2016), which has no checkerboard. Its code holds
`compression` times fewer numbers than its input, so it cannot copy.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from satae.models import Output


@dataclass(frozen=True)
class Params:
    """`width`: channels of the first layer, doubled at each halving. `compression`: input over code size."""

    width: int = 16
    compression: float = 32.0

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 1024:
            raise ValueError(f"width {self.width} is not between 1 and 1024")
        if not self.compression > 0:
            raise ValueError(f"compression {self.compression} is not positive")


class ConvAutoencoder(nn.Module):
    """x (N, C, H, W) -> code (N, K, H/4, W/4) -> reconstruction (N, C, H, W)."""

    stride = 4

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        w = params.width
        self.code_size = max(1, round(channels * self.stride**2 / params.compression))
        self.encoder = nn.Sequential(
            _layer(channels, w),
            _layer(w, 2 * w, stride=2),  # H/2
            _layer(2 * w, 2 * w, stride=2),  # H/4
            nn.Conv2d(2 * w, self.code_size, 1),
        )
        self.expand = _layer(self.code_size, 2 * w, kernel=1)
        self.at_half = _layer(2 * w, 2 * w)
        self.at_full = _layer(2 * w, w)
        self.output = nn.Conv2d(w, channels, 3, padding=1)

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        height, width = x.shape[-2:]
        code = self.encoder(x)
        z = self.expand(code)
        z = self.at_half(F.interpolate(z, size=((height + 1) // 2, (width + 1) // 2), mode="nearest"))
        z = self.at_full(F.interpolate(z, size=(height, width), mode="nearest"))
        return Output(self.output(z), code)


def _layer(inputs: int, outputs: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def build(channels: int, params: Params) -> ConvAutoencoder:
    """The architecture for `channels` input channels."""
    return ConvAutoencoder(channels, params)
