"""Shares out the reading of tiles among processes that train one model: each reads a batch, and passes it on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from satae.training.feed import Batch, Feed
from satae.training.team import Team

Indices = npt.NDArray[np.int64]


class Deal:
    """A `Source` in a team: batches are those of the feed, draws included, and each is read by one process.

    Of as many batches as there are processes each reads one, whole, for what is drawn for a tile follows from those
    before it. With them all have all, and keep them until their steps come.
    """

    def __init__(self, feed: Feed, team: Team) -> None:
        self.feed, self.team = feed, team
        self.order: list[Indices] = []
        self.waiting: dict[int, Batch] = {}

    def batches(self, where: Indices, epoch: int, at_least: int) -> list[Indices]:
        """Those of the feed, which are the same in each process."""
        self.order, self.waiting = self.feed.batches(where, epoch, at_least), {}
        return self.order

    def training(self, where: Indices, epoch: int, step: int) -> Batch:
        """A batch, augmented: read here or by another process."""
        if step not in self.waiting:
            # at the end of an epoch some have none of their own: they read the last one for its shape
            own = min(step + self.team.rank, len(self.order) - 1)
            mine = self.feed.training(self.order[own], epoch, own)
            for rank, numbers in enumerate(self.order[step : step + self.team.size]):
                x, valid, chosen = (self.team.copy_from_rank(part, len(numbers), rank) for part in mine)
                self.waiting[step + rank] = x, valid, chosen
        return self.waiting.pop(step)

    def plain(self, where: Indices) -> Iterator[Batch]:
        """The batches of the given tiles that are this process's: each is one of those of the feed."""
        size = self.feed.batch
        starts = range(self.team.rank * size, len(where), self.team.size * size)
        # the last one alone may be smaller, so that the feed cuts them as they were
        parts = [where[start : start + size] for start in starts]
        return self.feed.plain(np.concatenate(parts)) if parts else iter(())

    def tiles(self, where: Indices) -> list[str]:
        """What a batch is made of, for messages."""
        return self.feed.tiles(where)
