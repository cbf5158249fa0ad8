"""Spawned processes that do tasks, each one at a time: one that dies takes nothing with it but its own attempt.

A pool of the standard library is broken as a whole when one process dies. This one starts another, and gives the task
to that.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from satae import interrupts
from satae.batch import guard, places, worker
from satae.batch.worker import Outcome
from satae.console import stderr_for_children

# of a task that failed for no reason of its own: the first one and two on other processes
TRIES = 3
# exit code of input that no other process would take
REFUSED = 2
# seconds between two looks at what was asked of this process
BEAT = 1.0
SIGNALS = {9: "SIGKILL, as where memory is used up", 15: "SIGTERM", 11: "SIGSEGV", 6: "SIGABRT", 7: "SIGBUS"}

Tell = Callable[[Any, Outcome, int, bool], bool]


@dataclass
class _Worker:
    """A process and the line to it, with what it is at."""

    process: BaseProcess
    line: Connection
    task: Any = None
    attempt: int = 0
    since: float = 0.0
    lane: int = 0


class Pool:
    """Processes that call `function` (`module:name`) on tasks, `slots()` of them at once at the most.

    `environment` is set for them before they load anything, and of `lanes` that which the fewest of them have, such as
    a device. `gone` is told the number of a process that died, and
    `dropped` each task that was not brought to an end because this process was interrupted.
    """

    def __init__(
        self,
        function: str,
        slots: Callable[[], int],
        *,
        environment: Mapping[str, str] | None = None,
        lanes: Sequence[Mapping[str, str]] = (),
        gone: Callable[[int], None] = lambda number: None,
        dropped: Callable[[Any], None] = lambda task: None,
        tries: int = TRIES,
    ) -> None:
        self.function, self.slots, self.tries = function, slots, tries
        self.environment, self.gone, self.dropped = dict(environment or {}), gone, dropped
        self.lanes = list(lanes) or [{}]
        self.idle: list[_Worker] = []
        self.busy: list[_Worker] = []

    def run(self, tasks: Iterator[Any], tell: Tell) -> None:
        """Do the tasks in their order; `tell(task, outcome, attempt, last)` after each attempt.

        No more are begun once it gives False; what is at work then comes to its end. After a failure that may be of
        the process (all but bad input) the task goes to another one, up to `tries` attempts.
        """
        again: deque[tuple[Any, int]] = deque()
        going = True
        with interrupts.tidying():
            try:
                while True:
                    # as many as the budget allows now: it may be fewer than a moment ago
                    while going and len(self.busy) < self.slots():
                        # what is tried again comes first, so that a broken scene is known early
                        task, attempt = again.popleft() if again else (next(tasks, None), 1)
                        if task is None:
                            break
                        self._begin(task, attempt)
                    if not self.busy:
                        return
                    for done, outcome in self._outcomes():
                        last = outcome.code in (0, REFUSED) or done.attempt >= self.tries
                        going = tell(done.task, outcome, done.attempt, last) and going
                        if not last:
                            again.append((done.task, done.attempt + 1))
            finally:
                # a second Ctrl-C must not leave processes behind
                with interrupts.shield():
                    self._close()

    def _begin(self, task: Any, attempt: int) -> None:
        own = self.idle.pop() if self.idle else self._started()
        own.task, own.attempt, own.since = task, attempt, time.monotonic()
        self.busy.append(own)
        # it died meanwhile: its line ends, which is noticed where all is
        with contextlib.suppress(OSError):
            own.line.send(task)

    def _started(self) -> _Worker:
        # never forked: locks of GDAL, CUDA and threads would be copied as they are
        context = multiprocessing.get_context("spawn")
        line, other = context.Pipe()
        process = context.Process(
            target=worker.serve, args=(self.function, other, os.getpid()), name="satae worker"
        )
        # the child takes the environment over as it is at that moment
        taken = [own.lane for own in (*self.idle, *self.busy)]
        lane = min(range(len(self.lanes)), key=taken.count)
        environment = self.environment | dict(self.lanes[lane])
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            with stderr_for_children():
                process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        # else the line would stay open when the process is gone, and its end go unnoticed
        other.close()
        return _Worker(process, line, lane=lane)

    def _outcomes(self) -> Iterator[tuple[_Worker, Outcome]]:
        """Those that have come to the end of an attempt; of those that died, that."""
        lines = {own.line: own for own in self.busy}
        # a line that ends is ready too: so the death of a process wakes this at once
        ready = wait(list(lines), timeout=BEAT)
        interrupts.check()
        for line in ready:
            own = lines[line]  # type: ignore[index]
            self.busy.remove(own)
            try:
                outcome: Outcome = own.line.recv()
            except (EOFError, OSError):
                yield own, self._died(own)
                continue
            # one that failed may be the reason, and is not used again
            if outcome.code in (0, REFUSED):
                self.idle.append(own)
            else:
                self._end([own])
            yield own, outcome

    def _died(self, own: _Worker) -> Outcome:
        # the line ends a moment before the process does, and only then it has an exit code
        own.process.join(guard.GRACE)
        number, code = own.process.pid or 0, own.process.exitcode or 0
        self._end([own])
        how = SIGNALS.get(-code, f"signal {-code}") if code < 0 else f"exit code {code}"
        seconds = time.monotonic() - own.since
        return Outcome(
            128 - code if code < 0 else worker.BUG, f"the process was ended by {how}", seconds=seconds,
            host=places.host(), process=number,
        )  # fmt: skip

    def _close(self) -> None:
        """End all processes: those at work are asked to drop what they do, and killed where they do not."""
        at_work, self.busy = self.busy, []
        idle, self.idle = self.idle, []
        # all are asked before the first is waited for, so that the time to tidy up is that of one
        for own in at_work:
            own.process.terminate()
        for own in idle:
            with contextlib.suppress(OSError):
                own.line.send(None)
        self._end(at_work + idle)
        for own in at_work:
            self.dropped(own.task)

    def _end(self, workers: list[_Worker]) -> None:
        for own in workers:
            own.line.close()
        end = time.monotonic() + guard.GRACE
        for own in workers:
            own.process.join(max(0.0, end - time.monotonic()))
            if own.process.exitcode is None:
                own.process.kill()
                own.process.join()
            # what SIGKILL left of its scene is removed by whoever saw it die
            self.gone(own.process.pid or 0)
            own.process.close()
