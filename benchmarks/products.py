"""Products of full size through the three commands, beside the bare decode of what they use: seconds and peak memory.

    python benchmarks/products.py FOLDER [--side 10980] [--kinds sentinel2,emit,prisma,landsat] [--workers 2]

Each product is made up, as its provider delivers it, and kept in FOLDER for the next run. A Sentinel-2 Level-2A .SAFE
has four bands of 10 m in JPEG 2000 without loss, in tiles of 1024 pixels, and its scene classification; an EMIT netCDF
285 bands in chunks with deflate; PRISMA 239 bands; Landsat seven bands. The landscape is that of the demo, mirrored,
with noise of its own in every pixel. `--side` are the rows and columns, those of the real ones where nothing is said.

Every line is a process of its own: wall and CPU seconds, peak in MB. `decode` reads with rasterio or h5py each block
that `satae tile` uses, once, with as many threads, and keeps nothing. `score` is of the product that was tiled, `score
alone` of one that was not. Walls say little on a machine that does other work; CPU seconds are user's and system's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(
    0, str(ROOT / "tests" / "support")
)  # what writes small products for the tests writes large ones

SIDES = {"sentinel2": 10980, "emit": 1280, "prisma": 1000, "landsat": 7680}
CHUNKS = (160, 156, 36)  # rows, columns, bands of EMIT that netCDF stores together
PATCH = 1024  # pixels a side of the landscape, which is mirrored beyond
# Code for a process of its own: a child of this one would count what this one holds among its own.
MEASURE = """
import os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
assert status == 0, status
print(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)
"""


def land(side: int, bands: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Bands (row, col) of a landscape, uint16, one after the other."""
    from satae.demo import synthetic

    rng = np.random.default_rng(seed)
    patch = synthetic.scene(height=PATCH, width=PATCH, seed=seed).image
    at = np.abs((np.arange(side) + PATCH) % (2 * PATCH) - PATCH).clip(0, PATCH - 1)  # there and back again
    for band in range(bands):
        image = patch[band % len(patch)][np.ix_(at, at)].clip(200)
        noise = rng.standard_normal(image.shape, np.float32) * 12
        yield (image + noise).astype(np.uint16)


