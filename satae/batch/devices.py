"""The GPUs of this machine, of which each process that scores is shown one.

Libraries look at CUDA_VISIBLE_DEVICES once, when they are loaded, and number what they are shown from 0: a process that
is shown one device cannot open on another one's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
DRIVER = Path("/proc/driver/nvidia/gpus")


def gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The devices that this process may use, under the names that CUDA_VISIBLE_DEVICES takes."""
    if VISIBLE not in environment:
        try:
            return tuple(str(i) for i in range(len(list(DRIVER.iterdir()))))
        except OSError:
            return ()
    found = list[str]()
    for name in map(str.strip, environment[VISIBLE].split(",")):
        # CUDA goes no further than the first name that is none
        if not name or name.startswith("-"):
            break
        found.append(name)
    return tuple(found)


def shares(device: str) -> list[dict[str, str]]:
    """What a process of each device is shown, one a device; nothing where none is to be used or there is none."""
    return [] if device == "cpu" else [{VISIBLE: name} for name in gpus()]
