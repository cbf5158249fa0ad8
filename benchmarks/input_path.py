"""Samples a second and core of the input path of image sets beside a torch DataLoader with albumentations.

    python benchmarks/input_path.py [--images 20000] [--batch 256] [--rounds 3]

Both shift by up to 4 pixels with 0 around, mirror half of the images, and give float32 in [0, 1], in batches of
the same size. One thread each, no worker processes: seconds of processor time, so that a busy machine does not
matter. The best of the rounds counts, which take turns. Images are noise; neither path looks at them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import albumentations as A
    import cv2

from satae import config
from satae.bench.images import Images

PAD = 4


class Augmented(Dataset):  # type: ignore[type-arg]
    """Images (n, 32, 32, 3) as is usual: one at a time through a composition of albumentations."""

    def __init__(self, pixels: Any) -> None:
        self.pixels = pixels
        self.moves = A.Compose(
            [A.Pad(PAD), A.RandomCrop(32, 32), A.HorizontalFlip(p=0.5), A.ToFloat(255.0), A.ToTensorV2()]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, number: int) -> torch.Tensor:
        found: torch.Tensor = self.moves(image=self.pixels[number])["image"]
        return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    pixels = np.random.default_rng(0).integers(0, 256, (options.images, 3, 32, 32), dtype=np.uint8)
    loader = DataLoader(
        Augmented(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))),
        options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=0,
    )
    recipe = config.load(None, [f"images.pad={PAD}", f"train.batch={options.batch}"])
    ours = Images(pixels, recipe, torch.device("cpu"))

    def satae() -> int:
        batches = ours.batches(np.arange(len(pixels)), 0, 1)
        return sum(len(ours.training(where, 0, step)[0]) for step, where in enumerate(batches))

    def peer() -> int:
        return sum(len(x) for x in loader)

    rates = {path.__name__: 0.0 for path in (satae, peer)}
    for _ in range(options.rounds):
        for path in (satae, peer):
            rates[path.__name__] = max(rates[path.__name__], _rate(path))
    print(f"satae                        {rates['satae']:>10.0f} samples/s and core")
    print(f"DataLoader, albumentations {A.__version__:<8}{rates['peer']:>5.0f} samples/s and core")
    print(f"ratio                        {rates['satae'] / rates['peer']:>10.1f}")


def _rate(path: Callable[[], int]) -> float:
    started = time.process_time()
    return path() / (time.process_time() - started)


if __name__ == "__main__":
    main()
