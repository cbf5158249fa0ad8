"""What each torch function that detectors are made of is in ONNX, opset 18. One entry a function, found by its name.

An entry gets the trace, what torch made, and the arguments of the call; it gives the value of the graph that is the
same, or several. An architecture or head that calls another function needs an entry more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from satae.nn.recurrent import staying
from satae.training import boxes
from satae.training.nodes import Name
from satae.training.shapes import SHAPES
from satae.training.sums import SUMS, is_small, mixture
from satae.training.tracing import Size, Trace, Translation

Number = int | float
RESIZED = {
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
}
PADDED = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def _pair(sides: int | Sequence[int]) -> list[int]:
    return [sides, sides] if isinstance(sides, int) else [*sides]


# ---- one number at a time


def _same(trace: Trace, out: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Name:
    return trace.value(x)


def _cast(trace: Trace, out: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Name:
    return trace.value(x, kind=out.dtype)


def _one(kind: str) -> Translation:
    """A node of one operand."""
    return lambda trace, out, x: trace.node(kind, trace.value(x))


def _two(kind: str, *, turned: bool = False) -> Translation:
    """A node of two operands that are broadcast."""

    def found(trace: Trace, out: Tensor, x: Tensor | Number, y: Tensor | Number) -> Name:
        # torch promotes types by itself, a node of ONNX takes two of one type
        common = torch.result_type(x, y)
        a, b = (trace.value(v, kind=common) for v in trace.broadcast(x, y, shape=out.shape))
        return trace.node(kind, b, a) if turned else trace.node(kind, a, b)

    return found


_product = _two("Mul")


def _mul(trace: Trace, out: Tensor, x: Tensor | Number, y: Tensor | Number) -> Name:
    # a factor is put into the kernel of the box sum before it, and costs no pass over the pixels
    if isinstance(x, Tensor) and isinstance(y, (int, float)) and not isinstance(y, Size):
        if y == 1:
            return trace.value(x, kind=out.dtype)
        if (value := trace.value(x)) in trace.scaled:
            return trace.scaled[value](y)
    return str(_product(trace, out, x, y))


def _pow(trace: Trace, out: Tensor, x: Tensor, exponent: Number) -> Name:
    value = trace.value(x)
    # a product is many times as fast as Pow
    if exponent == 2:
        return trace.node("Mul", value, value)
    return trace.node("Pow", value, trace.value(float(exponent)))


def _clamp(
    trace: Trace, out: Tensor, x: Tensor, min: Number | None = None, max: Number | None = None
) -> Name:
    # "" is an input that is left out; trailing ones are not listed at all
    ends = ["" if end is None else trace.value(end, kind=x.dtype) for end in (min, max)]
    return trace.node("Clip", trace.value(x), *(ends if ends[1] else ends[:1]))


def _where(trace: Trace, out: Tensor, chosen: Tensor, x: Tensor | Number, y: Tensor | Number) -> Name:
    # `zeros_like(x)` in the place of b is the number 0 and no tensor
    mask, a, b = trace.broadcast(chosen, x, y, shape=out.shape)
    kind = torch.result_type(x, y)
    values = [trace.value(mask), trace.value(a, kind=kind), trace.value(b, kind=kind)]
    # of what was chosen by the same mask before, only what it chose is looked at
    values[1] = trace.chosen.get((values[0], values[1]), values[1])
    found = trace.node("Where", *values)
    trace.chosen[values[0], found] = values[1]
    return found


def _ne(trace: Trace, out: Tensor, x: Tensor | Number, y: Tensor | Number) -> Name:
    # ONNX has no NotEqual
    return trace.node("Not", _two("Equal")(trace, out, x, y))


def _rsqrt(trace: Trace, out: Tensor, x: Tensor) -> Name:
    return trace.node("Reciprocal", trace.node("Sqrt", trace.value(x)))


def _square(trace: Trace, out: Tensor, x: Tensor) -> Name:
    return trace.node("Mul", trace.value(x), trace.value(x))


def _silu(trace: Trace, out: Tensor, x: Tensor, inplace: bool = False) -> Name:
    return trace.node("Mul", trace.value(x), trace.node("Sigmoid", trace.value(x)))


def _gelu(trace: Trace, out: Tensor, x: Tensor, approximate: str = "none") -> Name:
    value, half = trace.value(x), trace.value(0.5)
    # x (1 + erf(x / sqrt 2)) / 2, as opset 18 has no Gelu
    error = trace.node("Erf", trace.node("Mul", value, trace.value(math.sqrt(0.5))))
    return trace.node("Mul", trace.node("Mul", value, half), trace.node("Add", error, trace.value(1.0)))


def _relu(trace: Trace, out: Tensor, x: Tensor, inplace: bool = False) -> Name:
    return trace.node("Relu", trace.value(x))


def _leaky_relu(
    trace: Trace, out: Tensor, x: Tensor, negative_slope: float = 0.01, inplace: bool = False
) -> Name:
    return trace.node("LeakyRelu", trace.value(x), alpha=negative_slope)


# ONNX Runtime computes Log, Elu and Softplus in vectors of the processor, and what is left behind the last whole one of
# a thread by another function: the last bit of some pixels would depend on the number of threads. Of Exp it does not,
# and logarithms in 64 bits come to the same 32.


def _log(trace: Trace, out: Tensor, x: Tensor) -> Name:
    return trace.cast(trace.node("Log", trace.value(x, kind=torch.float64)), out.dtype)


def _softplus(trace: Trace, out: Tensor, x: Tensor) -> Name:
    # log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which no x takes beyond the largest number
    value = trace.value(x)
    small = trace.cast(trace.node("Exp", trace.node("Neg", trace.node("Abs", value))), torch.float64)
    rest = trace.node("Add", small, trace.value(1.0, kind=torch.float64))
    return trace.node("Add", trace.node("Relu", value), trace.cast(trace.node("Log", rest), out.dtype))


def _elu(trace: Trace, out: Tensor, x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Name:
    value = trace.value(x)
    below = trace.node("Exp", trace.node("Min", value, trace.value(0.0)))
    below = trace.node("Mul", trace.node("Sub", below, trace.value(1.0)), trace.value(alpha))
    return trace.node("Add", trace.node("Relu", value), below)


def _full_like(trace: Trace, out: Tensor, x: Tensor, fill_value: Number = 0.0, **kwargs: Any) -> Name:
    return trace.fill(out, x, float(fill_value))


def _ones_like(trace: Trace, out: Tensor, x: Tensor, **kwargs: Any) -> Name:
    return trace.fill(out, x, 1.0)


# ---- over channels or pixels


def _soft(kind: str) -> Translation:
    return lambda trace, out, x, dim, **_: trace.node(kind, trace.value(x), axis=dim)


def _normalize(
    trace: Trace, out: Tensor, x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12
) -> Name:
    # torch divides by the length or by eps, whichever is larger
    length = trace.node("ReduceL2", trace.value(x), trace.ints([dim]), keepdims=1)
    return trace.node("Div", trace.value(x), trace.node("Clip", length, trace.value(eps)))


def _topk(
    trace: Trace, out: Any, x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> list[Name]:
    how = {"axis": dim, "largest": int(largest), "sorted": int(sorted)}
    return trace.several("TopK", trace.value(x), trace.ints([k]), outputs=2, **how)


def _einsum(trace: Trace, out: Tensor, equation: str, *operands: Tensor) -> Name:
    return trace.node("Einsum", *(trace.value(o) for o in operands), equation=equation)


def _linear(trace: Trace, out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Name:
    # Gemm takes matrices alone, and the weight as torch stores it, (out, in)
    if x.dim() == 2:
        return trace.node("Gemm", *(trace.value(t) for t in (x, weight, bias) if t is not None), transB=1)
    product = trace.node("MatMul", trace.value(x), trace.node("Transpose", trace.value(weight), perm=[1, 0]))
    return product if bias is None else trace.node("Add", product, trace.value(bias))


def _matmul(trace: Trace, out: Tensor, x: Tensor, y: Tensor) -> Name:
    return trace.node("MatMul", trace.value(x), trace.value(y))


def _gru(trace: Trace, out: Tensor, x: Tensor, weights: Sequence[Tensor], backward: bool) -> Name:
    # ONNX has the gates in the order update, reset, new, torch reset, update, new; a direction is an axis of its own
    parts = [w.detach().cpu().numpy() for w in (staying(weights[0]), *weights[1:])]
    of_input, of_state, *biases = (
        np.concatenate([(p := np.split(a, 3))[1], p[0], p[2]])[None] for a in parts
    )
    constants = [trace.constant(a, np.float32) for a in (of_input, of_state, np.concatenate(biases, axis=1))]
    how = {
        "hidden_size": out.shape[2],
        "linear_before_reset": 1,
        "direction": "reverse" if backward else "forward",
    }
    return trace.node("Squeeze", trace.node("GRU", trace.value(x), *constants, **how), trace.ints([1]))


def _median(trace: Trace, out: Tensor, x: Tensor, valid: Tensor, dim: int) -> Name:
    value = trace.value(x)
    good = trace.node("Greater", trace.value(valid), trace.constant(0, np.float32))
    ordered = trace.node("Where", good, value, trace.constant(np.inf, np.float32))
    length = trace.node("Gather", trace.node("Shape", ordered), trace.ints([dim]))
    # what is not valid comes last
    ordered = trace.several("TopK", ordered, length, outputs=2, axis=dim, largest=0, sorted=1)[0]
    one, two, none = (trace.ints([n]) for n in (1, 2, 0))
    # as many as are finite: the mask may have fewer channels than what it is of
    finite = trace.node("Not", trace.node("IsInf", ordered))
    count = trace.node("ReduceSum", trace.node("Cast", finite, to=7), trace.ints([dim]), keepdims=1)
    low = trace.node("Div", trace.node("Max", trace.node("Sub", count, one), none), two)
    high = trace.node("Min", trace.node("Div", count, two), trace.node("Sub", length, one))
    ends = [trace.node("GatherElements", ordered, at, axis=dim) for at in (low, high)]
    middle = trace.node("Div", trace.node("Add", *ends), trace.constant(2, np.float32))
    return trace.node("Where", trace.node("Greater", count, none), middle, trace.constant(0, np.float32))


# ---- over surroundings


def _padding(padding: int | Sequence[int]) -> list[int]:
    # ONNX lists beginnings of all axes, then ends: (top, left, bottom, right)
    return _pair(padding) * 2


def _conv2d(
    trace: Trace, out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Name:  # fmt: skip
    if isinstance(padding, str):  # 'same' or 'valid'
        # of an odd reach torch pads the larger half behind
        reach = [d * (side - 1) for d, side in zip(_pair(dilation), weight.shape[2:], strict=True)]
        pads = [r // 2 for r in reach] + [r - r // 2 for r in reach] if padding == "same" else [0] * 4
    else:
        pads = _padding(padding)
    if bias is None and is_small(weight) and (stride, padding, groups) == (1, 0, 1):
        return mixture(trace, x, weight)
    inputs = [trace.value(t) for t in (x, weight, bias) if t is not None]
    return trace.node(
        "Conv", *inputs, strides=_pair(stride), pads=pads, dilations=_pair(dilation), group=groups,
        kernel_shape=[*weight.shape[2:]],
    )  # fmt: skip


def _conv_transpose2d(
    trace: Trace, out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Name:  # fmt: skip
    inputs = [trace.value(t) for t in (x, weight, bias) if t is not None]
    return trace.node(
        "ConvTranspose", *inputs, strides=_pair(stride), pads=_padding(padding), dilations=_pair(dilation),
        output_padding=_pair(output_padding), group=groups, kernel_shape=[*weight.shape[2:]],
    )  # fmt: skip


def _batch_norm(
    trace: Trace, out: Tensor, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Name:  # fmt: skip
    # in evaluation mode: a gain and an offset a channel, from the running mean and variance
    gain = torch.ones_like(mean) if weight is None else weight
    offset = torch.zeros_like(mean) if bias is None else bias
    return trace.node("BatchNormalization", *map(trace.value, (x, gain, offset, mean, var)), epsilon=eps)


def _avg_pool2d(
    trace: Trace, out: Tensor, x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Name:  # fmt: skip
    sides = _pair(kernel_size)
    # torch steps by the side of the kernel where nothing is said
    step = sides if stride is None else _pair(stride)
    return trace.node(
        "AveragePool", trace.value(x), kernel_shape=sides, strides=step, pads=_padding(padding),
        count_include_pad=int(count_include_pad), ceil_mode=int(ceil_mode),
    )  # fmt: skip


def _total(trace: Trace, out: Tensor, x: Tensor, side: int) -> Name:
    value = trace.value(x)
    return value if side == 1 else _box_sum(trace, value, planes=x.shape[1], side=side, ring=0)


def _ring_total(trace: Trace, out: Tensor, x: Tensor, side: int) -> Name:
    return _box_sum(trace, trace.value(x), planes=x.shape[1], side=side, ring=1)


def _box_sum(trace: Trace, value: Name, factor: float = 1.0, **box: int) -> Name:
    """A node that `boxes` replaces when all of them are known."""
    found = trace.node(boxes.KIND, value, factor=factor, **box)
    # written anew with the factor of both; the node without it leads to no output and is left out
    trace.scaled[found] = lambda further: _box_sum(trace, value, factor * further, **box)
    return found


def _max_pool2d(
    trace: Trace, out: Tensor, x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Name:  # fmt: skip
    sides = _pair(kernel_size)
    step = sides if stride is None else _pair(stride)
    return trace.node(
        "MaxPool", trace.value(x), kernel_shape=sides, strides=step, pads=_padding(padding),
        dilations=_pair(dilation), ceil_mode=int(ceil_mode),
    )  # fmt: skip


def _interpolate(
    trace: Trace,
    out: Tensor,
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    **_: Any,
) -> Name:
    value = trace.value(x)
    if size is not None:
        # N and C as they are, rows and columns as they are asked for
        kept = trace.node("Shape", value, end=2)
        sizes = trace.node("Concat", kept, trace.sizes([*size]), axis=0)
        return trace.node("Resize", value, "", "", sizes, **RESIZED[mode])
    scales = [float(scale_factor)] * 2 if isinstance(scale_factor, (int, float)) else [*scale_factor]
    return trace.node("Resize", value, "", trace.constant([1, 1, *scales], np.float32), **RESIZED[mode])


def _pad(
    trace: Trace, out: Tensor, x: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None
) -> Name:
    before, after = [0] * x.dim(), [0] * x.dim()
    # torch pads from the last axis backwards, ONNX lists all beginnings and then all ends
    for i in range(len(pad) // 2):
        before[-1 - i], after[-1 - i] = pad[2 * i], pad[2 * i + 1]
    beyond = trace.value(value or 0.0, kind=x.dtype)
    return trace.node("Pad", trace.value(x), trace.sizes([*before, *after]), beyond, mode=PADDED[mode])


def _pixel_shuffle(trace: Trace, out: Tensor, x: Tensor, factor: int) -> Name:
    # CRD is the order of channels that torch has
    return trace.node("DepthToSpace", trace.value(x), blocksize=factor, mode="CRD")


def _pixel_unshuffle(trace: Trace, out: Tensor, x: Tensor, factor: int) -> Name:
    cells = trace.node(
        "SpaceToDepth", trace.value(x), blocksize=factor
    )  # place by place, torch channel by channel
    # from (factor^2, C) to (C, factor^2): which channel of SpaceToDepth stands where
    order = np.arange(out.shape[1]).reshape(factor**2, x.shape[1]).T.ravel()
    return trace.node("Gather", cells, trace.ints(order.tolist()), axis=1)


TRANSLATIONS: dict[str, Translation] = {
    **SHAPES, **SUMS,
    "contiguous": _same, "dropout": _same, "dropout2d": _same, "detach": _same,
    "float": _cast, "double": _cast, "to": _cast,
    "zeros_like": _full_like, "full_like": _full_like, "ones_like": _ones_like,
    "add": _two("Add"), "sub": _two("Sub"), "mul": _mul, "div": _two("Div"), "truediv": _two("Div"),
    "rsub": _two("Sub", turned=True), "rdiv": _two("Div", turned=True), "rtruediv": _two("Div", turned=True),
    "maximum": _two("Max"), "minimum": _two("Min"), "remainder": _two("Mod"),
    "gt": _two("Greater"), "lt": _two("Less"), "ge": _two("GreaterOrEqual"), "le": _two("LessOrEqual"),
    "eq": _two("Equal"), "ne": _ne, "and": _two("And"), "or": _two("Or"), "invert": _one("Not"),
    "neg": _one("Neg"), "abs": _one("Abs"), "exp": _one("Exp"), "log": _log, "sqrt": _one("Sqrt"),
    "rsqrt": _rsqrt, "reciprocal": _one("Reciprocal"), "square": _square, "pow": _pow, "erf": _one("Erf"),
    "sin": _one("Sin"), "cos": _one("Cos"), "floor": _one("Floor"), "ceil": _one("Ceil"), "sign": _one("Sign"),
    "clamp": _clamp, "where": _where, "sigmoid": _one("Sigmoid"), "tanh": _one("Tanh"), "softplus": _softplus,
    "relu": _relu, "leaky_relu": _leaky_relu, "elu": _elu, "gelu": _gelu, "silu": _silu,
    "gru": _gru, "median": _median,
    "softmax": _soft("Softmax"), "log_softmax": _soft("LogSoftmax"),
    "normalize": _normalize, "topk": _topk, "einsum": _einsum, "linear": _linear, "matmul": _matmul,
    "conv2d": _conv2d, "conv_transpose2d": _conv_transpose2d, "batch_norm": _batch_norm,
    "avg_pool2d": _avg_pool2d, "total": _total, "ring_total": _ring_total,
    "max_pool2d": _max_pool2d, "interpolate": _interpolate, "pad": _pad,
    "pixel_shuffle": _pixel_shuffle, "pixel_unshuffle": _pixel_unshuffle,
}  # fmt: skip
