"""benchmarks/speed.py: the autoencoder that it compares with covers a scene, tile by tile."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("bands", [4, 205])
def test_every_pixel_has_the_error_of_the_tiles_that_hold_it(bands: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the script does, and taken back afterwards
    monkeypatch.syspath_prepend(SCRIPTS)
    speed = importlib.import_module("speed")
    image = torch.rand(bands, 48, 40)
    assert speed.autoencoder(bands)(image[None]).shape == (1, bands, 48, 40)
    monkeypatch.setattr(speed, "TILE", 16)
    error = speed.reconstruction_error(lambda tile: tile - 0.5, image)
    assert error.shape == (48, 40) and torch.allclose(error, torch.tensor(0.25))
