"""What takes seconds to make and many tests only read: made once a run, by the process that first asks for it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from satae import config
from satae.tiles import store
from satae.training import run as training


@dataclass(frozen=True)
class Shared:
    """A folder that all processes of a run share; what lies in it is to be left as it is."""

    root: Path

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder `name` below the root, filled by `make` unless another process or test has done so."""
        folder = self.root / name
        with FileLock(self.root / f"{name}.lock"):
            done = self.root / f"{name}.done"
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    def trained(self, tiles: Path, *changes: str) -> Path:
        """The folder with model.onnx and runs/model, as `satae train` makes them of a recipe in a fixed hour."""

        def train(folder: Path) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SOURCE_DATE_EPOCH", "0")
                sets, recipe = [store.load(tiles)], config.load(None, [*changes])
                training.train(sets, recipe, folder / "model.onnx", folder / "runs" / "model", device="cpu")

        recipe = hashlib.sha256("\n".join([str(tiles), *changes]).encode()).hexdigest()
        return self.made(f"model-{recipe[:8]}", train)

    def areas(self, tiles: Path) -> Path:
        """A model file that looks for areas in scenes like these tiles."""
        return self.trained(tiles, "target.kind=area") / "model.onnx"


def run_of(model: Path) -> Path:
    """The run folder of a model that was trained so."""
    return model.parent / "runs" / "model"


def root(factory: pytest.TempPathFactory) -> Path:
    """The folder for all processes of this run: with xdist each has its own below it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder
