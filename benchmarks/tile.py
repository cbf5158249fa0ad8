"""`satae tile` beside gdal_retile.py on one scene of 4096 x 4096 x 4 pixels, tiles of 256: CPU seconds and peaks.

    python benchmarks/tile.py

Both are run in turn, five times each; the least counts, since other work on the machine only adds. What it costs to
start is in both. Where gdal_retile.py is not installed, satae runs alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

SIDE, BANDS, TILE, RUNS = 4096, 4, 256, 5
# Code for a process of its own: a child of this one would count what this one holds among its own.
MEASURE = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
assert status == 0, status
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)
"""


def cost(folder: Path, *command: str) -> tuple[float, float]:
    """(CPU seconds, user and system; peak in MB) of a command."""
    measured = [sys.executable, "-S", "-c", MEASURE, *command]
    seconds, peak = subprocess.run(
        measured, cwd=folder, capture_output=True, text=True, check=True
    ).stdout.split()
    return float(seconds), float(peak)


def scene(path: Path) -> None:
    """Write noise in blocks of 256 pixels, uncompressed."""
    kind = {
        "driver": "GTiff",
        "count": BANDS,
        "height": SIDE,
        "width": SIDE,
        "dtype": "uint16",
        "crs": "EPSG:32632",
    }
    blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    rng = np.random.default_rng(0)
    with rasterio.open(path, "w", transform=Affine(10, 0, 5e5, 0, -10, 5e6), **kind, **blocks) as out:
        for band in range(1, BANDS + 1):
            out.write(rng.normal(1000, 100, (SIDE, SIDE)).astype(np.uint16), band)


def main() -> None:
    """Print both, and the ratio."""
    peer = shutil.which("gdal_retile.py")
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scene(folder / "scene.tif")
        for run in range(RUNS):
            if peer:
                os.mkdir(folder / f"retiled-{run}")
                size = ("-ps", str(TILE), str(TILE), "-targetDir", f"retiled-{run}")
                theirs.append(cost(folder, peer, "-q", *size, "scene.tif"))
                shutil.rmtree(folder / f"retiled-{run}")
            line = ("tile", "scene.tif", "--size", str(TILE), "--out", f"tiles-{run}")
            ours.append(cost(folder, sys.executable, "-m", "satae", "-q", *line))
            shutil.rmtree(folder / f"tiles-{run}")
    for name, costs in (("gdal_retile.py", theirs), ("satae tile", ours)):
        if costs:
            print(f"{min(c[0] for c in costs):6.2f} s {max(c[1] for c in costs):5.0f} MB  {name}")
    if theirs:
        print(f"satae takes {min(ours)[0] / min(theirs)[0]:.2f} times the CPU of gdal_retile.py")


if __name__ == "__main__":
    main()
