"""CPU seconds and peak memory of each command on something tiny, beside what its libraries cost to import.

    python benchmarks/startup.py            # a minute; --train for train, score, export and what needs a model

The least of five runs each: other work on the machine adds to CPU time, nothing takes from it. A run before them, not
counted, compiles what is not compiled yet, as installing does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

RUNS = 5
INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
SIDE = 256  # pixels
# Code for a process of its own, which prints what it held at most, in KiB; getrusage would count what its parent held.
PEAK = """
import atexit, sys
def peak():
    with open("/proc/self/status") as status:
        print("PEAK", next(line.split()[1] for line in status if line.startswith("VmHWM:")), file=sys.stderr)
atexit.register(peak)
"""
SATAE = PEAK + "from satae.cli.app import main\nmain()"
PEERS = (
    "pass",
    "import typer",
    "import rasterio",
    "import numpy, rasterio, pyproj, shapely, typer, pydantic",
)
QUICK = ("--version", "--help", "tile scene.tif --overwrite", "info scene.tif", "info tiles/scene")
TRAINED = (
    "train --set model.name=rx --overwrite", "info model.onnx", "score scene.tif --overwrite", "info anomalies.gpkg",
)  # fmt: skip


def cost(folder: Path, program: str, *words: str) -> tuple[float, float]:
    """(CPU seconds, user and system; peak in MB) of a Python program."""
    before = os.times()
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, cwd=folder, env=INSTALLED, capture_output=True, text=True, check=True)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    peak = next(line for line in done.stderr.splitlines()[::-1] if line.startswith("PEAK"))
    return seconds, int(peak.split()[1]) / 1000


def show(folder: Path, name: str, program: str, *words: str, runs: int = RUNS) -> None:
    """Print a row."""
    if runs > 1:
        cost(folder, program, *words)
    costs = [cost(folder, program, *words) for _ in range(runs)]
    print(f"{min(c[0] for c in costs):6.2f} s {max(c[1] for c in costs):5.0f} MB  {name}", flush=True)


def main() -> None:
    """Print a row a peer and a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    more = TRAINED if parser.parse_args().train else ()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        image = np.random.default_rng(0).normal(1000, 100, (4, SIDE, SIDE)).astype(np.uint16)
        kind = {
            "driver": "GTiff",
            "count": 4,
            "height": SIDE,
            "width": SIDE,
            "dtype": "uint16",
            "crs": "EPSG:32632",
        }
        with rasterio.open(
            folder / "scene.tif", "w", transform=Affine(10, 0, 5e5, 0, -10, 5e6), **kind
        ) as out:
            out.write(image)
        for program in PEERS:
            show(folder, f'python -c "{program}"', PEAK + program)
        for line in (*QUICK, *more):
            show(folder, f"satae {line}", SATAE, *line.split(), runs=1 if line.startswith("train") else RUNS)


if __name__ == "__main__":
    main()
