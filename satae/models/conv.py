"""The plain convolutional autoencoder compresses by two halvings and rebuilds by resize and convolution.

Masci et al. (2011) with the decoder of Odena et al. (2016), which has no checkerboard. Its code holds
`compression` times fewer numbers than its input, so it cannot copy; with a compression under 1 only penalties,
dropout or noise keep it from that.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from satae.models import Output
from satae.nn.units import BOUNDS, Activation, Bound, Norm, Style, Unit, layer


@dataclass(frozen=True)
class Params:
    """The settings of conv.

    `width`: channels of the first layer, doubled at the first halving. `compression`: input over code size.

    `norm`, `activation` and `dropout` follow each convolution: batch, group, layer or none; relu, leaky_relu, elu,
    gelu, silu or tanh; the share of channels. `output`: linear, or sigmoid or tanh for bounded inputs.
    """

    width: int = 16
    compression: float = 32.0
    norm: Norm = "batch"
    activation: Activation = "relu"
    dropout: float = 0.0
    output: Bound = "linear"

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 1024:
            raise ValueError(f"width {self.width} is not between 1 and 1024")
        if not self.compression > 0:
            raise ValueError(f"compression {self.compression} is not positive")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not at least 0 and below 1")

    @property
    def style(self) -> Style:
        """What follows each convolution."""
        return Style(self.norm, self.activation, self.dropout)

    def numbers(self, channels: int, stride: int) -> int:
        """The size of the code of a stride x stride patch."""
        # a patch holds channels * stride^2 numbers; one is left however strong the compression
        return max(1, round(channels * stride**2 / self.compression))


class ConvAutoencoder(nn.Module):
    """x (N, C, H, W) -> code (N, K, H/4, W/4) -> reconstruction (N, C, H, W).

    Other families have another `unit` in place of the convolutions but the first, and another `neck` before the
    code. `heads` numbers are encoded for each of the code, of which the first K are the code.
    """

    stride = 4

    def __init__(
        self,
        channels: int,
        params: Params,
        unit: Unit = layer,
        *,
        neck: nn.Module | None = None,
        heads: int = 1,
    ) -> None:
        super().__init__()
        # the width doubles at the first halving alone; what limits is the code, not the layers before it
        w, style = params.width, params.style
        self.code_size = params.numbers(channels, self.stride)
        # (N, C, H, W) -> (N, w, H, W) -> (N, 2 w, H/2, W/2) -> (N, 2 w, H/4, W/4) -> (N, heads K, H/4, W/4)
        self.encoder = nn.Sequential(
            layer(channels, w, style),
            unit(w, 2 * w, style, stride=2),  # H/2
            unit(2 * w, 2 * w, style, stride=2),  # H/4
            *([] if neck is None else [neck]),
            # neither norm nor activation: the code may take any value
            nn.Conv2d(2 * w, heads * self.code_size, 1),
        )
        # (N, K, H/4, W/4) -> (N, 2 w, H/4, W/4) -> (N, 2 w, H/2, W/2) -> (N, w, H, W) -> (N, C, H, W)
        # resized, then convolved: transposed convolutions leave a checkerboard (Odena et al. 2016), in every residual
        self.expand = layer(self.code_size, 2 * w, style, kernel=1)
        self.at_half = unit(2 * w, 2 * w, style)
        self.at_full = unit(2 * w, w, style)
        # neither norm nor activation but the bound: what x holds may lie many deviations away from its mean, 0
        self.output = nn.Conv2d(w, channels, 3, padding=1)
        # for inputs in [0, 1] or [-1, 1]: what cannot be reached is not learned
        self.bound = BOUNDS[params.output]()
        # the mean that `expand` takes away holds what an offset of the code adds
        self.idle = (self.encoder[-1].bias,) if params.norm == "batch" and heads == 1 else ()

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        # `valid` is not asked: x comes filled where it is not, and what is made there counts in no loss and no score
        code = self.encoder(x)  # (N, K, H/4, W/4), rounded up
        return Output(self.decode(code, *x.shape[-2:]), code)

    def decode(self, code: Tensor, height: int, width: int) -> Tensor:
        """The reconstruction (N, C, H, W) from a code."""
        z = self.expand(code)  # (N, 2 w, H/4, W/4)
        # resized to the sizes of the input's own halves, so that any H and W come out again, odd ones too
        z = self.at_half(F.interpolate(z, size=((height + 1) // 2, (width + 1) // 2), mode="nearest"))
        # nearest neighbours are what Odena et al. found to work best; (N, w, H, W)
        z = self.at_full(F.interpolate(z, size=(height, width), mode="nearest"))
        # (N, C, H, W)
        out: Tensor = self.bound(self.output(z))
        return out


def build(channels: int, params: Params) -> ConvAutoencoder:
    """The architecture for `channels` input channels."""
    return ConvAutoencoder(channels, params)
