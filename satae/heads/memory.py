"""The distance from the bank counts, of what the autoencoder made of the sample: from one pixel of each share of it.

The bank is dealt into equal shares; of those that are nearest in each the farthest counts (nearest neighbours in small
random samples: Sugiyama and Borgwardt 2013, Pang et al. 2015). Of five shares that is the 11th nearest of all in the
mean, and like the k-th nearest it asks for several that are alike: one odd pixel among the remembered excuses no other.

Remembered are pixels, residuals, codes or surroundings, or several of them joined. A bank of features of
good data is that of Roth et al. (2022), in the place of theirs the autoencoder's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from satae.heads import ToBands, View, Views, apportion
from satae.nn.bank import Bank, check, random_share, vectors_at
from satae.nn.normalize import Normalizer
from satae.nn.surroundings import ring_sides, rings

BLOCKS = ("pixel", "residual", "code", "context")


@dataclass(frozen=True)
class Params:
    """The settings of memory.

    `of`: pixel, residual, code or context (the mean of the ring `ring`), or several as in 'pixel+residual' or
    'pixel+0.5*context'. `size`, `coreset` and `seed` of the bank as in the architecture memory; `shares` that it is
    dealt into.
    """

    of: str = "pixel"
    size: int = 1000
    shares: int = 5
    coreset: bool = False
    ring: str = "9-17"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.size, self.shares, self.ring)
        if self.size % self.shares:
            raise ValueError(f"size {self.size} is not a multiple of shares {self.shares}")
        names = [name for _, name in self.blocks()]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.of!r} names a part twice")

    def blocks(self) -> list[tuple[float, str]]:
        """(weight, name) of each part; ValueError where `of` is no sum of such."""
        out = []
        for part in self.of.replace(" ", "").split("+"):
            weight, star, name = part.rpartition("*")
            try:
                out.append((float(weight) if star else 1.0, name))
            except ValueError:
                raise ValueError(f"{weight!r} in {self.of!r} is not a weight") from None
            if name not in BLOCKS:
                raise ValueError(f"{name!r} in {self.of!r} is not one of {', '.join(BLOCKS)}")
            if not 0 < out[-1][0] < float("inf"):
                raise ValueError(f"{weight} in {self.of!r} is not a weight")
        return out


class MemoryDistance(nn.Module):
    """The squared distance, each part in units of its own spread over the sample where there are several.

    The bands share it in proportion to how the pixel differs from the remembered one, or where no pixels are
    remembered to the residual.
    """

    scales: Tensor

    def __init__(self, normalizer: Normalizer, params: Params) -> None:
        super().__init__()
        self.params = params
        self.sides = ring_sides(params.ring)
        self.to_bands = ToBands(normalizer)
        self.register_buffer("scales", torch.tensor([weight for weight, _ in params.blocks()]))
        self.bank = Bank(params.size, len(normalizer.affine) * len(self.scales))
        self.cells = self.bank.cells

    def forward(self, view: View) -> Tensor:
        # `scales` are the weights of the recipe until `fit` divides them by the spread of each part
        features = [z * self.scales[i] for i, z in enumerate(self.parts(view))]
        # (N, D, H, W), each part in its own unit
        joined = torch.cat(features, dim=1)
        if (
            self.bank.vectors.shape[1] != joined.shape[1]
        ):  # not fitted yet, and now the size of the code is known
            self.bank = Bank(self.params.size, joined.shape[1]).to(joined)
        # (N, 1, H, W) and, as numbers in the bank, (N, H, W)
        distance, index = self.bank.in_shares(joined, self.params.shares)
        return apportion(distance, self.to_bands(self._difference(view, features, index)) ** 2)

    def parts(self, view: View) -> list[Tensor]:
        """What is remembered of each pixel, part by part, each (N, D, H, W)."""
        return [FEATURES[name](self, view) for _, name in self.params.blocks()]

    def context(self, view: View) -> Tensor:
        """The mean of the ring around each pixel."""
        return rings(view.x, view.valid, self.sides)[0]

    def _difference(self, view: View, features: list[Tensor], index: Tensor) -> Tensor:
        """The pixel less the remembered one, or the residual."""
        names = [name for _, name in self.params.blocks()]
        # bands differ in pixels; a remembered code or residual says nothing of them
        if "pixel" not in names:
            return view.x - view.reconstruction
        place = names.index("pixel")
        # which columns of the bank hold the pixel, and in the unit of x again: (M, K)
        first = sum(z.shape[1] for z in features[:place])
        pixels = self.bank.vectors[:, first : first + view.x.shape[1]] / self.scales[place]
        # (N, H, W, K) -> (N, K, H, W)
        return view.x - pixels[index].permute(0, 3, 1, 2)

    def fit(self, views: Views) -> None:
        """Settle the units of the parts, and choose the bank from the chosen pixels."""
        sizes: list[int] = []

        def vectors(view: View, chosen: Tensor) -> Tensor:
            # only now is it known how many numbers each part has
            parts = self.parts(view)
            sizes[:] = [z.shape[1] for z in parts]
            return vectors_at(torch.cat(parts, dim=1), chosen).cpu()

        p = self.params
        # (n, D), a share of the sample that fits into memory, tile by tile
        found = random_share((vectors(view, chosen) for view, chosen in views()), p.seed)
        parts = found.split(sizes, dim=1)
        # one part needs no unit: it would change all distances by the same factor
        if len(parts) > 1:
            for i, (weight, _) in enumerate(p.blocks()):
                # root of the whole variance of a part, so that long parts do not outweigh short ones
                spread = (parts[i].double().var(dim=0, correction=0).sum()).sqrt().clamp(min=1e-12)
                self.scales[i] = weight / float(spread)
        joined = torch.cat([z * self.scales[i].cpu() for i, z in enumerate(parts)], dim=1)
        # a new one, for the size of the code was not known to the first
        self.bank = Bank(p.size, joined.shape[1]).to(self.scales)
        self.bank.fit(joined, p.seed, coreset=p.coreset)


FEATURES: dict[str, Callable[[MemoryDistance, View], Tensor]] = {
    "pixel": lambda head, view: view.x,
    "residual": lambda head, view: view.x - view.reconstruction,
    "code": lambda head, view: view.code_for("score.params.of = 'code'"),
    "context": lambda head, view: head.context(view),
}


def build(normalizer: Normalizer, params: Params) -> MemoryDistance:
    """The head for a normaliser's bands."""
    return MemoryDistance(normalizer, params)
