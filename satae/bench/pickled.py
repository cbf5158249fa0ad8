"""Reads pickles of strangers without running them: numbers, text, containers and numpy arrays of bytes.

A pickle is a program, and Python's unpickler calls what it names. Here the few opcodes that data needs are
carried out by hand; a name is never looked up and nothing of the file is called. What a batch of CIFAR-10 does
not need is refused. Memory stays within a small multiple of the file: opcodes share what the memo holds.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from satae.errors import DataError

MOST_OPCODES = 2_000_000  # a batch of 10,000 images has about 100,000
NAMES = {
    "_codecs encode": "bytes",
    "numpy ndarray": "array type",
    "numpy dtype": "dtype",
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
}
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """One of NAMES, by what it stands for."""

    role: str


@dataclass
class _Made:
    """What calling a name would have made, with the state that is set later."""

    role: str
    arguments: tuple[Any, ...]
    state: Any = None


def loads(content: bytes, name: str) -> Any:
    """What a pickle holds; DataError, with `name` for the file, where it is damaged or more than data.

    Text and byte strings of Python 2 become text (latin-1); arrays of unsigned bytes become arrays (uint8).
    """
    try:
        return _finished(_Machine(name).run(content), name)
    except DataError:
        raise
    except Exception as error:  # a damaged program can fail at any opcode
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{name} is damaged: it is no pickle ({reason or type(error).__name__})") from error


class _Machine:
    """The stack and memo of a pickle; see `pickletools` for what an opcode does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        """What is on top of the stack at the end."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count == MOST_OPCODES:
                raise DataError(f"{self.name} has more than {MOST_OPCODES} opcodes, which no batch needs")
            if opcode.name in IGNORED:
                continue
            if opcode.name in CONSTANTS:
                self.stack.append(argument)
            elif opcode.name in STEPS:
                STEPS[opcode.name](self, argument)
            else:
                raise DataError(
                    f"{self.name} is refused: its opcode {opcode.name} is not one that plain data needs"
                )
        return self.stack.pop()

    def marked(self) -> list[Any]:
        """Everything above the last mark, taken off with it."""
        place = max(i for i, item in enumerate(self.stack) if item is _MARK)
        found = self.stack[place + 1 :]
        del self.stack[place:]
        return found

    def named(self, text: str) -> None:
        """Put a name on the stack, if it is one of NAMES."""
        if text not in NAMES:
            raise DataError(
                f"{self.name} is refused: it asks to run {'.'.join(text.split(' '))[:80]!r}, and data runs nothing"
            )
        self.stack.append(_Name(NAMES[text]))

    def stack_named(self) -> None:
        """The name of which module and attribute are on the stack."""
        attribute, module = self.stack.pop(), self.stack.pop()
        self.named(f"{module} {attribute}")

    def reduced(self) -> None:
        """Note what would be called with what; bytes are made at once."""
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise DataError(f"{self.name} is refused: it calls something that is no name")
        if called.role == "bytes":
            text, encoding = arguments
            if encoding not in ("latin1", "latin-1"):
                raise DataError(f"{self.name} is refused: it holds bytes as {str(encoding)[:20]!r}")
            self.stack.append(text.encode("latin-1"))
        else:
            self.stack.append(_Made(called.role, arguments))

    def built(self) -> None:
        """Set the state of what was made."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Made) or self.stack[-1].state is not None:
            raise DataError(f"{self.name} is refused: it sets the state of what is no array")
        self.stack[-1].state = state

    def appended(self, items: list[Any]) -> None:
        """Add to the list on top."""
        self._top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Add keys and values in turn to the dictionary on top; a key that nests could exhaust the C stack."""
        if not all(isinstance(key, str | bytes | int) for key in items[::2]):
            raise DataError(f"{self.name} is refused: a key of it is neither text nor a number")
        self._top(dict).update(zip(items[::2], items[1::2], strict=True))

    def tupled(self, count: int) -> None:
        """Replace the topmost items by a tuple of them."""
        place = len(self.stack) - count
        self.stack[place:] = [tuple(self.stack[place:])]

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise DataError(f"{self.name} is refused: it changes what is no {kind.__name__}")
        return self.stack[-1]


Step = Callable[[_Machine, Any], None]


def _remembered(machine: _Machine, number: int) -> None:
    machine.memo[int(number)] = machine.stack[-1]


STEPS: dict[str, Step] = {
    "MARK": lambda m, _: m.stack.append(_MARK),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "LIST": lambda m, _: m.stack.append(m.marked()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.marked())),
    "DICT": lambda m, _: _dictionary(m),
    "TUPLE1": lambda m, _: m.tupled(1),
    "TUPLE2": lambda m, _: m.tupled(2),
    "TUPLE3": lambda m, _: m.tupled(3),
    "APPEND": lambda m, _: m.appended([m.stack.pop()]),
    "APPENDS": lambda m, _: m.appended(m.marked()),
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.set_items(m.marked()),
    "PUT": _remembered,
    "BINPUT": _remembered,
    "LONG_BINPUT": _remembered,
    "MEMOIZE": lambda m, _: _remembered(m, len(m.memo)),
    "GET": lambda m, number: m.stack.append(m.memo[int(number)]),
    "BINGET": lambda m, number: m.stack.append(m.memo[int(number)]),
    "LONG_BINGET": lambda m, number: m.stack.append(m.memo[int(number)]),
    "GLOBAL": lambda m, text: m.named(text),
    "STACK_GLOBAL": lambda m, _: m.stack_named(),
    "REDUCE": lambda m, _: m.reduced(),
    "BUILD": lambda m, _: m.built(),
}
CONSTANTS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
IGNORED = {"PROTO", "FRAME", "STOP"}


def _dictionary(machine: _Machine) -> None:
    items = machine.marked()
    machine.stack.append({})
    machine.set_items(items)


def _finished(found: Any, name: str) -> Any:
    """Arrays made of what was noted, at the top and one level down."""
    if isinstance(found, dict):
        return {key: _array(value, name) for key, value in found.items()}
    return _array(found, name)


def _array(value: Any, name: str) -> Any:
    """An array of unsigned bytes from (version, shape, dtype, Fortran order, bytes); others are refused."""
    if not isinstance(value, _Made):
        return value
    _, shape, dtype, by_columns, content = value.state
    if value.role != "array" or dtype.role != "dtype" or dtype.arguments[0] not in ("u1", "|u1"):
        raise DataError(f"{name} is refused: an array of it holds something else than unsigned bytes")
    raw = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if by_columns else "C")
