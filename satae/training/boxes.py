"""Box sums of a graph, in the form that ONNX Runtime is fast at; those that do not wait for each other together.

While a module is traced, a sum over boxes is one node BoxSum, which no runtime knows: `runnable` replaces these. A
plane or two become differences of running sums, in double precision, whatever the side: with single precision little
would be left of a calm place behind a bright one. More planes become convolutions of 16 planes at a time, one of
columns and one of rows: ONNX Runtime keeps 16 planes together in blocks, and takes as long for 4. Boxes of several
sides share a convolution, for a kernel may have zeros at its ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from satae.training.nodes import Name, Nodes

KIND = "BoxSum"
FEW = 2  # planes that are summed by running sums
BLOCK, ALIGNED = 16, 4  # planes of a convolution; it is a fast one where their number is a multiple of 4


@dataclass(frozen=True)
class BoxSum:
    """Sums of a value over `side` x `side` boxes, times a factor; of the eight boxes around that, where `ring`."""

    value: Name
    out: Name
    planes: int
    side: int
    ring: bool
    factor: float

    @property
    def apart(self) -> int:
        """Pixels from one box to the next; beyond the edge too, sums of these are needed."""
        return self.side if self.ring else 0

    @classmethod
    def of(cls, node: onnx.NodeProto) -> BoxSum:
        """The request that a node stands for."""
        told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        return cls(
            node.input[0], node.output[0], told["planes"], told["side"], bool(told["ring"]), told["factor"]
        )


def runnable(
    nodes: Sequence[onnx.NodeProto], constants: dict[Name, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """Nodes in an order in which they can be run, with others in the place of each BoxSum; `constants` gets theirs."""
    level = _levels(nodes)
    graph, out = Nodes("box_", constants), []
    for height in range(max(level.values(), default=0) + 1):
        here = [node for node in nodes if level[node.output[0]] == height]
        start = len(graph.nodes)
        names = {
            made: asked for asked, made in _sums(graph, [BoxSum.of(n) for n in here if n.op_type == KIND])
        }
        for node in graph.nodes[start:]:
            # what was asked for may be an output of the graph, so it keeps its name
            for part in (node.input, node.output):
                part[:] = [names.get(value, value) for value in part]
        out += [*graph.nodes[start:], *(node for node in here if node.op_type != KIND)]
    return out


def _levels(nodes: Iterable[onnx.NodeProto]) -> dict[Name, int]:
    """How many box sums lie on the longest way to a value; those of one level do not wait for each other."""
    level: dict[Name, int] = {}
    for node in nodes:
        height = max((level.get(i, 0) for i in node.input), default=0) + (node.op_type == KIND)
        level.update(dict.fromkeys(node.output, height))
    return level


def _sums(graph: Nodes, wanted: Sequence[BoxSum]) -> Iterator[tuple[Name, Name]]:
    """(output that was asked for, value) of each of some box sums."""
    for value in dict.fromkeys(box.value for box in wanted if box.planes <= FEW):
        yield from _differences(graph, [box for box in wanted if box.value == value])
    for some in _blocks([box for box in wanted if box.planes > FEW]):
        yield from _convolved(graph, some)


def _differences(graph: Nodes, wanted: Sequence[BoxSum]) -> Iterator[tuple[Name, Name]]:
    """Sums of one value as differences of its sums from the first row and column on (Crow 1984)."""
    rim = max((3 if box.ring else 1) * box.side // 2 for box in wanted)
    # one more in front, so that a box that begins at the first pixel has a sum that ends before it
    pads = graph.ints([0, 0, rim + 1, rim + 1, 0, 0, rim, rim])
    sums = graph.node("Pad", graph.node("Cast", wanted[0].value, to=onnx.TensorProto.DOUBLE), pads)
    # along columns, turned, along the other axis: along the last one a running sum takes ten times as long
    for _ in range(2):
        sums = graph.node(
            "Transpose", graph.node("CumSum", sums, graph.constant(2, np.int64)), perm=[0, 1, 3, 2]
        )

    def box(side: int) -> Name:
        found, reach = sums, side // 2
        for axis in (2, 3):
            ends = [
                graph.node("Slice", found, *(graph.ints([n]) for n in (first, last or 2**63 - 1, axis)))
                for first, last in ((rim + 1 + reach, reach - rim), (rim - reach, -rim - 1 - reach))
            ]
            found = graph.node("Sub", *ends)
        return found

    for asked in wanted:
        found = graph.node("Sub", box(3 * asked.side), box(asked.side)) if asked.ring else box(asked.side)
        if asked.factor != 1:
            found = graph.node("Mul", found, graph.constant(asked.factor, np.float64))
        yield asked.out, graph.node("Cast", found, to=onnx.TensorProto.FLOAT)


def _blocks(wanted: Iterable[BoxSum]) -> Iterator[list[BoxSum]]:
    """Box sums that share a convolution: of up to BLOCK planes, of similar sides."""
    some: list[BoxSum] = []
    for box in sorted(wanted, key=lambda box: (box.apart, box.side, box.planes)):
        if some and (some[0].apart != box.apart or sum(b.planes for b in some) + box.planes > BLOCK):
            yield some
            some = []
        some.append(box)
    if some:
        yield some


def _convolved(graph: Nodes, some: Sequence[BoxSum]) -> Iterator[tuple[Name, Name]]:
    """Box sums as a convolution of the columns, then one of the rows, and where they are rings one of the boxes."""
    planes, apart = [box.planes for box in some], some[0].apart
    spare = -sum(planes) % ALIGNED
    parts = [box.value for box in some]
    if spare:
        first, size = graph.node("Shape", parts[0], end=1), graph.node("Shape", parts[0], start=2)
        shape = graph.node("Concat", first, graph.ints([spare]), size, axis=0)
        parts.append(graph.node("Expand", graph.constant(0.0, np.float32), shape))
    value = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)
    side = max(box.side for box in some)
    # (planes, side): ones in the middle, as many as the box of each plane has rows
    away = abs(np.arange(side) - side // 2)
    kernel = np.concatenate(
        [np.tile(away <= box.side // 2, (box.planes, 1)) for box in some] + [np.zeros((spare, side))]
    )
    factors = np.repeat([*(box.factor for box in some), 0.0], [*planes, spare])[:, None]
    value = _conv(graph, value, kernel[:, None, :, None], side // 2 + apart, 0)
    value = _conv(graph, value, (kernel * factors)[:, None, None, :], 0, side // 2 + apart)
    if apart:
        eight = np.ones((len(kernel), 1, 3, 3))
        eight[..., 1, 1] = 0
        value = _conv(graph, value, eight, 0, 0, dilation=apart)
    if len(parts) == 1:
        yield some[0].out, value
        return
    sizes = [*planes, spare] if spare else planes
    found = graph.several("Split", value, graph.ints(sizes), axis=1, outputs=len(sizes))
    yield from zip((box.out for box in some), found, strict=False)


def _conv(graph: Nodes, value: Name, kernel: Any, rows: int, cols: int, dilation: int = 1) -> Name:
    """A convolution plane by plane with (planes, 1, rows, cols) weights."""
    return graph.node(
        "Conv", value, graph.constant(kernel, np.float32), pads=[rows, cols] * 2, group=len(kernel),
        kernel_shape=[*kernel.shape[2:]], dilations=[dilation] * 2,
    )  # fmt: skip
