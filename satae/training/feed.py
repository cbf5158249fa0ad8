"""Feeds batches of tiles to a device, as they are or varied, and draws the training sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from satae.config import Recipe
from satae.detector.graph import Input
from satae.grid import Window
from satae.tiles.split import Split, spread_evenly
from satae.tiles.store import TileSet, rest
from satae.training.augment import Augmenter

SAMPLE_BYTES = 128 * 2**20  # of float64 pixels from which the normaliser is fitted
LOOKED_PIXELS = (
    16_000_000  # among which they are drawn, and noise is looked for: more tiles would be read in vain
)
CELL = 16  # pixels a side of the cells in which noise is looked for
CALM = 0.25  # the share of cells that are calm enough to show it
SAMPLE_PIXELS = 2_000_000  # to which models and heads are fitted in closed form
PIECE = 256  # pixels a side of the squares in which neighbouring tiles of that sample are looked at together

Batch = tuple[Tensor, Tensor, Tensor]
"""x (N, K, H, W), `valid` and `chosen` (N, 1, H, W): the pixels that count, without those seen around them."""


def pixel_sample(sets: Sequence[TileSet], where: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """Valid pixels (n, B) of the given (set, tile) pairs: all, or an even random share of them within SAMPLE_BYTES."""
    bands, where = len(sets[0].record.bands), _looked(sets, where)
    total = sum(int(sets[s].valid[t].sum()) for s, t in where)
    share = min(1.0, SAMPLE_BYTES / 8 / bands / max(total, 1))
    parts = []
    for s, t in where:
        # (n, B), at most a tile at a time
        pixels = sets[s].images[t][:, sets[s].valid[t]].T
        # drawn by (seed, stream, set, tile): the same pixels whatever other tiles there are
        if share < 1:
            pixels = pixels[np.random.default_rng([seed, 1, s, t]).random(len(pixels)) < share]
        parts.append(pixels.astype(np.float64))
    rest(sets)
    return np.concatenate(parts)


def _looked(sets: Sequence[TileSet], where: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of (set, tile) pairs all, or as many as have LOOKED_PIXELS, from the first to the last."""
    most = max(2, LOOKED_PIXELS // sets[0].record.size ** 2)
    return where if len(where) <= most else spread_evenly(where, most)


def shuffled_batches(
    where: npt.NDArray[np.int64], size: int, wanted: int, seed: Sequence[int]
) -> list[npt.NDArray[np.int64]]:
    """Batches of `size` (the last may be smaller) of `wanted` samples: all in shuffled order, again and again."""
    turns = -(-wanted // len(where))
    # each turn is all samples in an order of its own: none comes again before all have come
    order = np.concatenate([np.random.default_rng([*seed, i]).permutation(where) for i in range(turns)])[
        :wanted
    ]
    return [order[start : start + size] for start in range(0, wanted, size)]


def noise(sets: Sequence[TileSet], where: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Standard deviation of the noise of each band (B), in DN, on calm ground.

    In cells of CELL pixels a side, the mean absolute second difference along rows, as that of Gaussian noise
    (Immerkaer 1996, who takes the whole image); of all whole cells the quantile CALM, so that texture and edges
    are not taken for noise. 0 where there is no such cell.
    """
    cells = [_differences(sets[s].images[t], sets[s].valid[t]) for s, t in _looked(sets, where)]
    rest(sets)
    # mean |d| of a Gaussian is sqrt(2 / pi) deviations, and d has 1 + 2 / 4 = 1.5 times the variance of the noise
    found = np.concatenate(cells) * math.sqrt(math.pi / 2 / 1.5)
    if not len(found):
        return np.zeros(len(sets[0].record.bands))
    return np.asarray(np.quantile(found, CALM, axis=0), np.float64)


def _differences(image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean absolute second differences (cells, B) of an image (B, row, col) over its cells without invalid pixels."""
    rows, cols = (side // CELL for side in valid.shape)
    known = np.where(valid, image, 0).astype(np.float64)
    # (B, rows, CELL, cols, CELL)
    cut = known[:, : rows * CELL, : cols * CELL].reshape(len(known), rows, CELL, cols, CELL)
    # cells without a gap alone: at an edge of nodata the difference is no noise
    whole = valid[: rows * CELL, : cols * CELL].reshape(rows, CELL, cols, CELL).all(axis=(1, 3))
    second = np.abs(cut[..., 1:-1] - (cut[..., :-2] + cut[..., 2:]) / 2).mean(axis=(2, 4))
    return np.asarray(second[:, whole].T, np.float64)


class Feed:
    """Tiles with `context` pixels around them, of which held-out tiles are invalid while it is learned."""

    def __init__(
        self,
        sets: Sequence[TileSet],
        inputs: Input,
        recipe: Recipe,
        chosen: Split,
        device: torch.device,
        context: int = 0,
    ) -> None:
        self.sets, self.inputs, self.device, self.context = sets, inputs, device, context
        self.chosen, self.seed, self.batch = chosen, recipe.train.seed, recipe.train.batch
        crop, around = recipe.augment.crop, 2 * context  # a crop is of a tile, with its context around
        settings = recipe.augment.model_copy(update={"crop": crop + around if crop else 0})
        self.augment = Augmenter(settings, sets[0].record.size + around)
        # held-out tiles by set: what they hold is hidden while neighbours are learned from
        self._held_out = [chosen.held_out[chosen.held_out[:, 0] == i, 1] for i in range(len(sets))]

    def batches(self, where: npt.NDArray[np.int64], epoch: int, at_least: int) -> list[npt.NDArray[np.int64]]:
        """Training tiles of an epoch, shuffled, in turn until there are `at_least` batches."""
        batch = min(self.batch, len(where))
        return shuffled_batches(where, batch, max(len(where), at_least * batch), [self.seed, 2, epoch])

    def training(self, where: npt.NDArray[np.int64], epoch: int, step: int) -> Batch:
        """A batch, augmented."""
        scaled, masks = self._read(where, hide=True)
        varied, masks = self.augment(scaled.numpy(), masks, (self.seed, 3, epoch, step))
        # augmentation moves pixels of the tile into its context and back: what lies in the rim is seen and not learned
        rim = _rim(masks.shape[-1], self.context)
        masks = np.where(rim, np.minimum(masks, 1), masks)
        return self._placed(torch.from_numpy(varied), masks)

    def plain(
        self, where: npt.NDArray[np.int64], *, hide: bool = False, batch: int | None = None
    ) -> Iterator[Batch]:
        """All the given tiles in order, as they are; with `hide`, without what held-out tiles hold."""
        size = batch or self.batch
        for start in range(0, len(where), size):
            yield self._placed(*self._read(where[start : start + size], hide=hide))

    def sample(self) -> Iterator[Batch]:
        """Training tiles as they are, piece by piece, in the same order each time: all, or about SAMPLE_PIXELS."""
        for s, tiles in self.pieces:
            image, mask = self._around(s, tiles, hide=True)
            scaled = self.inputs.scale(torch.from_numpy(image[None].astype(np.float32)))
            yield self._placed(scaled, mask[None])
        rest(self.sets)

    @cached_property
    def pieces(self) -> list[tuple[int, npt.NDArray[np.int64]]]:
        """What `sample` is made of: tile sets by number, each with the tiles (n) of it that are one piece.

        Of small tiles each would come with ten times its own area around it, so neighbours share what is around
        them. A tile that is learned from several times is in as many pieces.
        """
        where, times = np.unique(self.chosen.train, axis=0, return_counts=True)
        found = []
        for again in range(int(times.max(initial=0))):
            pairs = where[times > again]
            starts = np.array([self.sets[s].index[t] for s, t in pairs]).reshape(-1, 2)
            # neighbours by cells of PIECE pixels; without context tiles share nothing
            keys = np.column_stack([pairs[:, 0], starts // PIECE]) if self.context else pairs
            kind = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
            ends = np.flatnonzero(np.diff(np.sort(kind))) + 1
            found += np.split(pairs[np.argsort(kind, kind="stable")], ends)
        # drawn at random, then in order again: memory maps are read from front to back
        order, pixels, most = np.random.default_rng([self.seed, 4]).permutation(len(found)), 0, []
        for i in order:
            most.append(i)
            pixels += len(found[i]) * self.sets[0].record.size ** 2
            if pixels >= SAMPLE_PIXELS:
                break
        return [(int(found[i][0, 0]), found[i][:, 1]) for i in sorted(most)]

    def some(self, where: npt.NDArray[np.int64], pixels: int) -> npt.NDArray[np.int64]:
        """Tiles of about so many pixels in all, evenly drawn, in order; all where there are fewer."""
        most = max(2, -(-pixels // self.sets[0].record.size ** 2))
        if len(where) <= most:
            return where
        picked = np.random.default_rng([self.seed, 4]).choice(len(where), most, replace=False)
        return where[np.sort(picked)]

    def tiles(self, where: npt.NDArray[np.int64]) -> list[str]:
        """What a batch is made of, for messages."""
        named = ((self.sets[s].record.scene, self.sets[s].index[t]) for s, t in where)
        return [f"{scene} row {row} col {col}" for scene, (row, col) in named]

    def _read(self, where: npt.NDArray[np.int64], *, hide: bool) -> tuple[Tensor, npt.NDArray[np.uint8]]:
        """Tiles scaled to [0, 1], on the CPU, and their masks (N, H, W): 1 = valid, 2 = valid and chosen."""
        pairs = [self._tile(int(s), int(t), hide=hide) for s, t in where]
        images = np.stack([image for image, _ in pairs]).astype(np.float32)
        return self.inputs.scale(torch.from_numpy(images)), np.stack([mask for _, mask in pairs])

    def _tile(self, s: int, t: int, *, hide: bool) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        if not self.context:
            return self.sets[s].images[t], self.sets[s].valid[t] * np.uint8(2)
        return self._around(s, np.array([t]), hide=hide)

    def _around(
        self, s: int, tiles: npt.NDArray[np.int64], *, hide: bool
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        """The smallest window (B, row, col) that holds tiles of a set, with its context, and its mask."""
        store = self.sets[s]
        first, last = store.index[tiles].min(axis=0), store.index[tiles].max(axis=0) + store.record.size
        window = Window(int(first[0]), int(first[1]), *map(int, last - first)).with_margin(self.context)
        # the scene itself around the tiles, out of the other tiles of the set
        image, valid = store.read(window)
        mask = valid.astype(np.uint8)
        if hide:
            self._mark(mask, s, self._held_out[s], window, 0)
        self._mark(mask, s, tiles, window, 2)
        return image, mask

    def _mark(
        self, mask: npt.NDArray[np.uint8], s: int, tiles: npt.NDArray[np.int64], window: Window, value: int
    ) -> None:
        """Set the valid pixels of tiles, as far as they lie in a window, to a value."""
        start = self.sets[s].index[tiles]
        touching = (start + self.sets[s].record.size > (window.row, window.col)) & (start < window.stop)
        for tile in tiles[touching.all(axis=1)]:
            part = self.sets[s].window(int(tile)).within(window)
            assert part is not None
            known = mask[part.slices(window)]
            known[known > 0] = value

    def _placed(self, scaled: Tensor, masks: npt.NDArray[np.uint8]) -> Batch:
        valid = torch.from_numpy((masks[:, None] > 0).astype(np.float32))
        chosen = torch.from_numpy((masks[:, None] > 1).astype(np.float32))
        x = self.inputs.features(scaled, valid)
        return x.to(self.device), valid.to(self.device), chosen.to(self.device)


def _rim(side: int, width: int) -> npt.NDArray[np.bool_]:
    """The outermost `width` pixels of a square (side, side)."""
    inner = np.zeros((side - 2 * width,) * 2, bool)
    return np.pad(inner, width, constant_values=True)
