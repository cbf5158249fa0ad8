"""The part of a model file that one of its outputs needs, as bytes.

ONNX Runtime computes all outputs of a graph, whatever it is asked for. This reads the few fields of a file that say
which node makes what (protobuf's wire format, numbers of onnx.proto3), for scoring does not need the package onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MODEL_GRAPH, MODEL_METADATA = 7, 14
GRAPH_NODE, GRAPH_OUTPUT = 1, 12
NODE_INPUT, NODE_OUTPUT, NODE_ATTRIBUTE = 1, 2, 5
ATTRIBUTE_GRAPHS = (6, 11)
VALUE_NAME = 1
ENTRY_KEY, ENTRY_VALUE = 1, 2
SIZES = {1: 8, 5: 4}  # bytes of wire types of fixed size; 0 is a varint and 2 has its length in front
LENGTH = 2


class Field(NamedTuple):
    """A field of a message: its number, its content, and all of its bytes."""

    number: int
    content: memoryview
    whole: memoryview


def part(content: bytes, output: str) -> bytes:
    """The model with this output alone and the nodes that lead to it; as it was where a node holds a graph itself."""
    out = bytearray()
    for field in _fields(memoryview(content)):
        if field.number == MODEL_GRAPH:
            graph = _part_of(list(_fields(field.content)), output.encode())
            out += _message(MODEL_GRAPH, graph)
        else:
            out += field.whole
    return bytes(out)


def nodes_of(content: bytes) -> list[tuple[list[str], list[str]]]:
    """The (inputs, outputs) of the nodes of a model's graph, in the order in which they run; an input may be absent."""
    graph = next(f.content for f in _fields(memoryview(content)) if f.number == MODEL_GRAPH)
    found = []
    for field in _fields(graph):
        if field.number == GRAPH_NODE:
            node = list(_fields(field.content))
            inputs, outputs = (
                [bytes(f.content).decode() for f in node if f.number == kind and len(f.content)]
                for kind in (NODE_INPUT, NODE_OUTPUT)
            )
            found.append((inputs, outputs))
    return found


def with_outputs(content: bytes, names: list[str]) -> bytes:
    """The model with these tensors as outputs too; ONNX Runtime finds out of which type they are."""
    out = bytearray()
    for field in _fields(memoryview(content)):
        if field.number != MODEL_GRAPH:
            out += field.whole
            continue
        graph = list(_fields(field.content))
        there = {
            bytes(f.content) for g in graph if g.number == GRAPH_OUTPUT for f in _fields(g.content)
            if f.number == VALUE_NAME
        }  # fmt: skip
        added = [_message(VALUE_NAME, n.encode()) for n in names if n.encode() not in there]
        body = bytes(field.content) + b"".join(_message(GRAPH_OUTPUT, value) for value in added)
        out += _message(MODEL_GRAPH, body)
    return bytes(out)


def with_note(content: bytes, key: str, text: str) -> bytes:
    """The model with an entry more in its metadata."""
    # fields of a message may stand in any order, so a file grows by what is put behind it
    return content + _message(
        MODEL_METADATA, _message(ENTRY_KEY, key.encode()) + _message(ENTRY_VALUE, text.encode())
    )


def _message(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | LENGTH]) + _varint(len(content)) + content


def _part_of(fields: list[Field], output: bytes) -> bytes:
    nodes = {i: list(_fields(f.content)) for i, f in enumerate(fields) if f.number == GRAPH_NODE}
    if any(_holds_graph(node) for node in nodes.values()):
        return b"".join(f.whole for f in fields)
    needed, kept = {output}, set()
    # nodes stand in the order in which they can be run, so from the last one on
    for i, node in reversed(nodes.items()):
        if needed.intersection(bytes(f.content) for f in node if f.number == NODE_OUTPUT):
            kept.add(i)
            needed.update(bytes(f.content) for f in node if f.number == NODE_INPUT)
    for i, field in enumerate(fields):
        if field.number == GRAPH_OUTPUT:
            if any(f.number == VALUE_NAME and f.content == output for f in _fields(field.content)):
                kept.add(i)
        elif field.number != GRAPH_NODE:
            kept.add(i)
    return b"".join(f.whole for i, f in enumerate(fields) if i in kept)


def _holds_graph(node: list[Field]) -> bool:
    attributes = (f.content for f in node if f.number == NODE_ATTRIBUTE)
    return any(f.number in ATTRIBUTE_GRAPHS for attribute in attributes for f in _fields(attribute))


def _fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, one after another."""
    place = 0
    while place < len(message):
        start = place
        key, place = _number(message, place)
        kind = key & 7
        if kind == 0:
            begin, end = place, _number(message, place)[1]
        elif kind == LENGTH:
            length, begin = _number(message, place)
            end = begin + length
        else:
            begin, end = place, place + SIZES[kind]
        yield Field(key >> 3, message[begin:end], message[start:end])
        place = end


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """A varint, seven bits a byte, the lowest first, the eighth set in all but the last; and where it ends."""
    value = shift = 0
    while True:
        byte = message[place]
        value, place = value | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            return value, place
        shift += 7


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
