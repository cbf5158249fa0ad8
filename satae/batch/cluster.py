"""The only door to distributed: tasks on a cluster of the user's, by the function that processes of this machine call.

Which worker takes what, and what becomes of the tasks of a worker that is lost, is the scheduler's business. Scenes lie
where all workers reach them by the same path, and so does the folder of the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from satae import interrupts
from satae.batch import worker
from satae.batch.pool import BEAT, REFUSED, TRIES, Tell
from satae.batch.worker import Outcome
from satae.console import clock
from satae.errors import ConfigError
from satae.later import Later

if TYPE_CHECKING:
    import distributed
else:
    distributed = Later("distributed")

# tasks that wait for each worker: enough to steal from, and few enough to stop early
AHEAD = 2
# seconds in which a scheduler answers
PATIENCE = 10
# seconds without a worker that may take a task, after which that is said, and after which the run ends
SAY, END = 10.0, 600.0
GPU = "GPU"
SCHEMES = ("tcp", "tls", "ws", "wss", "ucx", "ucxx")

log = logging.getLogger(__name__)


class Cluster:
    """A scheduler that was found at an address; `run` does what `Pool.run` does.

    With `gpu` only workers that were started with the resource GPU take tasks, one each.
    """

    def __init__(
        self,
        address: str,
        function: str,
        *,
        gpu: bool = False,
        dropped: Callable[[Any], None] = lambda task: None,
        tries: int = TRIES,
    ) -> None:
        self.address, self.function, self.dropped, self.tries = address, function, dropped, tries
        self.resources = {GPU: 1} if gpu else None
        self.told = False
        # whose types are known in part only
        library: Any = distributed
        try:
            self.client = library.Client(address, timeout=PATIENCE, set_as_default=False)
        except ModuleNotFoundError as error:
            raise ConfigError("--scheduler needs distributed: pip install 'satae[dask]'") from error
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"--scheduler {address}: no dask scheduler answers there ({_line(error)})"
            ) from error

    def run(self, tasks: Iterator[Any], tell: Tell) -> None:
        """Do the tasks, the first ones first; `tell(task, outcome, attempt, last)` after each attempt.

        Where no worker has been there for END seconds, those that are left are dropped.
        """
        self.going, self.at_work = True, dict[str, tuple[Any, Any, int]]()
        self.over: queue.SimpleQueue[str] = queue.SimpleQueue()
        with interrupts.tidying():
            try:
                self._run(tasks, tell)
            finally:
                with interrupts.shield():
                    for future, task, _ in self.at_work.values():
                        future.cancel()
                        self.dropped(task)
                    self.client.close()

    def _run(self, tasks: Iterator[Any], tell: Tell) -> None:
        for task in islice(tasks, AHEAD * self._workers()):
            self._submit(task, 1)
        while self.at_work and (key := self._over()):
            future, task, attempt = self.at_work[key]
            outcome = _outcome(future)
            if outcome is None:
                log.warning(
                    "the scheduler %s went away; start it again and type the command again", self.address
                )
                return
            del self.at_work[key]
            # dask has tried it on as many workers as it allows to die of it; once more is enough, for they may have
            # died of another task that waited beside it
            tries = self.tries if outcome.worker else min(self.tries, 2)
            last = outcome.code in (0, REFUSED) or attempt >= tries
            self.going = tell(task, outcome, attempt, last) and self.going
            if not last and self.going:
                self._submit(task, attempt + 1, self._others(outcome))
            # workers come and go
            room = AHEAD * self._workers() - len(self.at_work) if self.going else 0
            for task in islice(tasks, max(0, room)):
                self._submit(task, 1)

    def _submit(self, task: Any, attempt: int, workers: list[str] | None = None) -> None:
        future = self.client.submit(
            _attempt, self.function, task, key=_key(task, attempt), pure=False, resources=self.resources,
            workers=workers, allow_other_workers=bool(workers),
        )  # fmt: skip
        self.at_work[future.key] = (future, task, attempt)
        # called in a thread of the client's
        future.add_done_callback(lambda done: self.over.put(done.key))

    def _over(self) -> str | None:
        """The key of a task that is over, once there is one; None where nobody is left to do any."""
        seen, told = time.monotonic(), False
        while True:
            interrupts.check()
            with contextlib.suppress(queue.Empty):
                return self.over.get(timeout=BEAT)
            waited = time.monotonic() - seen
            if self._takers():
                seen, told = time.monotonic(), False
            elif waited > END:
                return None
            elif waited > SAY and not told:
                told = True
                own = " --resources GPU=1" if self.resources else ""
                log.warning(
                    "the scheduler %s has no worker for these scenes; start some, by `dask worker %s --nthreads 1%s`; "
                    "without one the run ends in %s",
                    self.address, self.address, own, clock(END - waited),
                )  # fmt: skip

    def _takers(self) -> bool:
        """Whether a worker is there that may take a task."""
        return any(not self.resources or w.get("resources", {}).get(GPU) for w in self._known().values())

    def _workers(self) -> int:
        """How many tasks the cluster takes at once; one at least, for workers may be on their way."""
        threads = [int(w["nthreads"]) for w in self._known().values()]
        if max(threads, default=1) > 1 and not self.told:
            self.told = True
            log.warning("workers of the cluster have several threads; start them with --nthreads 1")
        return max(1, sum(threads))

    def _known(self) -> dict[str, Any]:
        # a scheduler that went away has none
        try:
            found: dict[str, Any] = self.client.scheduler_info(n_workers=-1).get("workers", {})
        except (OSError, RuntimeError, ValueError):
            return {}
        return found

    def _others(self, outcome: Outcome) -> list[str] | None:
        """The workers but the one that a task has failed on, None where there is no other."""
        return [name for name in self._known() if name != outcome.worker] or None


def check_address(address: str) -> None:
    """ConfigError for what is no address of a scheduler, before dask is loaded, which would wait for it to answer."""
    scheme, _, place = address.rpartition("://")
    try:
        parts = urlsplit(f"//{place}")
        good = bool(parts.hostname and parts.port) and parts.netloc == place and (scheme or "tcp") in SCHEMES
    except ValueError:
        good = False
    if not good:
        raise ConfigError(
            f"--scheduler {address} is no address such as tcp://host:8786 ({', '.join(SCHEMES)})"
        )


def _attempt(function: str, task: Any) -> Outcome:
    """What is called on a worker."""
    return worker.attempt(worker.function_of(function), task, worker=distributed.get_worker().address)


def _key(task: Any, attempt: int) -> str:
    """What the scheduler knows an attempt by: who starts again joins it, and a run in another folder does not."""
    folder = hashlib.sha256(str(task.target).encode()).hexdigest()[:16]
    return f"satae-{task.id}-{folder}-{attempt}"


def _outcome(future: Any) -> Outcome | None:
    """What came of a task; of one whose workers died, one after the other, that; None where the scheduler is gone."""
    try:
        found: Outcome = future.result()
    except CancelledError:
        return None
    except Exception as error:  # distributed has errors of its own for lost workers
        return Outcome(worker.BUG, f"the cluster gave it up: {_line(error)}")
    return found


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
