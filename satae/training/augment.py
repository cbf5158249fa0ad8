"""Varies copies of training tiles: flips, turns, crops, gain and noise; the only door to albumentations.

Geometric changes move image and mask together. Gain and noise work on images scaled to [0, 1], to which
albumentations clips; data outside that range would be ruined (pinned by a test).
"""

from __future__ import annotations

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import albumentations as A

from satae.config import AugmentSettings
from satae.errors import ConfigError

SMALLEST_CROP = 16  # pixels; batch norm needs more than one number a channel in the smallest layer


class Augmenter:
    """Varies batches, reproducibly: the same `key` gives the same changes."""

    def __init__(self, settings: AugmentSettings, size: int) -> None:
        if settings.crop and not SMALLEST_CROP <= settings.crop <= size:
            raise ConfigError(
                f"augment.crop = {settings.crop} is neither 0 (none) nor from {SMALLEST_CROP} to {size}, the "
                "side of the tiles"
            )
        moves: list[A.BasicTransform] = []
        if settings.crop:
            moves.append(A.RandomCrop(settings.crop, settings.crop))
        if settings.flip:
            moves.append(A.Transpose(p=0.5))  # the mirror image that works beyond OpenCV's 128 channels
        if settings.turn:
            moves.append(A.RandomRotate90(p=0.75))
        values: list[A.BasicTransform] = []
        if settings.gain:
            values.append(A.MultiplicativeNoise(multiplier=(1 - settings.gain, 1 + settings.gain), p=1.0))
        if settings.noise:
            values.append(A.GaussNoise(std_range=(0.0, settings.noise), p=1.0))
        self._moves, self._values = A.Compose(moves), A.Compose(values)

    def __call__(
        self, images: npt.NDArray[np.float32], masks: npt.NDArray[Any], key: tuple[int, ...]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Images (N, B, H, W) in [0, 1] and masks (N, H, W, one byte), each tile changed in its own way."""
        # from (seed, stream, epoch, step): a resumed run sees the same changes
        seeds = np.random.SeedSequence(key).generate_state(2)
        self._moves.set_random_seed(int(seeds[0]))
        self._values.set_random_seed(int(seeds[1]))
        pairs = [self._varied(image, mask) for image, mask in zip(images, masks, strict=True)]
        return np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])

    def _varied(
        self, image: npt.NDArray[np.float32], mask: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        # (row, col, band), as albumentations wants it
        moved = self._moves(image=image.transpose(1, 2, 0), mask=mask.view(np.uint8))
        height, width, bands = moved["image"].shape
        # as one wide band: noise of many channels is beyond OpenCV, and gain is one factor a tile
        flat = self._values(image=moved["image"].reshape(height, width * bands, 1))["image"]
        return flat.reshape(height, width, bands).transpose(2, 0, 1), moved["mask"].astype(mask.dtype)
