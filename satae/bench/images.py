"""Feeds batches of small images that lie on the device as bytes, and shifts and mirrors them there.

A source of `train.descend`. What is drawn follows from (seed, epoch, step), as everywhere. An image is R, G, B
in [0, 1]; a recipe can bring it to a common contrast, and ask for its restoration: shown grey and in a quarter
turn, wanted as it was (attribute restoration, Fei et al. 2020).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from satae.config import Recipe
from satae.training.feed import Batch, shuffled_batches

TURNS = 4
LUMA = (0.299, 0.587, 0.114)  # of R, G, B in grey (ITU-R BT.601)
FLAT = 0.02  # standard deviation under which an image counts as noise and is not brought to full contrast
PLAIN = 1000  # images a batch where none is learned from

Indices = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class Images:
    """Images (n, 3, S, S) uint8 by number, with what the recipe does to them; see `train.Source`.

    A batch is the image that is wanted, x (N, 3, S, S), what the model is shown beside it, and ones
    (N, 1, S, S): ones again, or, where it is to restore, the image that it is shown, (N, 3, S, S).
    """

    def __init__(self, pixels: Bytes, recipe: Recipe, device: torch.device) -> None:
        self.settings, self.seed, self.batch = recipe.images, recipe.train.seed, recipe.train.batch
        self.store = Store(pixels, recipe.images.pad, device, mirror=recipe.images.flip)

    def __len__(self) -> int:
        return int(self.store.count)

    def batches(self, where: Indices, epoch: int, at_least: int) -> list[Indices]:
        """Shuffled, in turn until there are `at_least` batches, all of one size: a few wait for another epoch."""
        size = min(self.batch, len(where))
        wanted = max(len(where) // size, at_least) * size
        return shuffled_batches(where, size, wanted, [self.seed, 2, epoch])

    def training(self, where: Indices, epoch: int, step: int) -> Batch:
        """A batch, each image shifted, mirrored and turned by itself as the recipe has it."""
        rng = np.random.default_rng([self.seed, 3, epoch, step])
        corners = rng.integers(0, 2 * self.settings.pad + 1, (2, len(where)))
        mirrored = rng.random(len(where)) < 0.5 * self.settings.flip
        turns = rng.integers(0, TURNS, len(where))
        return self._batch(self.store.cut(where, corners, mirrored), turns)

    def plain(self, where: Indices) -> Iterator[Batch]:
        """The given images in order as they are; those to restore in turns by their number."""
        for start in range(0, len(where), PLAIN):
            part = where[start : start + PLAIN]
            yield self._batch(self._whole(part), part % TURNS)

    def plain_at(self, where: Indices, turn: int) -> Iterator[Batch]:
        """The given images in order, all shown in one turn, 0 to 3."""
        for start in range(0, len(where), PLAIN):
            part = where[start : start + PLAIN]
            yield self._batch(self._whole(part), np.full(len(part), turn))

    def tiles(self, where: Indices) -> list[str]:
        """The numbers of images, for messages."""
        return [f"image {number}" for number in where]

    def sample(self, where: Indices) -> Iterator[Batch]:
        """The images as they are shown, to fit closed forms to."""
        for x, _, counted in self.plain(where):
            yield x, counted, counted

    def _whole(self, where: Indices) -> Tensor:
        corners = np.full((2, len(where)), self.settings.pad)
        return self.store.cut(where, corners, np.zeros(len(where), bool))

    def _batch(self, pixels: Tensor, turns: Indices) -> Batch:
        x = pixels.float().mul_(1 / 255)
        if self.settings.contrast:
            x = unit_contrast(x)
        ones = torch.ones_like(x[:, :1])
        return x, corrupted_view(x, turns) if self.settings.restore else ones, ones


class Store:
    """Images (n, C, S, S) uint8 on a device, with `pad` pixels of 0 around and, if `mirror`, mirrored beside."""

    def __init__(self, pixels: Bytes, pad: int, device: torch.device, *, mirror: bool = True) -> None:
        self.count, self.channels, self.side = pixels.shape[:3]
        both = [pixels, pixels[..., ::-1]] if mirror else [pixels]
        edges = ((0, 0), (0, 0), (pad, pad), (pad, pad))
        self.padded = torch.cat([torch.from_numpy(np.pad(images, edges)).to(device) for images in both])
        self._rows = self.padded.as_strided((self.padded.numel() - self.side + 1, self.side), (1, 1))

    def cut(self, where: Indices, corners: Indices, mirrored: Bools) -> Tensor:
        """(N, C, S, S): the square at (row, col) `corners[:, i]` of image `where[i]`, or of its mirror image.

        A row of such a square lies in one piece, so that one gather of rows does it, whatever is drawn.
        """
        channels, side = self.channels, self.side
        tall, wide = self.padded.shape[-2:]
        first = ((where + self.count * mirrored) * channels * tall + corners[0]) * wide + corners[1]
        along = np.arange(channels)[:, None] * tall + np.arange(side)
        device = self.padded.device
        start, steps = (on(device, a) for a in (first, along.ravel() * wide))
        rows = (start[:, None] + steps).reshape(-1)
        return self._rows.index_select(0, rows).reshape(len(where), channels, side, side)


def on(device: torch.device, numbers: Indices) -> Tensor:
    """The numbers, copied to the device without waiting for it."""
    return torch.from_numpy(np.asarray(numbers)).to(device, non_blocking=True)


def unit_contrast(x: Tensor) -> Tensor:
    """Each image (N, C, H, W) with mean 0 and standard deviation 1 over channels and pixels; see FLAT."""
    centred = x - x.mean(dim=(1, 2, 3), keepdim=True)
    return centred / (centred**2).mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=FLAT)


def corrupted_view(x: Tensor, turns: Indices) -> Tensor:
    """What is to be restored: grey in all three channels, image i in `turns[i]` quarter turns to the left."""
    weights = torch.tensor(LUMA, device=x.device)[:, None, None]
    grey = (x * weights).sum(dim=1, keepdim=True).expand_as(x)
    out, chosen = grey.clone(), on(x.device, turns)
    for turn in range(1, TURNS):
        mask = (chosen == turn)[:, None, None, None]
        out = torch.where(mask, grey.rot90(turn, (2, 3)), out)
    return out
