"""How many scenes may be scored at once, and with how many threads each: cores and memory that are really there.

A container is given less than its machine has, and says so in its control group.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from satae.errors import ConfigError

GROUP = Path("/sys/fs/cgroup")
# bytes of a process that scores, before one has been seen to take more
NEED = 600 << 20
# of what is free, where no budget is given
SHARE = 0.8
UNITS = {"": 1 << 30, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def cores() -> int:
    """Cores that this process may use, at least one."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (GROUP / "cpu.max").read_text().split()
        if quota != "max":
            found = min(found, int(quota) // int(period))
    return max(1, found)


def free_memory() -> int | None:
    """Bytes that are free, of the control group where that has fewer; None where nobody says."""
    known = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        known.append(next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")))
    with suppress(OSError, ValueError):
        most = (GROUP / "memory.max").read_text().strip()
        if most != "max":
            known.append(int(most) - int((GROUP / "memory.current").read_text()))
    return min(known) if known else None


def bytes_of(text: str, option: str = "--memory") -> int:
    """A number of bytes such as 8G, 500M or 8, which is in GiB; ConfigError where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.I)
    if not found or float(found[1]) <= 0:
        raise ConfigError(f"{option} {text} is no amount such as 8G or 500M")
    return int(float(found[1]) * UNITS[found[2].upper()])


class Budget:
    """How many of `jobs` may run: fewer where `memory` (bytes) does not hold them.

    What a scene takes is learned from those that are done: `note` is told the peak of each.
    """

    def __init__(self, jobs: int, memory: int | None) -> None:
        free = free_memory()
        self.jobs, self.need = jobs, NEED
        self.memory = memory if memory is not None else None if free is None else int(SHARE * free)

    def note(self, peak: int) -> None:
        """Take in the peak of a scene, in bytes."""
        self.need = max(self.need, peak)

    @property
    def slots(self) -> int:
        """How many may run now; one always may."""
        if self.memory is None:
            return self.jobs
        return max(1, min(self.jobs, self.memory // self.need))
