"""Scenes made in code, on disk and in memory, and what happens to files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from satae.grid import Grid
from satae.tiles import store

UTM = Affine(10, 0, 500_000, 0, -10, 5_200_000)
MakeScene = Callable[..., Path]


def spoil(path: Path, *places: tuple[int, int], cut: float | None = None) -> Path:
    """Overwrite the start of some blocks (row, col), or cut the file off."""
    with rasterio.open(path) as dataset:
        offsets = [int(dataset.get_tag_item(f"BLOCK_OFFSET_{c}_{r}", "TIFF", bidx=1)) for r, c in places]
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(content if cut is None else content[: int(len(content) * cut)])
    return path


def make_tiles(
    image: np.ndarray, valid: np.ndarray | None = None, *, size: int = 32, overlap: int = 0
) -> store.TileSet:
    """Cut an image (band, row, col) into a tile set that is held in memory."""
    bands, height, width = image.shape
    valid = np.ones((height, width), bool) if valid is None else valid
    windows = list(Grid(height, width, UTM, None).tiles(size, overlap))
    images = np.zeros((len(windows), bands, size, size), image.dtype)
    valids = np.zeros((len(windows), size, size), bool)
    for i, w in enumerate(windows):
        inside = slice(w.row, w.row + size), slice(w.col, w.col + size)
        part = valid[inside]
        valids[i, : part.shape[0], : part.shape[1]] = part
        images[i, :, : part.shape[0], : part.shape[1]] = image[:, *inside]
    record = store.Record(
        scene="made", files=[], sha256="", bands=[f"b{i + 1}" for i in range(bands)],
        dtype=str(image.dtype), scales=[1.0] * bands, offsets=[0.0] * bands, size=size, overlap=overlap,
        min_valid=0, height=height, width=width, transform=list(UTM)[:6], crs=None, aoi=None, mask=None,
        nodata=None, tiles=len(windows), left_out=0, valid_pixels=int(valids.sum()), left_out_pixels=0,
    )  # fmt: skip
    index = np.array([(w.row, w.col) for w in windows], np.int64)
    return store.TileSet(Path("made"), record, images, valids, index)
