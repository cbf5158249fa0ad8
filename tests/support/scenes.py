"""Scenes made in code, on disk and in memory, and what happens to files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import rasterio
from affine import Affine

from satae.tiles import store

UTM = Affine(10, 0, 500_000, 0, -10, 5_200_000)
MakeScene = Callable[..., Path]
MakeTiles = Callable[..., store.TileSet]


def spoil(path: Path, *places: tuple[int, int], cut: float | None = None) -> Path:
    """Overwrite the start of some blocks (row, col), or cut the file off."""
    with rasterio.open(path) as dataset:
        offsets = [int(dataset.get_tag_item(f"BLOCK_OFFSET_{c}_{r}", "TIFF", bidx=1)) for r, c in places]
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(content if cut is None else content[: int(len(content) * cut)])
    return path
