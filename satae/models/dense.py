"""A dense autoencoder codes a whole frame at once, as in the literature on small pictures such as CIFAR-10.

Three 3 x 3 convolutions with ReLU and 2 x 2 max pooling, a dense code, three transposed convolutions (Masci et al.
2011). Each number of its code follows from all of a frame, so it knows layouts, and it has no finite receptive field:
scenes are scored in overlapping frames whose scores are blended.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from satae.models import Output
from satae.nn.units import BOUNDS, Activation, Bound, Norm, Style, layer

HALVED = 8  # input pixels a side of what enters the dense code as one cell


@dataclass(frozen=True)
class Params:
    """The settings of dense.

    `size`: pixels a side of a frame, which divides the side of the training tiles. `code`: numbers a frame.

    `width`: channels of the first convolution, doubled at each pooling. `norm`, `activation`, `dropout` and `output`
    as in conv.
    """

    size: int = 32
    code: int = 128
    width: int = 32
    norm: Norm = "none"
    activation: Activation = "relu"
    dropout: float = 0.0
    output: Bound = "linear"

    def __post_init__(self) -> None:
        if self.size % HALVED or not HALVED <= self.size <= 256:
            raise ValueError(f"size {self.size} is not a multiple of {HALVED} up to 256")
        if not 1 <= self.code <= 65_536:
            raise ValueError(f"code {self.code} is not between 1 and 65536")
        if not 1 <= self.width <= 1024:
            raise ValueError(f"width {self.width} is not between 1 and 1024")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not at least 0 and below 1")


class DenseAutoencoder(nn.Module):
    """x (N, C, H, W) -> its frames (M, C, S, S), each by itself -> code (N, K, H/S, W/S), reconstruction.

    H and W are filled up to multiples of S with 0, the mean of the sample.
    """

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        # the output moves with the input by whole frames, for every number of a frame's code follows from all of it
        self.stride = self.frame = params.size
        # numbers a frame, and so a stride x stride patch
        self.code_size = params.code
        style, side = Style(params.norm, params.activation, params.dropout), params.size // HALVED
        # channels at S, S/2, S/4 and S/8: C, w, 2 w, 4 w
        widths = [channels, *(params.width * 2**i for i in range(3))]
        steps = list(pairwise(widths))
        cells = widths[-1] * side**2
        # (M, C, S, S) -> (M, 4 w, S/8, S/8) -> (M, 4 w (S/8)^2) -> (M, K)
        self.encoder = nn.Sequential(
            *(nn.Sequential(layer(*pair, style), nn.MaxPool2d(2)) for pair in steps),
            nn.Flatten(),
            nn.Linear(cells, params.code),
        )
        # (M, K) -> (M, 4 w, S/8, S/8) -> (M, C, S, S); the layers of the encoder in reverse, the last without a norm
        self.decoder = nn.Sequential(
            nn.Linear(params.code, cells),
            nn.ReLU(),
            nn.Unflatten(1, (widths[-1], side, side)),
            *(nn.Sequential(_up(b, a), *style.finish(a)) for a, b in steps[:0:-1]),
            _up(widths[1], channels),
            BOUNDS[params.output](),
        )

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        n, channels, height, width = x.shape
        side = self.frame
        rows, cols = (height + side - 1) // side, (width + side - 1) // side
        # filled with 0 up to whole frames; padded by the most there can be, then cut, which any H and W allow
        whole = F.pad(x, (0, side - 1, 0, side - 1))[..., : rows * side, : cols * side]
        # (N, C, rows, S, cols, S) -> (N, rows, cols, C, S, S): frames become samples of their own
        split = whole.reshape(n, channels, rows, side, cols, side).permute(0, 2, 4, 1, 3, 5)
        # (M, C, S, S) -> (M, K), with M = N rows cols
        code = self.encoder(split.reshape(n * rows * cols, channels, side, side))
        rebuilt = self.decoder(code).reshape(n, rows, cols, channels, side, side)
        # and back: each frame to its place
        joined = rebuilt.permute(0, 3, 1, 4, 2, 5).reshape(n, channels, rows * side, cols * side)
        # a frame is one cell of the code: (N, K, rows, cols)
        codes = code.reshape(n, rows, cols, self.code_size).permute(0, 3, 1, 2)
        return Output(joined[..., :height, :width], codes)


def _up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    # a kernel no wider than its stride: no output gets more terms than its neighbour, so there is no checkerboard
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)


def build(channels: int, params: Params) -> DenseAutoencoder:
    """The architecture for `channels` input channels."""
    return DenseAutoencoder(channels, params)
