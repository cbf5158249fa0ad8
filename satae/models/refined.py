"""PCA codes square blocks, and convolutional networks correct the code and the reconstruction.

The linear path is fitted in closed form and stays. Both corrections begin at zero, so training starts at the
error of PCA, the best linear autoencoder of that code size (Bourlard and Kamp 1988), and can only be better.
The corrections are residual networks (He et al. 2016) on blocks folded as by Shi et al. (2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.models import Output, Sample
from satae.nn.pca import principal

# in bands, as PCA: in whitened space no component leads
SUITS = {"input": {"space": "bands"}, "score": ["mse"], "train": {"learning_rate": 1e-3}}
SIZES = (8, 16, 32, 64)
SMALLEST = 4  # pixels a side at which halving ends


@dataclass(frozen=True)
class Params:
    """The settings of refined.

    `size`: pixels a side of a block, which divides the side of the training tiles. `code`: numbers of a block.

    `width`: channels at half the side, doubled at each halving. `depth`: residual units at each of these.
    """

    size: int = 8
    code: int = 16
    width: int = 32
    depth: int = 1

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size {self.size} is none of {', '.join(map(str, SIZES))}")
        if not 1 <= self.code <= 4096:
            raise ValueError(f"code {self.code} is not between 1 and 4096")
        if not 1 <= self.width <= 1024:
            raise ValueError(f"width {self.width} is not between 1 and 1024")
        if not 0 <= self.depth <= 16:
            raise ValueError(f"depth {self.depth} is not between 0 and 16")


class RefinedPca(nn.Module):
    """x (N, C, H, W) -> code (N, K, H/size, W/size), rounded up -> reconstruction (N, C, H, W).

    Blocks do not know of each other: scenes are scored in overlapping ones that are blended, as with dense.
    `mean` (C size^2); `analysis` (C size^2, K) gives coordinates of variance 1, `synthesis` (K, C size^2) takes
    them back; `unit` is the root mean square of a centred block.
    """

    mean: Tensor
    analysis: Tensor
    synthesis: Tensor
    unit: Tensor

    def __init__(self, channels: int, params: Params) -> None:
        super().__init__()
        # a block is coded by itself: the output moves with the input by whole blocks
        self.stride = self.frame = params.size
        # of the C size^2 numbers of a block at least one is left out: with all of them anything would be copied
        numbers = channels * params.size**2
        self.channels, self.code_size = channels, min(params.code, numbers - 1)
        # the linear path, PCA of whole blocks, settled by `fit`; buffers, for gradients are not to move it
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("analysis", torch.eye(numbers, self.code_size))
        self.register_buffer("synthesis", torch.eye(self.code_size, numbers))
        self.register_buffer("unit", torch.ones(()))
        # what corrects the linear path learns by gradients, and begins at 0
        self.encoder = _Encoder(channels, self.code_size, params)
        self.decoder = _Decoder(channels, self.code_size, params)

    def forward(self, x: Tensor, valid: Tensor) -> Output:
        (height, width), side = x.shape[-2:], self.stride
        rows, cols = (height + side - 1) // side, (width + side - 1) // side
        # whole blocks, filled with 0; each block is a row (M, C side side)
        padded = F.pad(x, (0, side - 1, 0, side - 1))[..., : rows * side, : cols * side]
        # (M, C side^2), M = N rows cols
        centred = _blocks(padded, side).flatten(1) - self.mean
        # (M, K), coordinates of variance 1; networks see blocks in units of their root mean square
        shape = (-1, self.channels, side, side)
        code = centred @ self.analysis + self.encoder((centred / self.unit).reshape(shape))
        # the best linear code and its reconstruction; networks only add to both, from 0 on
        linear = code @ self.synthesis
        # (M, C side^2), in the units of x again
        fine = self.decoder(code, (linear / self.unit).reshape(shape)).flatten(1) * self.unit
        # (N, rows, cols, C, side, side) -> (N, C, rows side, cols side): each block goes back to its place
        rebuilt = (linear + fine + self.mean).reshape(-1, rows, cols, *shape[1:])
        whole = rebuilt.permute(0, 3, 1, 4, 2, 5).reshape(-1, self.channels, rows * side, cols * side)
        # a block is one cell of the code: (N, K, rows, cols)
        cells = code.reshape(-1, rows, cols, self.code_size).permute(0, 3, 1, 2)
        return Output(whole[..., :height, :width], cells)

    @torch.no_grad()
    def fit(self, pixels: Sample) -> None:
        """Fit the linear path to the blocks of which most pixels are chosen."""
        parts = []
        for x, _, chosen in pixels():
            # whole blocks only: a filled one would teach the components what it is filled with
            height, width = (n // self.stride * self.stride for n in x.shape[-2:])
            inside = chosen[..., :height, :width]
            # (M,), in the order of `_blocks`
            most = F.avg_pool2d(inside, self.stride).flatten() > 0.5
            parts.append(_blocks(x[..., :height, :width], self.stride)[most].flatten(1).cpu())
        found = principal(torch.cat(parts).numpy(), self.code_size)
        # deviation along each component; a weak one would divide rounding up to variance 1
        spread = np.sqrt(np.maximum(found.variance, 1e-9 * found.variance.max(initial=1e-30)))
        # fewer than K where blocks span fewer directions: the rest of both matrices stays 0
        kept = len(spread)
        for buffer in (self.analysis, self.synthesis):
            buffer.zero_()
        self.mean.copy_(torch.from_numpy(found.mean))
        self.analysis[:, :kept] = torch.from_numpy(found.basis.T / spread)
        self.synthesis[:kept] = torch.from_numpy(found.basis * spread[:, None])
        # root of the mean square of the C side^2 numbers of a centred block, as far as components hold it
        self.unit.fill_(max(float(np.sqrt(found.variance.sum() / len(found.mean))), 1e-6))


class _Encoder(nn.Module):
    """Blocks (M, C, side, side) -> what to add to their code (M, K), at first 0."""

    def __init__(self, channels: int, code: int, params: Params) -> None:
        super().__init__()
        # (M, C, side, side) -> (M, 4 C, side/2, side/2), nothing averaged away (Shi et al. 2016)
        # -> (M, w, side/2, side/2) -> ... -> (M, widths[-1], last, last)
        widths, last = _widths(params), min(SMALLEST, params.size // 2)
        parts: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, widths[0], 3, padding=1)]
        for here, following in zip(widths, [*widths[1:], None], strict=True):
            parts += [_Unit(here) for _ in range(params.depth)]
            if following is not None:
                parts.append(nn.Conv2d(here, following, 3, stride=2, padding=1))
        self.body = nn.Sequential(*parts, nn.SiLU())
        # zero at first: training starts at the error of PCA
        self.out = _zero(nn.Linear(widths[-1] * last**2, code))

    def forward(self, x: Tensor) -> Tensor:
        # (M, widths[-1], last, last) -> (M, K)
        found: Tensor = self.out(self.body(x).flatten(1))
        return found


class _Decoder(nn.Module):
    """A code (M, K) and its linear reconstruction -> what to add to that (M, C, side, side), at first 0."""

    def __init__(self, channels: int, code: int, params: Params) -> None:
        super().__init__()
        widths, self.last = _widths(params), min(SMALLEST, params.size // 2)
        # the code as a small image, (M, widths[-1], last, last), doubled until it is (M, w, side/2, side/2)
        self.start = nn.Linear(code, widths[-1] * self.last**2)
        parts: list[nn.Module] = []
        for here, following in zip(widths[:0:-1], widths[-2::-1], strict=True):
            parts += [_Unit(here) for _ in range(params.depth)]
            parts += [nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(here, following, 3, padding=1)]
        self.up = nn.Sequential(*parts)
        # the linear reconstruction at the same size: the network sees what it is to correct
        self.fold = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, widths[0], 3, padding=1))
        self.fine = nn.Sequential(*(_Unit(widths[0]) for _ in range(params.depth + 1)), nn.SiLU())
        # (M, w, side/2, side/2) -> (M, 4 C, side/2, side/2), zero at first -> (M, C, side, side)
        self.out = nn.Sequential(_zero(nn.Conv2d(widths[0], 4 * channels, 3, padding=1)), nn.PixelShuffle(2))

    def forward(self, code: Tensor, linear: Tensor) -> Tensor:
        # (M, K) -> (M, widths[-1], last, last)
        start = self.start(code).unflatten(1, (-1, self.last, self.last))
        found: Tensor = self.out(self.fine(self.up(start) + self.fold(linear)))
        return found


class _Unit(nn.Module):
    """z + two convolutions of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, z: Tensor) -> Tensor:
        # activations before the convolutions (He et al. 2016b), so that the sum itself is passed on untouched
        found: Tensor = z + self.two(F.silu(self.one(F.silu(z))))
        return found


def _widths(params: Params) -> list[int]:
    """Channels at half the side, a quarter, and so on down to SMALLEST pixels."""
    # size 8 has one width, at 4 pixels; each doubling of it has one more
    halvings = (params.size // 2 // SMALLEST).bit_length() - 1
    return [params.width * 2**i for i in range(halvings + 1)]


def _zero(layer: nn.Module) -> nn.Module:
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


def _blocks(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) with H and W multiples of the side -> (N H/side W/side, C, side, side), row by row."""
    n, channels, height, width = x.shape
    # (N, C, rows, side, cols, side) -> (N, rows, cols, C, side, side) -> (M, C, side, side)
    cells = x.reshape(n, channels, height // side, side, width // side, side)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, side, side)


def build(channels: int, params: Params) -> RefinedPca:
    """The architecture for `channels` input channels."""
    return RefinedPca(channels, params)
