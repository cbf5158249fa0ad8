"""A torch module run once and written down, call by call, as the nodes of an ONNX graph.

What a torch function is in ONNX is in `translation`. What does not depend on the inputs is computed here and now and
is a constant of the graph; calls with the same arguments are one node; what leads to no output is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import helper
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from satae.errors import ModelError
from satae.training import boxes
from satae.training.nodes import Name, Nodes

LAST = 2**63 - 1  # where a slice ends that goes to the end
ASKED = {
    "device",
    "dtype",
    "dim",
    "ndim",
    "is_floating_point",
    "requires_grad",
    "is_cuda",
}  # of a tensor, not its values

Translation = Callable[..., Any]
"""(trace, what torch made of it, *its arguments) -> the value, or values, of the graph that are the same."""


class Size(int):
    """A number of tiles, rows or columns: a number while the module runs, and an int64 (1) of the graph."""

    trace: Trace
    name: Name

    @classmethod
    def of(cls, trace: Trace, number: int, name: Name) -> Size:
        """A size that is `number` now, and the value `name` whenever the graph runs."""
        # an int that knows its value in the graph: `x.shape[-1] // 2` in a module runs as it is, and is traced
        made = cls(number)
        made.trace, made.name = trace, name
        return made

    def _then(self, kind: str, one: int, two: int, number: int) -> Size:
        # arithmetic of sizes is a node of its own, for H and W are known only when the graph runs
        return Size.of(
            self.trace, number, self.trace.node(kind, self.trace.sizes([one]), self.trace.sizes([two]))
        )

    def __add__(self, other: int) -> Size:
        return self._then("Add", self, other, int(self) + int(other))

    def __sub__(self, other: int) -> Size:
        return self._then("Sub", self, other, int(self) - int(other))

    def __mul__(self, other: int) -> Size:
        return self._then("Mul", self, other, int(self) * int(other))

    def __floordiv__(self, other: int) -> Size:
        if self < 0:  # Div of ONNX rounds towards 0
            # torch rounds down, so a negative quotient goes over its positive counterpart rounded up
            return -((-self + (other - 1)) // other)
        return self._then("Div", self, other, int(self) // int(other))

    def __rsub__(self, other: int) -> Size:
        # a plain number on the left: made a constant of the graph first
        return Size.of(self.trace, other, self.trace.ints([other])) - self

    def __mod__(self, other: int) -> Size:
        return self._then("Mod", self, other, int(self) % int(other))

    def __neg__(self) -> Size:
        return self * -1

    __radd__, __rmul__ = __add__, __mul__


class Trace(TorchFunctionMode, Nodes):
    """Writes down what is called while it is entered; every call is carried out as well."""

    def __init__(self, module: nn.Module, translations: Mapping[str, Translation]) -> None:
        TorchFunctionMode.__init__(self)
        Nodes.__init__(self)
        self.translations = translations
        self.scaled: dict[Name, Callable[[float], Name]] = {}  # values that a factor can be put into
        # values of which the sum over channels is known, and that sum
        self.sums: dict[Name, Name] = {}
        # (value, axis) -> its parts and their lengths
        self.joined: dict[tuple[Name, int], list[tuple[Name, int]]] = {}
        # (mask, value of a Where) -> what it holds where the mask is
        self.chosen: dict[tuple[Name, Name], Name] = {}
        # parameters and buffers keep their names in the graph, where users find them
        self._own = {id(t): name for name, t in (*module.named_parameters(), *module.named_buffers())}
        # by identity: equal tensors may be different values, and tensors compare element by element
        self._names: dict[int, Name] = {}
        self._fills: dict[int, tuple[float, Tensor]] = {}
        self._kept: list[Tensor] = []  # so that no other tensor gets the id of one of these

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # called by torch for every function, with `func` as it would have run
        name, kwargs = _called(func), {k: v for k, v in (kwargs or {}).items() if k != "out"}
        if name == "shape":
            return self._shape(args[0])
        # carried out as well: shapes and types of what follows are those of real tensors
        out = func(*_plain(args), **_plain(kwargs))
        # what depends on no input is computed now and becomes a constant where it is used
        if name in ASKED or not self._depends((args, kwargs)):
            return out
        # `chunk`, `topk` and others give several tensors
        made = [out] if isinstance(out, Tensor) else list(out) if isinstance(out, (tuple, list)) else []
        # a number taken from a tensor (`item`) would be frozen into the graph as it was for the example
        if not made:
            raise ModelError(
                f"{name} makes of a tensor what is no tensor: a graph cannot depend on values in that way"
            )
        try:
            found = self.translations[name](self, out, *args, **kwargs)
        except (KeyError, TypeError) as error:
            raise ModelError(
                f"{name} of torch, as it is called here, has no translation to ONNX: add it to "
                "satae/training/translation.py, or do without it"
            ) from error
        for tensor, value in zip(made, [found] if isinstance(found, str) else found, strict=True):
            self.bind(tensor, value)
        return out

    def bind(self, tensor: Tensor, value: Name) -> None:
        """Let a tensor stand for a value of the graph from here on."""
        # "" is a fill, which becomes a value only where it is needed as one
        if value:
            self._names[id(tensor)] = value
        self._kept.append(tensor)

    def fill(self, tensor: Tensor, like: Tensor, number: float) -> Name:
        """Note that a tensor is one number everywhere in the shape of another; "": it is no value until it must be."""
        self._fills[id(tensor)] = (number, like)
        return ""

    def value(self, operand: Tensor | float, *, kind: torch.dtype | None = None) -> Name:
        """The value of a tensor or number, turned into `kind` where that is another."""
        if not isinstance(operand, Tensor):
            # a size is stored as int64 (1); as a number it loses that axis
            if isinstance(operand, Size):
                number = self.node("Squeeze", operand.name, self.ints([0]))
                return number if kind is torch.int64 else self.cast(number, kind or torch.float32)
            return self.constant(operand, _numpy(kind or torch.get_default_dtype()))
        # a tensor that depends on the inputs; another type is a Cast
        if id(operand) in self._names:
            found = self._names[id(operand)]
            return found if kind is None or kind == operand.dtype else self.cast(found, kind)
        kind = kind or operand.dtype
        # one number everywhere, in the shape that another tensor has when the graph runs
        if id(operand) in self._fills:
            filled, _ = self._fills[id(operand)]
            shape = self.sizes(self._shape(operand))
            return self.node("Expand", self.constant(filled, _numpy(kind)), shape)
        # anything else is a constant; a parameter under its own name unless its type was changed
        own = self._own.get(id(operand), "") if kind == operand.dtype else ""
        return self.constant(operand.detach().cpu().to(kind).numpy(), name=own)

    def cast(self, value: Name, kind: torch.dtype) -> Name:
        """A value turned into another type."""
        return self.node("Cast", value, to=_onnx(kind))

    def broadcast(self, *operands: Tensor | float, shape: Sequence[int]) -> list[Tensor | float]:
        """Operands of a node that broadcasts to `shape`, numbers in the place of tensors that are one number everywhere
        where the others see to the shape."""
        # fills may be numbers only where what remains has the shape by itself
        rest = [o.shape for o in operands if isinstance(o, Tensor) and id(o) not in self._fills]
        spared = bool(rest) and torch.broadcast_shapes(*rest) == torch.Size(shape)
        return [self._fills[id(o)][0] if spared and id(o) in self._fills else o for o in operands]

    def sizes(self, numbers: Sequence[int]) -> Name:
        """A value of int64 numbers, of which some may be of type `Size`."""
        # constant where nothing of it depends on N, H or W: ONNX Runtime plans such shapes ahead
        if not any(isinstance(n, Size) for n in numbers):
            return self.ints([int(n) for n in numbers])
        parts = [n.name if isinstance(n, Size) else self.ints([n]) for n in numbers]
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)

    def _shape(self, tensor: Tensor) -> tuple[int, ...]:
        """Of a batch, in which tiles, rows and columns come first and last, those are of type `Size`."""
        plain = tuple(tensor.shape)
        like = tensor
        # a fill has the shape of what it is like, and that perhaps of another
        while id(like) in self._fills:
            like = self._fills[id(like)][1]
        if id(like) not in self._names:
            return plain
        # channels, directions and mixture parts are fixed; so are all axes in between
        free = {0, len(plain) - 2, len(plain) - 1} if len(plain) > 3 else set(range(len(plain)))
        name = self._names[id(like)]
        return tuple(
            Size.of(self, n, self.node("Shape", name, start=i, end=i + 1)) if i in free else n
            for i, n in enumerate(plain)
        )

    def _depends(self, found: Any) -> bool:
        """Whether anything in it depends on the inputs."""
        if isinstance(found, dict):
            return self._depends(list(found.values()))
        if isinstance(found, (tuple, list)):
            return any(self._depends(part) for part in found)
        if isinstance(found, slice):
            return any(isinstance(end, Size) for end in (found.start, found.stop, found.step))
        return isinstance(found, Size) or id(found) in self._names or id(found) in self._fills

    def model(
        self,
        inputs: Mapping[Name, Sequence[int | str]],
        outputs: Mapping[Name, tuple[Tensor, Sequence[int | str]]],
        opset: int,
    ) -> onnx.ModelProto:
        """The graph from the inputs, with their shapes, to the outputs, all float32."""
        self._named({name: self.value(made) for name, (made, _) in outputs.items()})
        needed, nodes = set(outputs), []
        # backwards from the outputs: what none of them follows from is left out
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        nodes = boxes.runnable(nodes[::-1], self.constants)
        read = {value for node in nodes for value in node.input}
        shapes = {name: shape for name, (_, shape) in outputs.items()}
        graph = helper.make_graph(
            nodes,
            "detector",
            [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in shapes.items()],
            [content for name, content in self.constants.items() if name in read],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])

    def _named(self, outputs: Mapping[Name, Name]) -> None:
        """Give values the names of outputs; what is an output already, or is made by no node, is passed on."""
        made = {value for node in self.nodes for value in node.output}
        # an output must bear its name: the value that it is takes it over, in all nodes
        names = {value: name for name, value in outputs.items() if value in made}
        for node in self.nodes:
            for part in (node.input, node.output):
                part[:] = [names.get(value, value) for value in part]
        for name, value in outputs.items():
            # one value under two names, or an input that comes out again
            if names.get(value) != name:
                self.nodes.append(
                    helper.make_node("Identity", [names.get(value, value)], [name], f"node_{name}")
                )


def _called(func: Any) -> str:
    """The name of a torch function, method or property, without the underscores of operators."""
    name: str = func.__name__
    # a property such as `.T` is called as its getter
    return func.__self__.__name__ if name == "__get__" else name.strip("_")


def _plain(found: Any) -> Any:
    """Arguments with numbers in the place of sizes."""
    if isinstance(found, dict):
        return {key: _plain(part) for key, part in found.items()}
    if isinstance(found, (tuple, list)):
        return type(found)(_plain(part) for part in found)
    if isinstance(found, slice):
        return slice(_plain(found.start), _plain(found.stop), _plain(found.step))
    return int(found) if isinstance(found, Size) else found


def _numpy(kind: torch.dtype) -> Any:
    return torch.empty(0, dtype=kind).numpy().dtype


def _onnx(kind: torch.dtype | None) -> int:
    assert kind is not None
    return int(helper.np_dtype_to_tensor_dtype(_numpy(kind)))