def sentinel2(folder: Path, side: int) -> Path:
    """A Sentinel-2 product of baseline 05.11, a tenth of it clouds."""
    import deliveries

    names = ("B02_10", "B03_10", "B04_10", "B08_10")
    rows, cols = np.mgrid[: side // 2, : side // 2]
    clouds = np.sin(rows / 170) + np.sin(cols / 230) > 1.2
    classes = np.where(clouds, 9, 4).astype(np.uint8)
    return deliveries.sentinel2(folder, dict(zip(names, land(side, 4), strict=True)), classes=classes)


def landsat(folder: Path, side: int) -> Path:
    """A Landsat product of Level 2."""
    import deliveries

    quality = np.full((side, side), 1 << 6)
    return deliveries.landsat(folder, dict(enumerate(land(side, 7), 1)), quality)


def emit(folder: Path, side: int) -> Path:
    """An EMIT swath that lies askew on its map."""
    import cubes
    import h5py

    wide, bands = side * 1242 // 1280, 285
    rows, cols = np.mgrid[: side * 5 // 4, : side * 3 // 2]
    # a turn by a sixth of a right angle, and back to where it lies in the map
    row, col = 0.966 * rows - 0.259 * cols + side * 0.15, 0.259 * rows + 0.966 * cols - side * 0.3
    inside = (row >= 0) & (row < side) & (col >= 0) & (col < wide)
    table = np.where(inside, [col.astype(int) + 1, row.astype(int) + 1], 0)
    path = cubes.emit(
        folder / "EMIT_L2A_RFL_001_20230316T045133_2307503_005.nc", np.zeros((1, 1, bands)), table
    )
    patch = next(land(side, 1))[:, :wide].astype(np.float32) / 1e4
    rng, slope = np.random.default_rng(1), np.linspace(0.5, 2, bands, dtype=np.float32)
    with h5py.File(path, "a") as file:
        del file["reflectance"]
        cube = file.create_dataset(
            "reflectance", (side, wide, bands), "<f4", compression="gzip", compression_opts=4, shuffle=True,
            chunks=tuple(np.minimum(CHUNKS, (side, wide, bands)).tolist()),
        )  # fmt: skip
        for top in range(0, side, CHUNKS[0]):
            part = patch[top : top + CHUNKS[0], :, None] * slope
            cube[top : top + CHUNKS[0]] = part + 0.003 * rng.standard_normal(part.shape, np.float32)
    return path


def prisma(folder: Path, side: int) -> Path:
    """Both cubes of PRISMA."""
    import cubes

    patch = next(land(side, 1)).astype(np.float32)[:, None]
    rng = np.random.default_rng(1)
    halves = []
    for count in (66, 173):
        scale = np.linspace(1, 8, count, dtype=np.float32)[:, None]
        noise = 20 * rng.standard_normal((side, count, side), np.float32)
        halves.append((patch * scale + noise).clip(1, 65535).astype(np.uint16))
    centres = np.linspace(407, 977, 66).tolist(), np.linspace(943, 2497, 173).tolist()
    return cubes.prisma(
        folder / "PRS_L2D_STD_20230407100729_20230407100733_0001.he5", *halves, centres=centres
    )


MAKERS = {"sentinel2": sentinel2, "emit": emit, "prisma": prisma, "landsat": landsat}


def product(kind: str, folder: Path, side: int) -> Path:
    """The product of that kind and side, made where it is not there."""
    place = folder / f"{kind}-{side}"
    if not place.exists():
        draft = place.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        MAKERS[kind](draft, side)
        draft.rename(place)
    (path,) = place.iterdir()
    return path


def decode(path: Path, workers: int) -> None:
    """Read every stored block of what `satae tile` uses of a product, and keep none."""
    from satae.scene import raster  # GDAL as satae has it

    if path.suffix in (".nc", ".he5"):
        return _chunks(path)
    import rasterio

    files = [f for f in sorted(path.rglob("*")) if f.suffix.lower() in (".jp2", ".tif")]
    with ThreadPoolExecutor(workers) as pool:
        for file in files:
            with rasterio.open(file) as opened:
                windows = [window for _, window in opened.block_windows(1)]
            handles = [rasterio.open(file) for _ in range(workers)]
            parts = [windows[i::workers] for i in range(workers)]
            for done in [pool.submit(partial(_read, *of)) for of in zip(handles, parts, strict=True)]:
                done.result()
    assert raster


def _read(handle: Any, windows: list[Any]) -> None:
    with handle:
        for window in windows:
            handle.read(1, window=window)


def _chunks(path: Path) -> None:
    import h5py

    with h5py.File(path) as file:
        found: list[Any] = []
        file.visititems(lambda _, item: found.append(item) if getattr(item, "ndim", 0) == 3 else None)
        for cube in found:
            if cube.chunks:
                for chunk in cube.iter_chunks():
                    cube[chunk]
            else:
                for row in range(len(cube)):
                    cube[row]


def measured(folder: Path, *command: str) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak in MB) of a command."""
    line = [sys.executable, "-S", "-c", MEASURE, *command]
    said = subprocess.run(line, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    wall, cpu, peak = map(float, said[-3:])
    return wall, cpu, peak


def main() -> None:
    """Print a table a product."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int)
    parser.add_argument("--kinds", default="sentinel2")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", default="decode,tile,train,score,score alone", help="of these, in order")
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.decode:
        decode(options.decode, options.workers)
        return
    for kind in options.kinds.split(","):
        path = product(kind, options.folder, options.side or SIDES[kind]).resolve()
        print(f"{path.parent.name}, {options.workers} threads, load {os.getloadavg()[0]:.1f}", flush=True)
        commands(path, options.workers, options.steps.split(","))


def commands(path: Path, workers: int, steps: list[str]) -> None:
    """Run and print the steps of one product, in a folder beside it that is made anew for `tile`."""
    work, threads = path.parents[1] / f"{path.parent.name}.work", str(workers)
    satae = sys.executable, "-m", "satae", "-q"
    lines = {
        "decode": (sys.executable, __file__, "unused", "--decode", str(path), "--workers", threads),
        "tile": (*satae, "tile", str(path), "--overwrite", "--workers", threads),
        "train": (*satae, "train", "--overwrite"),
        "score": (*satae, "score", str(path), "--overwrite", "--workers", threads),
        "score alone": (*satae, "score", str(path), "--out", "alone.gpkg", "--model", "../model.onnx", "--overwrite",
                        "--workers", threads),
    }  # fmt: skip
    work.mkdir(exist_ok=True)
    (work / "alone").mkdir(exist_ok=True)  # where there are no tiles
    costs: dict[str, tuple[float, float, float]] = {}
    for step in steps:
        costs[step] = measured(work / "alone" if step == "score alone" else work, *lines[step])
        print("{:<12} {:8.1f} s wall {:8.1f} s CPU {:6.0f} MB".format(step, *costs[step]), flush=True)
    if "decode" in costs and "tile" in costs:
        wall, cpu, _ = (a / b for a, b in zip(costs["tile"], costs["decode"], strict=True))
        print(f"tile / decode: {cpu:.2f} times the CPU, {wall:.2f} the wall")


if __name__ == "__main__":
    main()
