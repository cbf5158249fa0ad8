"""Where inferences on a scene lie: how far apart, with how much around them, and how large."""

from __future__ import annotations

import math
from dataclasses import dataclass

from satae.detector import graph
from satae.inference import frames

CORE = 256  # pixels a side that one inference yields
CELLS = 24_000_000  # numbers that one step of the graph may hold; about 100 MB


@dataclass(frozen=True)
class Lattice:
    """The fields of those names of a model card, in pixels."""

    stride: int
    halo: int
    core: int
    frame: int = 0

    @property
    def context(self) -> int:
        """Pixels around a tile that its scores follow from; a frame has nothing around it."""
        return 0 if self.frame else self.halo


def lattice_of(detector: graph.Detector, bands: int) -> Lattice:
    """The halo is the reach of the whole graph, as a multiple of the stride.

    That of a model that sees one frame at a time is what its frames overlap by, and the stride how far they
    are apart. Raises ModelError as `graph.reach`.
    """
    frame = int(getattr(detector.model, "frame", 0))
    if frame:
        step = frame // frames.OVERLAP
        return Lattice(step, frame - step, CORE, frame)
    stride = int(detector.model.stride)  # type: ignore[arg-type]
    halo = -(-graph.reach(detector, bands, stride) // stride) * stride
    return Lattice(stride, halo, core(detector))


def core(detector: graph.Detector) -> int:
    """The side of what one inference yields: CORE, or less where a step of the graph needs much memory."""
    cells = max(int(getattr(part, "cells", 0)) for part in (detector.model, *detector.heads))
    return CORE if not cells else max(32, min(CORE, math.isqrt(CELLS // cells) // 32 * 32))
