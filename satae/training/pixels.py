"""Feeds batches of single pixels, for models that see a pixel's surroundings as one list of numbers.

What surrounds a pixel does not change while such a model learns, so it is computed once, for pixels drawn from
the training tiles; a step then costs no more than the pixels in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from satae.models import BlindSpot
from satae.training.feed import Batch, Feed

DRAWN_BYTES = 384 * 2**20  # of pixels and surroundings
DRAWN = 300_000  # pixels to learn from, at the most
CHECKED = 60_000  # held-out pixels, at the most
SPREAD = 10  # times as many pixels have the tiles that they are drawn from, where there are so many

Indices = npt.NDArray[np.int64]


class Pixels:
    """Pixels drawn from the tiles of a feed, for a model with `surroundings` and `predict`.

    A batch is x (1, K, n, 1), what surrounds each pixel (1, D, n, 1), and ones (1, 1, n, 1).
    """

    def __init__(self, feed: Feed, model: BlindSpot, pixels: int) -> None:
        self.feed, self.model, self.pixels = feed, model, pixels
        # ten times the pixels that are drawn: enough tiles to be of all kinds, few enough to compute surroundings for
        train = feed.some(feed.chosen.train, SPREAD * DRAWN)
        batches = enumerate(feed.batches(train, 0, 1))
        varied = ((where, feed.training(where, 0, step)) for step, where in batches)
        self.x, self.seen, self.origin = self._drawn(varied, train, DRAWN, 5)
        held_out = feed.some(feed.chosen.held_out, SPREAD * CHECKED)
        parts = [held_out[i : i + feed.batch] for i in range(0, len(held_out), feed.batch)]
        checked = zip(parts, feed.plain(held_out), strict=True)
        self.check_x, self.check_seen, _ = self._drawn(checked, held_out, CHECKED, 6)

    @torch.no_grad()
    def _drawn(self, batches: Any, where: Indices, most: int, stream: int) -> tuple[Tensor, Tensor, Indices]:
        """An even random share of the chosen pixels of batches: x (n, K), surroundings (n, D), tiles (n, 2)."""
        sets = self.feed.sets
        total = sum(int(sets[s].valid[t].sum()) for s, t in where)
        rng = np.random.default_rng([self.feed.seed, stream])
        xs: list[Tensor] = []
        seens: list[Tensor] = []
        tiles: list[Indices] = []
        share = 1.0
        for these, (x, valid, chosen) in batches:
            # (N, H, W)
            good = chosen[:, 0].cpu().numpy() > 0.5
            drawn = rng.random(good.shape)
            for i, origin in enumerate(
                these
            ):  # one by one: surroundings of a whole batch would fill the memory
                seen = self.model.surroundings(x[i : i + 1], valid[i : i + 1])
                # how many fit is known once the number of surroundings is: D differs by architecture
                if not xs:
                    room = DRAWN_BYTES // 4 // (x.shape[1] + seen.shape[1])
                    share = min(1.0, min(most, room) / max(total, 1))
                row, col = np.nonzero(good[i] & (drawn[i] < share))
                xs.append(x[i, :, row, col].T)
                seens.append(seen[0, :, row, col].T)
                tiles.append(np.broadcast_to(origin, (len(row), 2)))
        return torch.cat(xs), torch.cat(seens), np.concatenate(tiles)

    def batches(self, where: Indices, epoch: int, at_least: int) -> list[Indices]:
        """Numbers of the drawn pixels, shuffled, in turn until there are `at_least` batches."""
        count = len(self.x)
        size = min(self.pixels, count)
        wanted = max(count // size, at_least) * size
        # each round is all pixels in a new order: none comes twice before all came once
        rounds = [
            np.random.default_rng([self.feed.seed, 2, epoch, i]).permutation(count)
            for i in range(-(-wanted // count))
        ]
        order = np.concatenate(rounds)[:wanted]
        return [order[start : start + size] for start in range(0, wanted, size)]

    def training(self, which: Indices, epoch: int, step: int) -> Batch:
        """A batch of drawn pixels."""
        return self._batch(self.x, self.seen, torch.from_numpy(which))

    def plain(self, where: Indices) -> Iterator[Batch]:
        """The held-out pixels."""
        for which in torch.arange(len(self.check_x)).split(65_536):
            yield self._batch(self.check_x, self.check_seen, which)

    def tiles(self, which: Indices) -> list[str]:
        """The tiles that pixels were drawn from, for messages."""
        return self.feed.tiles(np.unique(self.origin[which], axis=0))

    def _batch(self, x: Tensor, seen: Tensor, which: Tensor) -> Batch:
        which = which.to(x.device)
        ones = torch.ones(1, 1, len(which), 1, device=x.device)
        # A row a pixel, for rows are gathered nine times as fast as columns; the batch has them as columns.
        picked, around = (z.index_select(0, which).T.contiguous()[None, ..., None] for z in (x, seen))
        return picked, around, ones
