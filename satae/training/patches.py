"""Fits principal components of patches: the best linear code of the same size, to compare a run with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from satae.models import Sample
from satae.nn import pca

MOST = 32_000_000  # numbers in the patches that are fitted to


@dataclass(frozen=True)
class Patches:
    """An affine subspace of patches: `mean` (d), `basis` (k, d) with orthonormal rows, d = C stride^2."""

    stride: int
    mean: Tensor
    basis: Tensor

    def reconstruction(self, x: Tensor) -> Tensor:
        """x (N, C, H, W), its sides multiples of the stride, projected patch by patch."""
        # blocks side by side, each a column of C stride^2 numbers
        patches = F.unfold(x, self.stride, stride=self.stride) - self.mean[:, None]  # (N, d, n)
        projected = self.basis.T @ (self.basis @ patches) + self.mean[:, None]
        return F.fold(projected, (x.shape[-2], x.shape[-1]), self.stride, stride=self.stride)


def fit(sample: Sample, stride: int, size: int) -> Patches | None:
    """The `size` leading principal components of the wholly chosen patches of a sample, in float64; None where
    there are too few patches, or where so many numbers copy a patch."""
    patches = _patches(sample, stride)
    count, numbers = patches.shape
    if not 0 < size < min(numbers, count):
        return None
    found = pca.principal(patches.numpy(), size)
    mean, basis = (torch.from_numpy(part).float() for part in (found.mean, found.basis))
    return Patches(stride, mean, basis.contiguous())


def _patches(sample: Sample, stride: int) -> Tensor:
    """Wholly chosen patches (n, d) in float64, in order, until there are MOST numbers."""
    found, held = [], 0
    for x, _, chosen in sample():
        x, good = whole(x, stride), whole(chosen, stride)
        each = F.unfold(x, stride, stride=stride).transpose(1, 2)
        # a patch counts where its least `chosen` is 1
        kept = -F.max_pool2d(-good, stride).flatten(1) > 0.5
        found.append(each[kept].cpu().double())
        held += found[-1].numel()
        if held >= MOST:
            break
    return torch.cat(found)


def whole(z: Tensor, stride: int) -> Tensor:
    """z (N, C, H, W) without what is left over of its sides after whole strides."""
    height, width = z.shape[-2:]
    return z[..., : height - height % stride, : width - width % stride]
