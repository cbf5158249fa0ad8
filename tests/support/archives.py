"""Made-up CIFAR-10: small batches in the distributed formats."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt

from satae.bench.cifar import BATCHES

Batches = dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]


def batches(count: int, seed: int = 0) -> Batches:
    """By name: images (count, 3, 32, 32), smooth and coloured by their class, and classes 0 to 9 in turn."""
    rng, made = np.random.default_rng(seed), {}
    for name in BATCHES:
        classes = (np.arange(count) % 10).astype(np.uint8)
        coarse = rng.normal(128, 40, (count, 3, 4, 4)) + 6.0 * classes[:, None, None, None]
        images = np.kron(coarse, np.ones((8, 8))) + rng.normal(0, 4, (count, 3, 32, 32))
        made[name] = np.clip(images, 0, 255).astype(np.uint8), classes
    return made


def write_binary(folder: Path, made: Batches) -> None:
    """As cifar-10-batches-bin."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, classes) in made.items():
        records = np.hstack([classes[:, None], images.reshape(len(images), -1)])
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def write_python(folder: Path, made: Batches, protocol: int = 2) -> None:
    """As cifar-10-batches-py."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, classes) in made.items():
        content = {
            "batch_label": name,
            "labels": classes.tolist(),
            "data": images.reshape(len(images), -1),
            "filenames": [f"{i}.png" for i in range(len(images))],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol))
