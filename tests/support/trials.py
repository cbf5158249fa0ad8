"""Trainings that only do as they are told, for processes of their own: nothing is loaded for them."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

# as it was when this module was loaded
SHOWN = os.environ.get("CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Order:
    """What a training is to do: 'kill' dies, 'bug' fails."""

    what: str

    @property
    def place(self) -> str:
        """How it is called in messages."""
        return f"the {self.what}"


def obey(order: Order) -> tuple[str, str | None]:
    """What was ordered, and which devices this process is shown."""
    if order.what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if order.what == "bug":
        raise ValueError("a bug")
    return order.what, SHOWN
