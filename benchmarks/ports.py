"""The three commands with default options on the five Sentinel-2 ports, beside global RX.

    python benchmarks/ports.py [DATA] [--set KEY=VALUE ...]

DATA is the folder that holds sen2ships/ (default: SATAE_DATA, or ../shared/data). Prints AUROC and average
precision of the ships, over all valid pixels and inside the water zone of data/README.md, for the heatmap and
for RX (Reed and Yu 1990) fitted to each whole scene. The ship masks are read after scoring, for measuring only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import rasterio
from scipy.stats import rankdata

PORTS = ("busan", "casablanca", "durban", "hedland", "honolulu")


def auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """Probability that a target pixel outscores another one, ties counted half."""
    hits, others = truth.sum(), (~truth).sum()
    return float((rankdata(score)[truth].sum() - hits * (hits + 1) / 2) / (hits * others))


def average_precision(score: np.ndarray, truth: np.ndarray) -> float:
    """Mean precision at each target pixel, by falling score."""
    hit = truth[np.argsort(-score, kind="stable")]
    return float((np.cumsum(hit) / np.arange(1, len(hit) + 1) * hit).sum() / hit.sum())


def rx(image: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance of each pixel from the scene's mean."""
    v = image.reshape(len(image), -1).astype(np.float64)
    v = v - v.mean(axis=1, keepdims=True)
    inverse = np.linalg.pinv(v @ v.T / v.shape[1])
    return np.einsum("ij,ik,kj->j", v, inverse, v).reshape(image.shape[1:])


def water_zone(image: np.ndarray, ships: np.ndarray) -> np.ndarray:
    """NDWI > 0 closed by a 21-pixel square, joined with the ships dilated by 5 pixels."""
    green, nir = image[1].astype(float), image[3].astype(float)
    water = (green - nir) / np.maximum(green + nir, 1) > 0
    closed = cv2.morphologyEx(water.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((21, 21), np.uint8))
    near = cv2.dilate(ships.astype(np.uint8), np.ones((11, 11), np.uint8))
    return (closed | near) > 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=os.environ.get("SATAE_DATA", "../shared/data"))
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args()
    ships = Path(options.data).absolute() / "sen2ships"
    scenes = [str(ships / f"{port}.tif") for port in PORTS]
    with tempfile.TemporaryDirectory() as folder:
        changes = [word for change in options.changes for word in ("--set", change)]
        for words in (["tile", *scenes], ["train", *changes], ["score", "--out", "anomalies.gpkg"]):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "satae", "-q", *words], cwd=folder, check=True)
            print(f"satae {words[0]}: {time.perf_counter() - started:.0f} s", flush=True)
        report(ships, Path(folder))


def report(ships: Path, results: Path) -> None:
    """The table."""
    print(f"{'':12s} {'satae AUROC / AP':>33s}   {'RX AUROC / AP':>33s}")
    print(f"{'':12s} {'whole scene':>16s} {'water':>16s}   {'whole scene':>16s} {'water':>16s}")
    rows = []
    for port in PORTS:
        with rasterio.open(ships / f"{port}.tif") as scene:
            image = scene.read()
        with rasterio.open(ships / f"{port}_shipmask.tif") as mask:
            truth = mask.read(1) > 0
        with rasterio.open(results / f"anomalies_{port}_heatmap.tif") as heat:
            scores = heat.read(1)
        row = []
        for score in (scores, rx(image)):
            for zone in (np.isfinite(scores), np.isfinite(scores) & water_zone(image, truth)):
                row += [auroc(score[zone], truth[zone]), average_precision(score[zone], truth[zone])]
        rows.append(row)
        print(f"{port:12s} " + line(row))
    print(f"{'mean':12s} " + line(np.mean(rows, axis=0)))


def line(row: list[float] | np.ndarray) -> str:
    """Four pairs of figures."""
    pairs = [f"{row[i]:8.3f} / {row[i + 1]:.3f}" for i in range(0, 8, 2)]
    return " ".join(pairs[:2]) + "   " + " ".join(pairs[2:])


if __name__ == "__main__":
    main()
