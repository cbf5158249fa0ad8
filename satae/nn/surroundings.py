"""What surrounds a pixel: means over boxes, rings and sectors of the valid pixels, as torch operations.

A mean over a place without a valid pixel is that of the next larger place around it, and in the end 0, the
mean of the sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import wrap_torch_function

EIGHT = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))  # (row, col) directions
WIDEST = 129  # pixels, the outer side of a ring
Ring = tuple[int, int]  # inner and outer side in pixels, odd; the inner square is not in it


def odd(size: float) -> int:
    """The nearest odd number, of two the larger, at least 1."""
    return max(1, 2 * math.floor(size / 2) + 1)


def ring_sides(text: str) -> list[Ring]:
    """The rings that a text such as '9-17' or '5-9,9-17' names; ValueError where it names none."""
    try:
        pairs = [part.split("-") for part in text.split(",")]
        found = [(int(inner), int(outer)) for inner, outer in pairs]
    except ValueError:
        raise ValueError(f"{text!r} is not of the form 9-17 or 5-9,9-17") from None
    for inner, outer in found:
        if not (0 < inner < outer and inner % 2 and outer % 2):
            raise ValueError(f"{inner}-{outer} is no ring: it needs two odd sides, the smaller first")
    return found


@wrap_torch_function(lambda z, side: (z,))
def total(z: Tensor, side: int) -> Tensor:
    """Sum over a side x side box around each pixel, nothing beyond the edge; `side` is odd.

    To a trace it is one function, as those of torch are (`training.translation`): what is fast is another thing in
    ONNX Runtime.
    """
    return _along(_along(z, side, 2), side, 3)


def _along(z: Tensor, side: int, axis: int) -> Tensor:
    """Sums of `side` neighbours along an axis.

    Of sums of 1, 2, 4, ... neighbours, each two of the one before, those are added that make up `side`: 13 = 1 + 4 + 8.
    A pooling adds `side` numbers a pixel, this about 2 log2(side), and sums of few parts round less.
    """
    length, reach = z.shape[axis], side // 2
    rim = [reach, reach] if axis == 3 else [0, 0, reach, reach]
    block, wide, begun, out = F.pad(z, rim), 1, 0, None
    while True:
        if side & wide:
            part = block.narrow(axis, begun, length)
            out, begun = part if out is None else out + part, begun + wide
        if out is not None and begun == side:
            return out
        several = block.shape[axis] - wide
        block = block.narrow(axis, 0, several) + block.narrow(axis, wide, several)
        wide *= 2


@wrap_torch_function(lambda z, side: (z,))
def ring_total(z: Tensor, side: int) -> Tensor:
    """Sum over the eight side x side boxes around the one in whose middle each pixel is; a function as `total` is."""
    # boxes beyond the edge reach across it, so they are summed there, too
    sums = total(F.pad(z, (side,) * 4), side)
    height, width = z.shape[-2:]
    out = torch.zeros_like(z)
    for row, col in EIGHT:
        out = out + sums[..., (1 + row) * side :, (1 + col) * side :][..., :height, :width]
    return out


def means(known: Tensor, valid: Tensor, outer: int, inner: int, otherwise: Tensor | None = None) -> Tensor:
    """Mean over the valid pixels of a ring (of a box, where `inner` is 0) around each pixel.

    `known` (N, K, H, W) is 0 where `valid` (N, 1, H, W) is; `otherwise`, or 0, stands where there is no valid one.
    """
    sums, count = _inside(known, outer, inner), _inside(valid, outer, inner)
    # what is decided a pixel is decided in one channel: all of K only multiply and add, which is fast
    # half-way between no valid pixel and one, whatever rounding does to the count
    share = torch.where(count > 0.5, 1 / count.clamp(min=1), torch.zeros_like(count))  # (N, 1, H, W)
    return sums * share if otherwise is None else sums * share + otherwise * (1 - count).clamp(min=0)


def _inside(z: Tensor, outer: int, inner: int) -> Tensor:
    """Sums over a ring; over a box, where `inner` is 0."""
    if inner and outer == 3 * inner:
        return ring_total(z, inner)
    # a ring is a box without the box inside
    return total(z, outer) - total(z, inner) if inner else total(z, outer)


def gaussian_mean(z: Tensor, valid: Tensor, sigma: float) -> Tensor:
    """Gaussian mean over the valid pixels around each, channel by channel; the window reaches 3 sigma."""
    if not sigma:
        return z
    radius = math.ceil(3 * sigma)
    steps = torch.arange(-radius, radius + 1, dtype=z.dtype)
    # separable: down, then right, with 2 r + 1 products each in place of (2 r + 1)^2
    kernel = torch.exp(-(steps**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(z.device)

    def smooth(y: Tensor) -> Tensor:
        channels = y.shape[1]
        down = kernel[None, None, :, None].expand(channels, 1, -1, 1)
        right = kernel[None, None, None, :].expand(channels, 1, 1, -1)
        rows = F.conv2d(y, down, padding=(radius, 0), groups=channels)
        return F.conv2d(rows, right, padding=(0, radius), groups=channels)

    known = torch.where(valid > 0.5, z, torch.zeros_like(z))
    # normalised convolution (Knutsson and Westin 1993): invalid pixels have no weight, at edges too
    return smooth(known) / smooth(valid).clamp(min=1e-6)


def rings(x: Tensor, valid: Tensor, sides: Sequence[Ring]) -> list[Tensor]:
    """The means over rings, in the order of `sides`."""
    known = torch.where(valid > 0.5, x, torch.zeros_like(x))
    found: dict[Ring, Tensor] = {}
    otherwise = None
    # the widest first: where a ring holds no valid pixel, the next wider one stands in, in the end 0
    for inner, outer in sorted(sides, key=lambda ring: -ring[1]):
        otherwise = found[inner, outer] = means(known, valid, outer, inner, otherwise)
    return [found[ring] for ring in sides]


def spread_nan(out: Tensor, *compared: Tensor) -> Tensor:
    """`out`, but NaN wherever one of `compared` (N, any, H, W) is.

    For what is chosen by comparison: a NaN that was looked at and not taken must be seen by `graph.reach` too.
    """
    for z in compared:
        # 0 times a number is 0, and 0 times NaN is NaN: nothing changes but where a NaN was read
        out = out + 0.0 * z.sum(dim=1, keepdim=True)
    return out


def shift(z: Tensor, steps: Sequence[tuple[int, int]], beyond: float = 0.0) -> list[Tensor]:
    """What lies each of the (row, col) steps away from each pixel, `beyond` outside of the image."""
    rows, cols = (max(abs(step[axis]) for step in steps) for axis in (0, 1))
    # padded once by the longest step, then cut for each
    padded = F.pad(z, (cols, cols, rows, rows), value=beyond)
    return [padded[..., _cut(row, rows), _cut(col, cols)] for row, col in steps]


def _cut(step: int, rim: int) -> slice:
    """What of a padded side is kept; fixed numbers only, so that the graph holds no arithmetic of sizes."""
    return slice(rim + step, step - rim or None)


def sectors(x: Tensor, valid: Tensor, side: int, distance: int, otherwise: Tensor) -> Tensor:
    """Means (N, 8 C, H, W) over boxes whose centres lie `distance` away in the directions of EIGHT, one after another.

    Where a box holds no valid pixel, one across the edge stands in for it, as in a mirror: that above for that below
    before that to the left for that to the right; then `otherwise` (N, C, H, W).
    """
    known = torch.where(valid > 0.5, x, torch.zeros_like(x))
    count = total(valid, side)
    mean = total(known, side) * torch.where(count > 0.5, 1 / count.clamp(min=1), torch.zeros_like(count))
    # of each direction the box mean `distance` away (N, C, H, W), and where there is one (N, 1, H, W)
    steps = [(row * distance, col * distance) for row, col in EIGHT]
    found = dict(zip(EIGHT, zip(shift(mean, steps), shift(count, steps), strict=True), strict=True))
    # rows are mirrored before columns: a corner may come from across either edge, or both
    for turn in ((-1, 1), (1, -1)):
        across = {(row, col): found[row * turn[0], col * turn[1]] for row, col in EIGHT}
        found = {step: _filled(*found[step], *across[step]) for step in EIGHT}
    return torch.cat([torch.where(found[step][1] > 0.5, found[step][0], otherwise) for step in EIGHT], dim=1)


def _filled(mean: Tensor, count: Tensor, other: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Means and their counts, and others where they are means over no pixel."""
    if mean is other:
        return mean, count
    return torch.where(count > 0.5, mean, other), torch.maximum(count, others)
