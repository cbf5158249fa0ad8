"""Spreads trainings over devices: one a device at a time, each in a process that is shown no other.

Trainings know nothing of each other, so that the figures are the same wherever and in whatever order they are done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from satae.batch import budget, devices
from satae.batch.pool import Pool
from satae.batch.worker import Outcome, function_of
from satae.errors import ConfigError, TrainError

CPU = "cpu"
WORK = "satae.bench.lanes:work"

Progress = Callable[[float, float, str], None]  # (trainings done, of how many, what is being done)


class Job(Protocol):
    """Anything that messages can name."""

    @property
    def place(self) -> str:
        """Which of all it is."""
        ...


def spread(
    function: str, todo: Sequence[Job], chosen: Sequence[str], progress: Progress
) -> tuple[list[Any], list[str]]:
    """What `function` (`module:name`) gives of each, in their order without what failed; and that, with its exit code.

    TrainError where none came to its end. One that fails takes no other with it.
    """
    lanes, found, failed = lanes_of(chosen), dict[int, Any](), list[str]()

    def tell(task: tuple[int, str, Job], outcome: Outcome, attempt: int, last: bool) -> bool:
        number, _, one = task
        if outcome.code:
            failed.append(f"{one.place}: {outcome.reason} (exit code {outcome.code})")
        else:
            found[number] = outcome.value
        progress(len(found) + len(failed), len(todo), one.place)
        return True

    progress(0, len(todo), "")
    # threads that compute on the CPU are shared out, unless somebody has said how many there shall be
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, budget.cores() // len(lanes))))
    shared = {"OMP_NUM_THREADS": threads}
    pool = Pool(WORK, lambda: len(lanes), environment=shared, lanes=lanes, tries=1)
    pool.run(((number, function, one) for number, one in enumerate(todo)), tell)
    if not found:
        raise TrainError(f"no training came to its end; the first to fail was {failed[0]}")
    return [found[number] for number in sorted(found)], failed


def work(task: tuple[int, str, Job]) -> Any:
    """What a task of `spread` gives, in the process that was started for it."""
    return function_of(task[1])(task[2])


def device() -> str:
    """The device of a process that does what is spread: cuda where it is shown a GPU."""
    return "cuda" if os.environ.get(devices.VISIBLE) else CPU


def lanes_of(chosen: Sequence[str]) -> list[dict[str, str]]:
    """What a process of each device is shown: a GPU by its number among those that are seen, or none for cpu.

    A device that is named twice has two processes. ConfigError where there is no such device.
    """
    seen = devices.gpus()
    known = {str(i): name for i, name in enumerate(seen)} | {CPU: ""}
    if not set(chosen) <= set(known):
        there = f"there are {', '.join(known)}" if seen else f"there is {CPU} alone"
        raise ConfigError(f"--devices {','.join(chosen)}: {there}")
    return [{devices.VISIBLE: known[name]} for name in chosen]
