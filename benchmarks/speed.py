"""Million pixels a second of one core: the default detectors beside a plain autoencoder and the product of matrices.

    python benchmarks/speed.py [--runs 3] [--set KEY=VALUE ...] [--nodes]

Two made-up scenes are scored, of 4 bands (that of `satae demo`) and of 205. `satae` is what `satae train` makes of
them by default, through ONNX Runtime, reading and halo included; weights say nothing of speed, so a network is
trained for one epoch. `autoencoder` is the common one in torch: convolutions of 32, 64 and 128 channels, each of
stride 2, and back; squared error; tiles of 256 pixels that overlap by half, means where they do. CPU seconds of one
thread, the least of some runs taken in turn. Products of matrices (1024 x 1024, float32) are timed beside them: in
their unit machines can be compared. With --nodes, which operators of the graph take the time.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch, which ask once

import numpy as np
import onnxruntime
import torch
from torch import nn

from satae import config
from satae.bench import contest as bench
from satae.demo import run as demo
from satae.demo import synthetic
from satae.grid import Grid
from satae.inference import runtime
from satae.inference.part import part
from satae.scene import output, raster
from satae.scene.describe import describe
from satae.scene.scene import Scene

MANY, SIDE = 205, 256  # bands of the second scene, pixels a side
TILE, ORDER = 256, 1024  # pixels a side of the autoencoder's tiles; rows of the matrices
LINE = "{:<34}{:>12}{:>12}{:>14}"


def few_bands(path: Path) -> Scene:
    """The scene of the demo."""
    demo.write(synthetic.scene(), path)
    return describe([path])


def many_bands(path: Path) -> Scene:
    """Six materials in smooth patches, and noise."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:SIDE, :SIDE] / 40
    shares = np.stack([1 + np.sin(a * rows + b * cols) for a, b in rng.normal(size=(6, 2))])
    spectra = 1000 + 150 * rng.normal(size=(6, MANY)).cumsum(axis=1) / 6
    image = np.einsum("mb,mrc->brc", spectra, shares / shares.sum(axis=0)) + rng.normal(
        0, 8, (MANY, SIDE, SIDE)
    )
    grid = Grid(SIDE, SIDE, demo.ORIGIN, raster.wkt(demo.CRS))
    with output.writing(path, grid, bands=MANY, dtype="uint16", nodata=0) as out:
        out.write(image.clip(1, 60_000).astype(np.uint16), grid.window)
    return describe([path])


def default_model(scene: Scene, changes: list[str], work: Path) -> runtime.Model:
    """The default detector of a scene."""
    contest = bench.Contest(
        config.load(None, ["train.epochs=1", *changes]), "default", device="cpu", classics=()
    )
    recipe = contest.recipes(scene, 0)[contest.name]
    tiles = bench.tile_set_of(scene, work, 64)
    return bench.train_model([tiles], recipe, contest, work, lambda share: None)


def autoencoder(bands: int) -> nn.Module:
    """Convolutions of stride 2 and back."""
    layers: list[nn.Module] = []
    sizes = (bands, 32, 64, 128)
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    for before, after in itertools.pairwise(sizes[::-1]):
        layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


@torch.no_grad()
def reconstruction_error(net: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The mean over tiles of the squared error (row, col) of an image (B, row, col)."""
    height, width = image.shape[1:]
    out, count = torch.zeros(height, width), torch.zeros(height, width)
    for row in range(0, max(1, height - TILE // 2), TILE // 2):
        for col in range(0, max(1, width - TILE // 2), TILE // 2):
            here = slice(row, row + TILE), slice(col, col + TILE)
            tile = image[None, :, *here]
            out[here] += ((net(tile) - tile) ** 2).mean(dim=(0, 1))
            count[here] += 1
    return out / count


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    return bench.time_call(call)[1]


def speeds(scene: Scene, model: runtime.Model, runs: int) -> dict[str, float]:
    """Million pixels a second, and billions of operations of a product of matrices, the best of some runs."""
    with scene.open() as reader:
        image, valid = reader.read(scene.grid.window)
    dn = torch.from_numpy(image.astype(np.float32)) / float(image.max())
    net, matrix = autoencoder(len(dn)), torch.randn(ORDER, ORDER)
    calls: dict[str, tuple[float, Callable[[], object]]] = {
        "satae": (valid.sum() / 1e6, lambda: bench.anomaly_map(scene, model)),
        "autoencoder": (valid.size / 1e6, lambda: reconstruction_error(net, dn)),
        "matrices": (2 * ORDER**3 / 1e9, lambda: matrix @ matrix),
    }
    for _, call in calls.values():
        call()
    # in turn, so that what else the machine does meets all of them
    taken = {name: min(times) for name, times in _turns(calls, runs).items()}
    return {name: float(work / taken[name]) for name, (work, _) in calls.items()}


def _turns(calls: dict[str, tuple[float, Callable[[], object]]], runs: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = collections.defaultdict(list)
    for _ in range(runs):
        for name, (_, call) in calls.items():
            times[name].append(seconds(call))
    return times


def nodes(model: runtime.Model, bands: int, work: Path, runs: int = 5) -> dict[str, float]:
    """The share of the time of a window that each operator of the graph takes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level, options.enable_profiling = 1, 3, True
    options.enable_mem_pattern = options.enable_mem_reuse = False
    options.profile_file_prefix = str(work / "profile")
    side = model.card.core + 2 * model.card.halo
    assert model.origin is not None  # it was loaded from a file
    content = part(model.origin.path.read_bytes(), "anomaly_map")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).normal(1000, 200, (1, bands, side, side)).astype(np.float32)
    for _ in range(runs):
        session.run(["anomaly_map"], {"image": image, "valid": np.ones((1, 1, side, side), np.float32)})
    events = json.loads(Path(session.end_profiling()).read_text())
    taken: dict[str, float] = collections.defaultdict(float)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["args"]["op_name"]] += event["dur"]
    whole = sum(taken.values())
    return {name: t / whole for name, t in sorted(taken.items(), key=lambda item: -item[1])}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--nodes", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(LINE.format("one thread, CPU seconds", "satae", "autoencoder", "matrices"))
    print(LINE.format("", "Mpx/s", "Mpx/s", "GFLOP/s"))
    for made in (few_bands, many_bands):
        with tempfile.TemporaryDirectory() as folder:
            scene = made(Path(folder) / "scene.tif")
            bands = len(scene.names)
            model = default_model(scene, options.changes, Path(folder))
            found = speeds(scene, model, options.runs)
            print(LINE.format(f"{bands} bands", *(f"{v:.2f}" for v in found.values())))
            ratio = found["satae"] / found["autoencoder"]
            each = found["matrices"] / found["satae"] * 1e3
            print(
                f"  satae / autoencoder {ratio:.2f}; a pixel costs {each:.0f} operations of a product of matrices"
            )
            if options.nodes:
                for name, share in nodes(model, bands, Path(folder)).items():
                    print(f"  {share:6.1%}  {name}")


if __name__ == "__main__":
    main()
