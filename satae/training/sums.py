"""What sums and mixtures of channels, and sums over other axes, are in ONNX; for all else see `translation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from satae.training.nodes import Name
from satae.training.tracing import Trace, Translation

MOST = 16  # channels that are made by a product of matrices, and not by a convolution


def _axes(dim: int | Sequence[int]) -> list[int]:
    return [dim] if isinstance(dim, int) else [*dim]


def _over(kind: str) -> Translation:
    """A node that takes some axes together."""

    def found(trace: Trace, out: Tensor, x: Tensor, dim: Any = None, keepdim: bool = False) -> Name:
        # axes are an input from opset 18 on, not an attribute
        axes = [*range(x.dim())] if dim is None else _axes(dim)
        return trace.node(kind, trace.value(x), trace.ints(axes), keepdims=int(keepdim))

    return found


_reduce_sum, _reduce_mean = _over("ReduceSum"), _over("ReduceMean")


def _sum(trace: Trace, out: Tensor, x: Tensor, dim: Any = None, keepdim: bool = False) -> Name:
    if x.dim() != 4 or dim != 1:
        return str(_reduce_sum(trace, out, x, dim, keepdim))
    value = trace.value(x)
    found = trace.sums.get(value) or mixture(trace, x, torch.ones(1, x.shape[1]))
    return found if keepdim else trace.node("Squeeze", found, trace.ints([1]))


def _mean(trace: Trace, out: Tensor, x: Tensor, dim: Any = None, keepdim: bool = False) -> Name:
    if x.dim() != 4 or dim != 1 or not keepdim:
        return str(_reduce_mean(trace, out, x, dim, keepdim))
    return mixture(trace, x, torch.full((1, x.shape[1]), 1 / x.shape[1]))


def mixture(trace: Trace, x: Tensor, weights: Tensor) -> Name:
    """Channels (N, C, H, W) times a matrix (out, C) or (out, C, 1, 1), as a product of matrices.

    With few channels ONNX Runtime takes a tenth of the time that it takes for a sum over them or a convolution.
    """
    value, matrix = trace.value(x), trace.value(weights)
    if weights.dim() > 2:
        matrix = trace.node("Squeeze", matrix, trace.ints([2, 3]))
    product = trace.node("MatMul", matrix, trace.node("Reshape", value, trace.ints([0, 0, -1])))
    # 0 is "as it is" to Reshape; (out) and the rows and columns that x has
    size = trace.node("Shape", value, start=2)
    return trace.node("Reshape", product, trace.node("Concat", trace.ints([0, len(weights)]), size, axis=0))


def _argmin(trace: Trace, out: Tensor, x: Tensor, dim: int) -> Name:
    return trace.node("ArgMin", trace.value(x), axis=dim, keepdims=0)


def _with_sum(trace: Trace, out: Tensor, parts: Tensor, whole: Tensor) -> Name:
    value = trace.value(parts)
    trace.sums[value] = trace.value(whole)
    return value


def is_small(weight: Tensor) -> bool:
    """Whether weights are a fixed matrix that makes few channels: those of an architecture are left as it has them."""
    fixed = not isinstance(weight, nn.Parameter) and weight.shape[2:] == (1, 1)
    return fixed and weight.shape[0] <= MOST


SUMS: dict[str, Translation] = {
    "sum": _sum, "mean": _mean, "with_sum": _with_sum, "amax": _over("ReduceMax"), "amin": _over("ReduceMin"),
    "argmin": _argmin, "logsumexp": _over("ReduceLogSumExp"),
}  # fmt: skip
