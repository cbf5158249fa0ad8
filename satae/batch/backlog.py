"""The tasks of a run in turn; of a scene that is split first its blocks, and once all are there the scene itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from satae.batch.task import Task

# of one scene: more would be smaller than what is read at once
MOST = 1000


def count(size: int, split: int | None) -> int:
    """How many blocks a scene of that many bytes is split into, so that each is of no more than `split`."""
    return 1 if split is None else max(1, min(MOST, -(-size // split)))


class Backlog(Iterator[Task]):
    """Tasks as they may begin: it may have none, and have one again after `over`."""

    def __init__(self, tasks: Iterator[Task], split: int | None) -> None:
        self.tasks, self.split = tasks, split
        self._next = deque[Task]()
        # of scenes whose blocks are at work: how many are missing, and the scene
        self._open: dict[str, tuple[int, Task]] = {}

    def __next__(self) -> Task:
        while self._next:
            task = self._next.popleft()
            if task.block is None or task.key in self._open:
                return task
        task = next(self.tasks)
        number = count(task.size, self.split)
        if number == 1:
            return task
        # of what progress counts, the scene itself has what is left over
        own = task.size // (number + 1)
        task = replace(task, blocks=number, size=task.size - number * own)
        self._open[task.key] = number, task
        self._next.extend(replace(part, size=own) for part in task.parts)
        return self._next.popleft()

    def over(self, task: Task, *, good: bool) -> bool:
        """Take in the end of a task; whether that is the end of its scene, which one bad block brings about."""
        if task.block is None:
            return True
        if task.key not in self._open:
            return False
        missing, scene = self._open[task.key]
        if not good:
            del self._open[task.key]
            return True
        self._open[task.key] = missing - 1, scene
        if missing == 1:
            del self._open[task.key]
            # before others: their blocks take room until then
            self._next.appendleft(scene)
        return False
