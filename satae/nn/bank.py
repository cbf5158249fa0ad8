"""A bank of remembered vectors: the distance to the k-th nearest of all, or to the farthest nearest of its shares."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from satae.nn.surroundings import WIDEST, ring_sides

PIECES = 32  # parts of an image that are compared with a bank one after the other
DRAWN = 100_000  # vectors kept of a sample, from which a bank is chosen


def check(size: int, nearest: int, ring: str) -> None:
    """ValueError where a bank cannot have this size, nearest neighbour, or ring of surroundings."""
    if not 1 <= nearest <= size <= 100_000:
        raise ValueError(f"size {size} and nearest {nearest} are not 1 <= nearest <= size <= 100000")
    if len(ring_sides(ring)) != 1 or ring_sides(ring)[0][1] > WIDEST:
        raise ValueError(f"ring {ring} is not one ring of at most {WIDEST} pixels")


class Bank(nn.Module):
    """A bank of `vectors` (M, D), all zeros until `fit`; `nearest`: which neighbour `forward` counts."""

    vectors: Tensor

    def __init__(self, size: int, dimensions: int, nearest: int = 1) -> None:
        super().__init__()
        self.nearest = min(nearest, size)
        self.register_buffer("vectors", torch.zeros(size, dimensions))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, D, H, W) to the squared distance (N, 1, H, W) to the k-th nearest, and which it is (N, H, W)."""
        n, d, height, width = features.shape
        # (n H W, D): a pixel a row
        flat = features.permute(0, 2, 3, 1).reshape(-1, d)
        # |f - v|^2 - |f|^2, which has the same order, from the middle of the bank, where less is lost to
        # rounding; the distance itself is taken to the one chosen
        middle = self.vectors.mean(dim=0)
        around = self.vectors - middle
        # |v|^2 - 2 f v as one product of matrices, of (f, 1) with (D + 1, M)
        columns = torch.cat([-2 * around.T, (around**2).sum(dim=1)[None]])
        rows = torch.cat([flat - middle, torch.ones_like(flat[:, :1])], dim=1)
        # piece by piece, for distances to all of the bank are many numbers, and slow where they leave the cache
        step = (flat.shape[0] + PIECES - 1) // PIECES
        pieces = [rows[i * step : (i + 1) * step] @ columns for i in range(PIECES)]
        found = [torch.topk(z, self.nearest, dim=1, largest=False, sorted=True).indices for z in pieces]
        # (n H W): the last of the k smallest is the k-th nearest
        index = torch.cat(found)[:, -1]
        distance = ((flat - self.vectors[index]) ** 2).sum(dim=1)
        return distance.reshape(n, 1, height, width), index.reshape(n, height, width)

    def in_shares(self, features: Tensor, shares: int) -> tuple[Tensor, Tensor]:
        """As `forward`, for the farthest of those that are nearest in each of so many equal shares of the bank.

        Minima and a maximum, where the k-th nearest takes a top-k: with 1,000 vectors a tenth of the time.
        """
        n, _, height, width = features.shape
        middle = self.vectors.mean(dim=0)
        around = self.vectors - middle
        # |v|^2 - 2 f v as in `forward`, but a pixel a column: minima of whole rows are fast
        # (shares, M / shares, D + 1)
        rows = torch.cat([-2 * around, (around**2).sum(dim=1, keepdim=True)], dim=1).unflatten(
            0, (shares, -1)
        )
        flat = features.flatten(2) - middle[:, None]  # (N, D, H W)
        columns = torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1)[:, None]
        step = (flat.shape[2] + PIECES - 1) // PIECES
        # (N, shares, M / shares, pixels) each
        pieces = [rows @ columns[..., i * step : (i + 1) * step] for i in range(PIECES)]
        found = [z.amin(dim=2, keepdim=True).amax(dim=1, keepdim=True) for z in pieces]
        # the number of the one that is as far away as that, (N, pixels) each
        which = [(z - far).abs().flatten(1, 2).argmin(dim=1) for z, far in zip(pieces, found, strict=True)]
        # rounding is a share of |f|^2, the distance from the middle of the bank
        distance = (torch.cat(found, dim=3)[:, 0] + (flat**2).sum(dim=1, keepdim=True)).clamp(min=0)
        return distance.reshape(n, 1, height, width), torch.cat(which, dim=1).reshape(n, height, width)

    @property
    def cells(self) -> int:
        """Numbers a pixel that are in memory at once."""
        return -(-len(self.vectors) // PIECES)

    def fit(self, vectors: Tensor, seed: int, *, coreset: bool = False) -> None:
        """Remember as many of `vectors` (n, D) as fit: random ones, or a greedy cover of them.

        The cover takes the vector that is farthest from all taken so far, again and again (Gonzalez 1985).
        """
        size = len(self.vectors)
        # a generator of its own: the choice follows from the seed, whatever was drawn before
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(vectors), generator=generator)
        if len(vectors) <= size:  # some twice
            chosen = order.repeat(-(-size // max(1, len(order))))[:size]
        else:
            # a cover keeps rare vectors, of which a random share has few; one outlier is enough to be covered, too
            chosen = _cover(vectors, size, int(order[0])) if coreset else order[:size]
            # a cover begins with what is far apart, and shares are to be alike
            chosen = chosen[torch.randperm(size, generator=generator)] if coreset else chosen
        self.vectors.copy_(vectors[chosen])


def _cover(vectors: Tensor, size: int, first: int) -> Tensor:
    chosen = [first]
    # (n): the squared distance of each to the nearest that is taken; a pass over all for each that is added
    nearest = ((vectors - vectors[first]) ** 2).sum(dim=1)
    while len(chosen) < size:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, ((vectors - vectors[chosen[-1]]) ** 2).sum(dim=1))
    return torch.tensor(chosen)


def random_share(parts: Iterable[Tensor], seed: int) -> Tensor:
    """An even random share of vectors (n, D) that come in parts, at most DRAWN of them.

    Each gets a random key; those with the smallest keys are kept (Efraimidis and Spirakis 2006).
    """
    generator = torch.Generator().manual_seed(seed)
    keys, kept = torch.empty(0), None
    for part in parts:
        new = torch.rand(len(part), generator=generator)
        # reservoir by keys: what is kept does not depend on how the vectors come in parts
        keys = torch.cat([keys, new])
        kept = part.clone() if kept is None else torch.cat([kept, part])
        # not at every part: a top-k over twice as many costs less than one a tile
        if len(keys) > 2 * DRAWN:
            keys, kept = _smallest(keys, kept)
    if kept is None:
        raise ValueError("the sample is empty")
    return _smallest(keys, kept)[1]


def _smallest(keys: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    if len(keys) <= DRAWN:
        return keys, vectors
    # sorted, so that they stay in the order of the sample
    found = torch.topk(keys, DRAWN, largest=False).indices.sort().values
    return keys[found], vectors[found]


def vectors_at(features: Tensor, chosen: Tensor) -> Tensor:
    """The vectors (n, D) of features (N, D, H, W) at the chosen pixels (N, 1, H, W)."""
    return features.permute(0, 2, 3, 1)[chosen[:, 0] > 0.5]
