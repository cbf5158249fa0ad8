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


def total(z: Tensor, side: int) -> Tensor:
    """Sum over a side x side box around each pixel, nothing beyond the edge; `side` is odd."""
    rows = F.avg_pool2d(z, (side, 1), 1, (side // 2, 0))
    return F.avg_pool2d(rows, (1, side), 1, (0, side // 2)) * side**2


def means(known: Tensor, valid: Tensor, outer: int, inner: int, otherwise: Tensor) -> Tensor:
    """Mean over the valid pixels of a ring (of a box, where `inner` is 0) around each pixel.

    `known` (N, K, H, W) is 0 where `valid` (N, 1, H, W) is; `otherwise` stands where there is no valid one.
    """
    sums, count = total(known, outer), total(valid, outer)
    if inner:
        sums, count = sums - total(known, inner), count - total(valid, inner)
    return torch.where(count > 0.5, sums / count.clamp(min=1), otherwise)


def blurred(z: Tensor, valid: Tensor, sigma: float) -> Tensor:
    """Gaussian mean over the valid pixels around each, channel by channel; the window reaches 3 sigma."""
    if not sigma:
        return z
    radius = math.ceil(3 * sigma)
    steps = torch.arange(-radius, radius + 1, dtype=z.dtype)
    kernel = torch.exp(-(steps**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(z.device)

    def smooth(y: Tensor) -> Tensor:
        channels = y.shape[1]
        down = kernel[None, None, :, None].expand(channels, 1, -1, 1)
        right = kernel[None, None, None, :].expand(channels, 1, 1, -1)
        rows = F.conv2d(y, down, padding=(radius, 0), groups=channels)
        return F.conv2d(rows, right, padding=(0, radius), groups=channels)

    known = torch.where(valid > 0.5, z, torch.zeros_like(z))
    return smooth(known) / smooth(valid).clamp(min=1e-6)


def rings(x: Tensor, valid: Tensor, sides: Sequence[Ring]) -> list[Tensor]:
    """The means over rings, in the order of `sides`."""
    known = torch.where(valid > 0.5, x, torch.zeros_like(x))
    found: dict[Ring, Tensor] = {}
    otherwise = torch.zeros_like(x)
    for inner, outer in sorted(sides, key=lambda ring: -ring[1]):
        otherwise = found[inner, outer] = means(known, valid, outer, inner, otherwise)
    return [found[ring] for ring in sides]


def felt(out: Tensor, *compared: Tensor) -> Tensor:
    """`out`, but NaN wherever one of `compared` (N, any, H, W) is.

    For what is chosen by comparison: a NaN that was looked at and not taken must be seen by `graph.reach` too.
    """
    for z in compared:
        out = out + 0.0 * z.sum(dim=1, keepdim=True)
    return out


def moved(z: Tensor, rows: int, cols: int, beyond: float = 0.0) -> Tensor:
    """What lies (rows, cols) away from each pixel, `beyond` outside of the image."""
    padded = F.pad(z, (abs(cols), abs(cols), abs(rows), abs(rows)), value=beyond)
    return padded[..., _cut(rows), _cut(cols)]


def _cut(step: int) -> slice:
    """What of a padded side is kept; fixed numbers only, so that the graph holds no arithmetic of sizes."""
    return slice(2 * step, None) if step > 0 else slice(0, 2 * step or None)


def sectors(x: Tensor, valid: Tensor, side: int, distance: int, otherwise: Tensor) -> list[Tensor]:
    """Means over boxes whose centres lie `distance` away in the eight directions.

    Where a box holds no valid pixel, one across the edge stands in for it, as in a mirror; then `otherwise`.
    """
    known = torch.where(valid > 0.5, x, torch.zeros_like(x))
    count = total(valid, side)
    both = torch.cat([total(known, side) / count.clamp(min=1), count], dim=1)
    there = {(row, col): moved(both, row * distance, col * distance) for row, col in EIGHT}
    out = []
    for row, col in EIGHT:
        mean = otherwise
        for mirrored in {(-row, -col): 0, (row, -col): 0, (-row, col): 0, (row, col): 0}:
            box = there[mirrored]
            mean = torch.where(box[:, -1:] > 0.5, box[:, :-1], mean)
        out.append(mean)
    return out
