"""What torch functions that put the same numbers into another shape are in ONNX; for the others see `translation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from satae.training.nodes import Name
from satae.training.tracing import LAST, Size, Trace, Translation


def _listed(sizes: Sequence[Any]) -> list[int]:
    """Sizes that may be given one by one or as one tuple."""
    return [*sizes[0]] if len(sizes) == 1 and not isinstance(sizes[0], int) else [*sizes]


def _getitem(trace: Trace, out: Tensor, x: Tensor, index: Any) -> Name:
    if isinstance(index, Tensor):
        return trace.node("Gather", trace.value(x), trace.value(index), axis=0)
    parts = list(index) if isinstance(index, tuple) else [index]
    # `...` stands for as many whole axes as are missing; None adds an axis and takes none
    if any(p is Ellipsis for p in parts):
        at = next(i for i, p in enumerate(parts) if p is Ellipsis)
        missing = x.dim() - sum(p is not None for p in parts) + 1
        parts[at : at + 1] = [slice(None)] * missing
    cuts: list[tuple[int, ...]] = []
    dropped, added, axis, place = [], [], 0, 0
    for part in parts:
        if part is None:
            # its place among the axes of the result; `axis` counts those of x
            added.append(place)
        elif isinstance(part, slice):
            if not _is_whole(part, x, axis):
                bounds = ((part.start, 0), (part.stop, LAST), (part.step, 1))
                cuts.append((axis, *(usual if end is None else end for end, usual in bounds)))
            axis += 1
        else:
            # a single row is a slice of one whose axis goes; behind -1 comes the end, not 0
            cuts.append((axis, part, part + 1 if part != -1 else LAST, 1))
            dropped.append(axis)
            axis += 1
        place += part is None or isinstance(part, slice)
    value = trace.value(x)
    if cuts:
        axes, starts, ends, steps = zip(*cuts, strict=True)
        how = [trace.sizes(starts), trace.sizes(ends), trace.ints(axes), trace.ints(steps)]
        value = trace.node("Slice", value, *how)
    value = trace.node("Squeeze", value, trace.ints(dropped)) if dropped else value
    return trace.node("Unsqueeze", value, trace.ints(added)) if added else value


def _is_whole(part: slice, x: Tensor, axis: int) -> bool:
    """Whether a slice takes all of an axis; of tiles, rows and columns it is not known how many there will be."""
    if part == slice(None) or not 0 < axis < x.dim() - 2:
        return part == slice(None)
    return part.indices(x.shape[axis]) == (0, x.shape[axis], 1)


def _cat(trace: Trace, out: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> Name:
    pieces: list[tuple[Name, int]] = []
    for tensor in tensors:
        value = trace.value(tensor, kind=out.dtype)
        # of what was joined from parts along the same axis, the parts
        pieces += trace.joined.get((value, dim), [(value, tensor.shape[dim])])
    return _joined(trace, pieces, dim)


def _joined(trace: Trace, pieces: list[tuple[Name, int]], dim: int) -> Name:
    """Pieces one after another, of which it is known how long each is in the example."""
    if len(pieces) == 1:
        return pieces[0][0]
    found = trace.node("Concat", *(name for name, _ in pieces), axis=dim)
    # rows and columns have other lengths when the graph runs
    if dim == 1:
        trace.joined[found, dim] = pieces
    return found


def _stack(trace: Trace, out: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> Name:
    parts = [trace.node("Unsqueeze", trace.value(t, kind=out.dtype), trace.ints([dim])) for t in tensors]
    return trace.node("Concat", *parts, axis=dim)


def _split(trace: Trace, out: Sequence[Tensor], x: Tensor, parts: Any, dim: int = 0) -> list[Name] | Name:
    if len(out) == 1:
        return [trace.value(x)]
    lengths = [part.shape[dim] for part in out]
    return _taken_apart(trace, trace.value(x), lengths, dim) or trace.several(
        "Split", trace.value(x), trace.ints(lengths), axis=dim, outputs=len(out)
    )


def _taken_apart(trace: Trace, value: Name, lengths: list[int], dim: int) -> list[Name]:
    """The parts of what was joined from them, or from smaller ones; none where the ends are others."""
    pieces, out = [*trace.joined.get((value, dim), [])], []
    for length in lengths:
        taken: list[tuple[Name, int]] = []
        while pieces and sum(size for _, size in taken) < length:
            taken.append(pieces.pop(0))
        if sum(size for _, size in taken) != length:
            return []
        out.append(_joined(trace, taken, dim))
    return out


def _reshape(trace: Trace, out: Tensor, x: Tensor, *shape: Any) -> Name:
    sizes = _listed(shape)
    # a single unknown size is -1, and the shape a constant
    if sum(isinstance(n, Size) for n in sizes) == 1 and -1 not in sizes:
        sizes = [-1 if isinstance(n, Size) else n for n in sizes]
    return trace.node("Reshape", trace.value(x), trace.sizes(sizes))


def _flatten(trace: Trace, out: Tensor, x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Name:
    return _unflatten(trace, out, x, start_dim, [-1], past=end_dim % x.dim() + 1)


def _unflatten(
    trace: Trace, out: Tensor, x: Tensor, dim: int, sizes: Sequence[int], *, past: int | None = None
) -> Name:
    rest = past or dim + 1  # the first axis that stays as it is
    # 0 is "as it is" to Reshape
    shape = trace.ints([0] * dim + [*sizes])
    if rest < x.dim():
        shape = trace.node("Concat", shape, trace.node("Shape", trace.value(x), start=rest), axis=0)
    return trace.node("Reshape", trace.value(x), shape)


def _expand(trace: Trace, out: Tensor, x: Tensor, *sizes: Any) -> Name:
    return trace.node("Expand", trace.value(x), trace.sizes([1 if n == -1 else n for n in _listed(sizes)]))


def _permute(trace: Trace, out: Tensor, x: Tensor, *order: Any) -> Name:
    return trace.node("Transpose", trace.value(x), perm=_listed(order))


def _transpose(trace: Trace, out: Tensor, x: Tensor, dim0: int, dim1: int) -> Name:
    order = [*range(x.dim())]
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return trace.node("Transpose", trace.value(x), perm=order)


def _unsqueeze(trace: Trace, out: Tensor, x: Tensor, dim: int) -> Name:
    return trace.node("Unsqueeze", trace.value(x), trace.ints([dim]))


def _squeeze(trace: Trace, out: Tensor, x: Tensor, dim: int) -> Name:
    return trace.node("Squeeze", trace.value(x), trace.ints([dim]))


def _repeat(trace: Trace, out: Tensor, x: Tensor, *times: Any) -> Name:
    return trace.node("Tile", trace.value(x), trace.sizes(_listed(times)))


def _turned(trace: Trace, out: Tensor, x: Tensor) -> Name:
    return trace.node("Transpose", trace.value(x), perm=[1, 0])


def _arange(trace: Trace, out: Tensor, end: int, **kwargs: Any) -> Name:
    return trace.node("Range", *(trace.value(n, kind=out.dtype) for n in (0, end, 1)))


SHAPES: dict[str, Translation] = {
    "getitem": _getitem, "cat": _cat, "stack": _stack, "split": _split, "chunk": _split, "tensor_split": _split,
    "reshape": _reshape, "view": _reshape, "flatten": _flatten, "unflatten": _unflatten, "expand": _expand,
    "repeat": _repeat, "permute": _permute, "transpose": _transpose, "T": _turned, "unsqueeze": _unsqueeze,
    "squeeze": _squeeze, "arange": _arange,
}  # fmt: skip
