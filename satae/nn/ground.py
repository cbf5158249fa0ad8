"""What a date does to all of its ground, in a graph: the functions of `satae.series.common`, as torch has them.

Medians over what is valid are one function to a trace, which ONNX has as a sort; inverses are by Gauss and Jordan,
since ridges make pivots needless. That both rooms give the same numbers is tested.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import wrap_torch_function

ROUNDS = 5
RIDGE = 10.0  # as `satae.series.common` has them
FAR, CHANGED = 2.0, 3.0
LEAST, A_TERM, EDGE = 50, 10, 4.0
MEAN = 1e-6
ABSENT = 1e9  # of a term that too few pixels tell


@wrap_torch_function(lambda x, valid, dim: (x, valid))
def median(x: Tensor, valid: Tensor, dim: int) -> Tensor:
    """The median of what is valid along an axis, of length 1 then; 0 where nothing is. `valid` broadcasts to x."""
    good = (valid > 0).expand_as(x)
    ordered = torch.where(good, x, torch.full_like(x, float("inf"))).sort(dim=dim).values
    count = good.sum(dim=dim, keepdim=True)
    low, high = (count - 1).clamp(min=0) // 2, (count // 2).clamp(max=x.shape[dim] - 1)
    middle = (ordered.gather(dim, low) + ordered.gather(dim, high)) / 2
    return torch.where(count > 0, middle, torch.zeros_like(middle))


def inverse(matrix: Tensor, identity: Tensor) -> Tensor:
    """Inverses of symmetric matrices (N, K, K, H, W) with a ridge; `identity` (1, K, K, 1, 1)."""
    size = int(identity.shape[1])
    # (N, K, 2 K, H, W): beside the matrix the identity, which becomes the inverse
    joint = torch.cat([matrix, torch.zeros_like(matrix) + identity], dim=2)
    for k in range(size):
        row = joint[:, k : k + 1] / joint[:, k : k + 1, k : k + 1]
        # from every other row so much that its entry in column k is 0; row k itself is scaled to 1
        joint = joint - (joint[:, :, k : k + 1] - identity[:, :, k : k + 1]) * row
    return joint[:, :, size:]


def signs(kinds: Tensor, middle: Tensor, spread: Tensor) -> Tensor:
    """What is known of pixels (N, 1 + K, P) from what they are like (N, K, P), its middle and spread (K)."""
    apart = ((kinds - middle[:, None]) / spread[:, None]).clamp(min=-EDGE, max=EDGE)
    return torch.cat([torch.ones_like(apart[:, :1]), apart], dim=1)


def regress(known: Tensor, residual: Tensor, valid: Tensor, whitening: Tensor) -> Tensor:
    """What dates have in common (N, T, B, 1 + K), of what they leave (N, T, B, P), `valid` (N, T, 1, P), on what is
    known of pixels (N, 1 + K, P)."""
    size = int(known.shape[1])  # the same in every graph
    identity = torch.eye(size)[None, :, :, None, None]
    # (N, T, 1, 1): of few pixels only the mean is told, of hardly any nothing
    pixels = valid.sum(dim=3, keepdim=True)
    few = (pixels < A_TERM * size).float()[:, :, 0, 0]
    first = (torch.arange(size) == 0).float()
    penalty = MEAN * first + (RIDGE + ABSENT * few[:, :, None]) * (1 - first)
    products = (known.unsqueeze(1) * known.unsqueeze(2)).flatten(1, 2)
    left = (residual - median(residual, valid, 3)) * valid
    for _ in range(ROUNDS):
        square = (torch.einsum("cb,ntbp->ntcp", whitening, left) ** 2).mean(dim=2, keepdim=True)
        far = square / median(square, valid, 3).clamp(min=1e-12)
        weight = (FAR**2 / far.clamp(min=1e-12)).clamp(max=1.0) * (far <= CHANGED**2).float() * valid
        normal = torch.einsum("ntp,nmp->nmt", weight.squeeze(2), products).unflatten(1, (size, size))
        normal = normal + penalty.permute(0, 2, 1).unsqueeze(2) * identity[..., 0]
        right = torch.einsum("ntbp,nkp->ntbk", residual * weight, known)
        solved = inverse(normal.unsqueeze(4), identity).squeeze(4)
        found = torch.einsum("nklt,ntbl->ntbk", solved, right)
        left = (residual - torch.einsum("ntbk,nkp->ntbp", found, known)) * valid
    return found * (pixels >= LEAST).float()
