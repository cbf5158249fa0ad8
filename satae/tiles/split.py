"""Chooses which tiles are learned from and which are held out: spatial blocks, so that neighbours stay together."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from satae.console import quantity
from satae.errors import TilesError
from satae.tiles.store import TileSet

FEWEST_HELD_OUT = 2  # tiles
WEIGHT = 3  # times that a tile is learned from which holds a region found to be normal
PATCH = 4  # tiles a side of what a sample takes together
FEWEST_BLOCKS = 30  # blocks are made smaller until there are as many, or until they are single tiles


@dataclass(frozen=True)
class Split:
    """Tiles as (set, tile) pairs, each array (n, 2); `blocks` is the number of held-out blocks.

    No training tile shares a pixel with a held-out one. `normal` are the tiles, of both sides, that an analyst
    found to hold a normal region: they are in `train` WEIGHT times where they are in it.
    """

    train: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    blocks: int
    block_tiles: int
    normal: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @property
    def calibrating(self) -> npt.NDArray[np.int64]:
        """The tiles of the calibration sample: those held out, and those found to be normal."""
        return np.unique(np.concatenate([self.held_out, self.normal]), axis=0)


def split(
    sets: Sequence[TileSet], *, share: float, block: int, seed: int, sample: int | None = None
) -> Split:
    """Hold out about `share` of the tiles in square blocks of up to `block` tiles a side, drawn at random.

    Of each set no more than `sample` tiles are used by either side, chosen as `satae tile --sample` does.
    With overlapping tiles those that straddle the border of a held-out block are used by neither side.
    Raises TilesError where two held-out tiles would leave none to learn from.
    """
    used = [_used(tiles, sample) for tiles in sets]
    while True:
        # smaller blocks where there are few: the split is drawn among them, and the calibration counts them
        ids = [_block_ids(s, i, block) for i, s in enumerate(sets)]
        blocks = np.unique(
            np.concatenate([b[inside & own] for (b, inside), own in zip(ids, used, strict=True)]), axis=0
        )
        if block == 1 or len(blocks) >= FEWEST_BLOCKS:
            break
        block -= 1
    # 0 names this stream of draws: the sample and the batches use others
    order = np.random.default_rng([seed, 0]).permutation(blocks)
    wanted = min(round(share * len(blocks)), len(blocks) - 1)
    # as many blocks as asked for, or more until two tiles are whole in them
    for count in range(max(1, wanted), len(blocks)):
        chosen = {tuple(int(v) for v in b) for b in order[:count]}
        train, held_out = _sides(sets, ids, used, chosen, block)
        if len(held_out) >= FEWEST_HELD_OUT and len(train):
            # regions that an analyst found normal are learned from more often: mistakes that must not come again
            normal = {(i, tile) for i, s in enumerate(sets) for tile in s.heed.normal}
            again = _pairs(pair for pair in map(tuple, train.tolist()) if pair in normal)
            learned = np.concatenate([train, *[again] * (WEIGHT - 1)])
            return Split(learned, held_out, count, block, _pairs(sorted(normal)))
    raise TilesError(
        f"{quantity(sum(len(s) for s in sets), 'tile')} cannot be split into {FEWEST_HELD_OUT} held out and the "
        "rest, which is learned from; cut smaller ones with --size, or add scenes"
    )


def spread_evenly(where: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Up to `count` of some tiles, in order, from the first to the last."""
    return np.asarray(where[np.unique(np.linspace(0, len(where) - 1, count).astype(int))], np.int64)


def _sides(
    sets: Sequence[TileSet],
    ids: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]],
    used: list[npt.NDArray[np.bool_]],
    chosen: set[tuple[int, ...]],
    block: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The tiles that touch no chosen block, and those that lie in one."""
    train, held_out = [], []
    for i, tiles in enumerate(sets):
        for tile in np.flatnonzero(used[i]).tolist():
            # no pixel in common with a held-out block; a tile that straddles its border is used by neither side
            if not _touched(tiles, i, tile, block) & chosen:
                train.append((i, tile))
            elif ids[i][1][tile]:
                held_out.append((i, tile))
    return _pairs(train), _pairs(held_out)


def _used(tiles: TileSet, sample: int | None) -> npt.NDArray[np.bool_]:
    """Which tiles of a set may be used (n): those with a valid pixel left, and of them a sample."""
    own = np.ones(len(tiles), bool)
    own[list(tiles.heed.empty)] = False
    if sample is not None and own.sum() > sample:
        step = tiles.record.size - tiles.record.overlap
        there = np.flatnonzero(own)
        order = sorted(
            there.tolist(), key=lambda i: turn(int(tiles.index[i, 0]), int(tiles.index[i, 1]), step)
        )
        own[order[sample:]] = False
    return own


def turn(row: int, col: int, step: int) -> tuple[int, int, int]:
    """The place of a tile in the order in which a sample takes them: whole patches, spread over the scene by a hash.

    Neighbours stay together, for models see what lies around a tile.
    """
    side = PATCH * step
    return zlib.crc32(f"{row // side} {col // side}".encode()), row, col


def _pairs(found: Iterable[tuple[int, int]]) -> npt.NDArray[np.int64]:
    return np.array(list(found), np.int64).reshape(-1, 2)


def _side(tiles: TileSet, block: int) -> int:
    """Side of a block in pixels: `block` tiles and the overlaps between them."""
    return block * (tiles.record.size - tiles.record.overlap) + tiles.record.overlap


def _block_ids(
    tiles: TileSet, number: int, block: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(set, row, col) of the block that holds each tile's first pixel, and whether it holds the whole tile."""
    # blocks lie on a lattice from the first pixel on, whatever tiles were kept
    side = _side(tiles, block)
    first = tiles.index // side
    last = (tiles.index + tiles.record.size - 1) // side
    inside = (first == last).all(axis=1)
    return np.column_stack([np.full(len(first), number), first]), inside


def _touched(tiles: TileSet, number: int, tile: int, block: int) -> set[tuple[int, ...]]:
    """The blocks in which a tile has pixels."""
    side = _side(tiles, block)
    first = tiles.index[tile] // side
    last = (tiles.index[tile] + tiles.record.size - 1) // side
    rows, cols = (range(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    return {(number, r, c) for r in rows for c in cols}
