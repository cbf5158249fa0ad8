"""Freed memory is given back, on Linux, where it can be seen."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from satae import heap


def resident() -> int:
    """What this process holds, in MiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) // 2**10


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is of glibc")
def test_what_lies_between_blocks_in_use_is_given_back():
    blocks = [np.ones(15_000, np.float64) for _ in range(2_000)]  # 120 kB each: under what is mapped apart
    used = blocks[::2]
    before = resident()
    del blocks
    heap.trim()
    assert resident() < before - 80 and len(used) == 1_000
