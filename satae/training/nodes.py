"""Nodes and constants of an ONNX graph as they are written down: each is there once, however often it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Name = str


class Nodes:
    """A graph that grows; what it makes is named after `prefix`, the kind of node and their number."""

    def __init__(self, prefix: str = "", constants: dict[Name, onnx.TensorProto] | None = None) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[Name, onnx.TensorProto] = {} if constants is None else constants
        self._made: dict[Any, list[Name]] = {}  # values by what they were made from
        self._stored: dict[Any, Name] = {}

    def node(self, kind: str, *inputs: Name, **attributes: Any) -> Name:
        """The value that a node makes; there is one such node at most."""
        return self.several(kind, *inputs, outputs=1, **attributes)[0]

    def several(self, kind: str, *inputs: Name, outputs: int, **attributes: Any) -> list[Name]:
        """The values that a node makes."""
        # the same node with the same inputs twice is one: box sums of the mask are asked for by many
        key = kind, inputs, outputs, repr(sorted(attributes.items()))
        if key not in self._made:
            number = len(self.nodes)
            made = f"{self.prefix}{kind.lower()}_{number}"
            names = [made + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
            self.nodes.append(
                helper.make_node(kind, inputs, names, f"{self.prefix}node_{number}", **attributes)
            )
            self._made[key] = names
        return self._made[key]

    def constant(self, content: npt.ArrayLike, kind: Any = None, name: Name = "") -> Name:
        """An array that is part of the graph."""
        # 0-dimensional arrays stay so, which `ascontiguousarray` would not leave them
        array = np.ascontiguousarray(content, kind) if np.ndim(content) else np.asarray(content, kind)
        # equal constants are one; a named one, of a parameter, stays itself
        key = name or (array.dtype.str, array.shape, array.tobytes())
        if key not in self._stored:
            self._stored[key] = name or f"{self.prefix}constant_{len(self.constants)}"
            self.constants[self._stored[key]] = numpy_helper.from_array(array, self._stored[key])
        return self._stored[key]

    def ints(self, numbers: Sequence[int]) -> Name:
        """Constant int64 numbers."""
        return self.constant(numbers, np.int64)
