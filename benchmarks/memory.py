"""Peak memory of `satae score` on sparse scenes of growing size.

    python benchmarks/memory.py [SIDE ...]        default: 3000 12000 40000 (pixels a side)

Each scene has four uint16 bands, nodata 0 and 300 blocks of 256 x 256 pixels cut from the made-up landscape, spread
at random; all other blocks are absent from the file. The model is trained for two epochs on the landscape. Prints
wall time and the largest resident set of the scoring process, as the operating system counts it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

from satae.demo import run as demo
from satae.demo import synthetic

BLOCKS, SIZE = 300, 256


def sparse_scene(path: Path, side: int, land: np.ndarray) -> None:
    """Write the scene; blocks that hold nothing take no room in the file."""
    kind = {"driver": "GTiff", "count": 4, "height": side, "width": side, "dtype": "uint16", "nodata": 0}
    layout = {"tiled": True, "blockxsize": SIZE, "blockysize": SIZE, "compress": "deflate", "SPARSE_OK": True}
    rng = np.random.default_rng(0)
    per_row = side // SIZE
    places = rng.choice(per_row**2, min(BLOCKS, per_row**2), replace=False)
    with rasterio.open(path, "w", **kind, **layout, crs=demo.CRS, transform=demo.ORIGIN) as out:
        for place in places:
            row, col = rng.integers(0, land.shape[1] - SIZE), rng.integers(0, land.shape[2] - SIZE)
            window = rasterio.windows.Window(place % per_row * SIZE, place // per_row * SIZE, SIZE, SIZE)
            out.write(land[:, row : row + SIZE, col : col + SIZE], window=window)


def run(folder: Path, *words: str) -> tuple[float, float]:
    """Wall seconds and peak MB of a command."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "satae", "-q", *words], cwd=folder)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"satae {words[0]} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1e3


def main() -> None:
    sides = [int(word) for word in sys.argv[1:]] or [3000, 12000, 40000]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = synthetic.scene()
        demo.write(made, folder / "scene.tif")
        run(folder, "tile", "scene.tif")
        run(folder, "train", "--epochs", "2")
        for side in sides:
            sparse_scene(folder / f"s{side}.tif", side, made.image)
            wall, peak = run(folder, "score", f"s{side}.tif", "--out", f"s{side}.gpkg")
            print(f"{side} x {side} pixels: {wall:.0f} s, peak {peak:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
