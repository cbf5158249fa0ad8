"""How much memory an inference takes, told before one is run: from what the card claims and from what the graph holds.

A card may ask for windows of any size and a graph may hold anything. The graph is run on two small windows, which
tells how each of its tensors grows; those that are alive together are added up for a whole window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.errors import ModelError
from satae.inference import frames
from satae.inference.card import Card

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

MOST = 2 * 2**30  # bytes of one inference
TRIED = 32  # pixels a side of the smaller of the two windows, at least
TRIES = 3  # doublings of it, where a graph does not take windows that small

Sizes = dict[str, int]
Nodes = Sequence[tuple[list[str], list[str]]]


def check_memory(session: Any, nodes: Nodes, card: Card, name: str) -> None:
    """ModelError where an inference of the windows that the card asks for takes more than MOST bytes.

    The session gives every tensor of the graph, whose `nodes` are (inputs, outputs) in their order.
    """
    side = -(-card.core // card.stride) * card.stride + 2 * card.halo
    bands = len(card.bands)
    # what shapes alone tell, before anything is run: (dim or name of one, ...)
    fixed = max((_bytes(found.shape) for found in session.get_outputs()), default=0)
    # what is read of a window; frames are summed in double precision: map, band errors, reconstruction, weights
    needed = max(fixed, (8 * (2 + 2 * bands) if card.frame else 4 * bands) * side**2)
    if needed <= MOST:
        needed = max(needed, _needed(session, nodes, card, side, name))
    if needed > MOST:
        asked = f"windows of {side} pixels a side (core {card.core}, halo {card.halo}), {bands} bands"
        raise ModelError(
            f"{name} asks for {asked}: an inference takes about {needed / 2**30:.1f} GiB, and {MOST >> 30} GiB are the "
            "most; train it with another architecture or smaller surroundings"
        )


def _needed(session: Any, nodes: Nodes, card: Card, side: int, name: str) -> int:
    """Bytes of the tensors that are alive together in an inference of a window of `side` pixels."""
    count = 1
    if card.frame:
        side, count = card.frame, max(1, frames.PIXELS // card.frame**2)
    own = session.get_inputs()[0].shape[-1]
    if isinstance(own, int):  # a graph of one size
        return count * _peak(nodes, _sizes(session, card, own, name))
    # whole strides, where the card does not claim a very large one: windows are small whatever it says
    unit = card.stride if card.stride <= TRIED * 2**TRIES else 1
    for small in (-(-TRIED * 2**i // unit) * unit for i in range(TRIES)):
        try:
            low, high = (_sizes(session, card, s, name) for s in (small, 2 * small))
        except ModelError:
            continue
        # a tensor of pixels grows with the area; one that follows from the weights alone does not
        grown = (side / (2 * small)) ** 2
        scaled = {key: round(size * (grown if size != low.get(key) else 1)) for key, size in high.items()}
        return count * _peak(nodes, scaled)
    raise ModelError(
        f"{name} cannot be run on small windows, which shows what memory it takes; train it again"
    )


def _peak(nodes: Nodes, sizes: Sizes) -> int:
    """The most bytes that are held at once, where each tensor is let go after the last node that reads it."""
    last = {read: number for number, (inputs, _) in enumerate(nodes) for read in inputs}
    held = most = 0
    for number, (inputs, outputs) in enumerate(nodes):
        held += sum(sizes.get(made, 0) for made in outputs)
        most = max(most, held)
        # results that no node reads are kept to the end
        held -= sum(sizes.get(read, 0) for read in set(inputs) if last[read] == number)
    return most


def _sizes(session: Any, card: Card, side: int, name: str) -> Sizes:
    """The bytes of each tensor of the graph for one window."""
    feed = {
        "image": np.zeros((1, len(card.bands), side, side), np.float32),
        "valid": np.ones((1, 1, side, side), np.float32),
    }
    names = [found.name for found in session.get_outputs()]
    try:
        with _bounded():
            made: list[npt.NDArray[Any]] = session.run(names, feed)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ModelError(f"{name} cannot be run: {str(error)[:200]}") from error
    return dict(zip(names, (np.asarray(array).nbytes for array in made), strict=True))


@contextmanager
def _bounded() -> Iterator[None]:
    """A block that cannot take much more than MOST bytes, where the system knows such limits."""
    try:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (AttributeError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + 2 * MOST
    if before[0] != resource.RLIM_INFINITY:
        limit = min(limit, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _bytes(shape: Sequence[Any]) -> int:
    """The bytes of a tensor of four-byte numbers, with 1 for dimensions that are not known beforehand."""
    return 4 * math.prod(d for d in shape if isinstance(d, int))
