"""Where inferences lie: by the measured reach, by the memory that a pixel needs, or by frames."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from detectors import BANDS, NETS, detector

from satae.detector import graph
from satae.training import lattice
from satae.training.lattice import Lattice, lattice_of


class Part(torch.nn.Module):
    """Something that keeps so many numbers a pixel."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells


def test_a_graph_that_needs_much_memory_a_pixel_yields_less_at_once():
    sides = [lattice.core(SimpleNamespace(model=Part(n), heads=[Part(0)])) for n in (0, 1, 1_000, 10**9)]
    assert sides == [256, 256, 128, 32]
    assert lattice.core(SimpleNamespace(model=Part(0), heads=[Part(5), Part(1_000)])) == 128


@NETS
def test_the_halo_is_the_reach_up_to_the_stride_or_what_frames_share(net: str):
    found = detector(net)
    made, stride = lattice_of(found, BANDS), found.model.stride
    if hasattr(found.model, "frame"):
        assert made == Lattice(stride // 2, stride // 2, 256, stride) and made.context == 0
        return
    reach = graph.reach(found, BANDS, stride)
    assert made.stride == stride and made.frame == 0 and made.context == made.halo
    assert 0 <= made.halo - reach < stride and made.halo % stride == 0


@pytest.mark.parametrize("size", [16, 32])
def test_frames_overlap_by_half(size: int):
    found = SimpleNamespace(model=SimpleNamespace(frame=size, stride=size))
    assert lattice_of(found, BANDS) == Lattice(size // 2, size // 2, 256, size)
