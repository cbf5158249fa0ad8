"""Whether torchrun started a command in several processes at once, and which of them says what happened."""

from __future__ import annotations

import os
import time
from datetime import timedelta

# seconds in which rank 0 is expected to say what happened to all
PATIENCE = 3.0
LOOK = 0.05


def several() -> bool:
    """Whether torchrun, or another launcher that sets what it sets, started this process and others."""
    names = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and all(name in os.environ for name in names)


def is_silent() -> bool:
    """Whether another process says what this one has found too."""
    return several() and os.environ["RANK"] != "0"


def has_the_word() -> bool:
    """Whether this process is to say why it ends: of several, one does."""
    if not several():
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    key, leads = f"satae/told/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", os.environ["RANK"] == "0"
    try:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        wait = timedelta(seconds=PATIENCE)
        store = TCPStore(*address, is_master=False, timeout=wait, wait_for_workers=False)
        end = time.monotonic() + PATIENCE
        # most failures are those of all, and rank 0 tidies up before it speaks
        while not leads and time.monotonic() < end and not store.check([key]):
            time.sleep(LOOK)
        return int(store.add(key, 1)) == 1
    except (RuntimeError, OSError):
        # who keeps the store is gone: rather several times than not at all
        return True
