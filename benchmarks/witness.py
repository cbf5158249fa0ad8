"""Whether a change of the code changed a result: train, score and export on a few scenes, and take hashes of all.

    python benchmarks/witness.py record FOLDER [--data DIR] [--only NAME ...]
    python benchmarks/witness.py compare FOLDER OTHER [--tolerance 1e-5]

It drives the commands alone, so that the same script runs before and after modules were moved. Of each case it keeps
hashes of the weights that were trained, of the heatmap's pixels and of the rows of all layers, and the pixels
themselves. `compare` wants the hashes to be equal; with --tolerance weights and regions must be, and heatmaps differ by
no more than that share of their range. Exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyogrio
import rasterio
import shapely
import torch
from affine import Affine
from scipy import ndimage

VOLATILE = ("created", "path", "provider", "model_sha256", "satae_version", "fid")
EXACT = (
    "anomaly_id",
    "pixels",
    "top_band",
    "chip",
    "row",
    "col",
    "geometry",
)  # what a tolerance does not excuse


@dataclass(frozen=True)
class Case:
    """What is trained on what: `scene` is made in code or named below the data folder."""

    scene: str
    train: tuple[str, ...]
    score: tuple[str, ...] = ("--top", "40", "--chips", "5")
    tile: tuple[str, ...] = ()
    export: tuple[str, ...] = field(default=())


FEW = ("--epochs", "2", "--set", "train.min_steps=4")
CASES = {
    "conv": Case(
        "made", (*FEW, "--set", "model.name=conv", "--set", "model.params.width=8"),
        score=("--chips", "5", "--baseline", "rx_shrunk", "--stac"),
        tile=("--size", "32"), export=("--precision", "int8"),
    ),
    "dense": Case("made", (*FEW, "--set", "model.name=dense"), tile=("--size", "32")),
    "objects": Case("made", FEW, tile=("--size", "32")),
    "areas": Case("wildfire_s2/post_fire/RANCH_20240601.tif", ()),
    "port": Case("sen2ships/honolulu.tif", FEW),
}  # fmt: skip


def made(path: Path) -> Path:
    """A scene of 4 bands, 192 x 256 pixels, uint16: smooth ground, noise, three squares, a border of nodata."""
    rng = np.random.default_rng(7)
    ground = np.stack([ndimage.gaussian_filter(rng.normal(size=(192, 256)), s) * s for s in (3, 5, 5, 9)])
    mixed = np.tensordot(rng.normal(size=(4, 4)), ground, axes=1)
    image = 2000 + 600 * mixed + rng.normal(0, 25, mixed.shape)
    for row, col, side in ((40, 60, 5), (100, 180, 8), (150, 90, 3)):
        image[:, row : row + side, col : col + side] += rng.normal(0, 900, (4, 1, 1))
    image = np.clip(image, 1, 65535).astype(np.uint16)
    image[:, :, :20] = 0
    profile = {"driver": "GTiff", "count": 4, "height": 192, "width": 256, "dtype": "uint16", "nodata": 0}
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32632", transform=Affine(10, 0, 5e5, 0, -10, 5.2e6)
    ) as out:
        out.write(image)
    return path


def run(folder: Path, *words: str) -> None:
    """One command of satae in a folder; its stderr is shown where it fails."""
    command = [sys.executable, "-m", "satae", "-q", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{folder.name}: satae {' '.join(words)}\n{done.stdout}{done.stderr}")


def digest(*parts: bytes) -> str:
    """A short hash of bytes."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def weights(run_folder: Path) -> str:
    """A hash of the best weights that a run kept, by name; nothing where the model has no weights to learn."""
    path = run_folder / "checkpoint.pt"
    best = torch.load(path, weights_only=True, map_location="cpu")["best_weights"] if path.exists() else {}
    return digest(*(name.encode() + best[name].numpy().tobytes() for name in sorted(best)))


def rows(path: Path, layer: str) -> list[dict[str, Any]]:
    """The rows of a layer without what differs from run to run, geometry as hexadecimal WKB."""
    frame = pyogrio.read_dataframe(path, layer=layer, use_arrow=False)
    kept = pd.DataFrame(frame.drop(columns=[c for c in VOLATILE if c in frame.columns]))
    if "geometry" in frame:
        kept["geometry"] = shapely.to_wkb(frame["geometry"].to_numpy(), hex=True)
    found: list[dict[str, Any]] = json.loads(json.dumps(kept.astype(object).to_dict("records"), default=str))
    return found


def record(folder: Path, data: Path | None, only: list[str]) -> None:
    """Run the cases, each in a folder of its own."""
    for name, case in CASES.items():
        if only and name not in only:
            continue
        here = folder / name
        if (here / "witness.json").exists():
            continue
        here.mkdir(parents=True, exist_ok=True)
        if case.scene == "made":
            scene = made(here / "made.tif")
        elif data is None or not (data / case.scene).is_file():
            print(f"{name}: left out, there is no {case.scene}; pass --data")
            continue
        else:
            scene = (data / case.scene).resolve()
        run(here, "tile", str(scene), "--overwrite", *case.tile)
        run(here, "train", "--device", "cpu", "--overwrite", *case.train)
        run(here, "score", str(scene), "--device", "cpu", "--overwrite", *case.score)
        if case.export:
            run(here, "export", "model.onnx", "--out", "small.onnx", "--overwrite", *case.export)
            run(
                here,
                "score",
                str(scene),
                "--model",
                "small.onnx",
                "--out",
                "small.gpkg",
                "--overwrite",
                *case.score,
            )
        layers = {
            str(name): rows(here / "anomalies.gpkg", str(name))
            for name, _ in pyogrio.list_layers(here / "anomalies.gpkg")
        }
        with rasterio.open(here / "anomalies_heatmap.tif") as source:
            np.save(here / "heatmap.npy", heat := source.read(1))
        found = {
            "weights": weights(here / "runs" / "model"),
            "heatmap": digest(heat.tobytes()),
            "layers": layers,
        }
        if case.export:
            with rasterio.open(here / "small_heatmap.tif") as source:
                found["small"] = digest(source.read(1).tobytes())
        (here / "witness.json").write_text(json.dumps(found, indent=1))
        print(
            f"{name}: {len(layers['anomalies'])} regions, heatmap {found['heatmap']}, weights {found['weights']}",
            flush=True,
        )


def compare(folder: Path, other: Path, tolerance: float | None) -> int:
    """Print what differs between two records; gives the number of differences."""
    faults = 0
    names = sorted(
        {p.parent.name for p in folder.glob("*/witness.json")}
        & {p.parent.name for p in other.glob("*/witness.json")}
    )
    for name in names:
        one, two = (json.loads((f / name / "witness.json").read_text()) for f in (folder, other))
        said = [
            key
            for key in ("weights", *(("heatmap", "small") if tolerance is None else ()))
            if one.get(key) != two.get(key)
        ]
        a, b = (np.load(f / name / "heatmap.npy") for f in (folder, other))
        apart = float(np.nanmax(np.abs(a - b)) / max(np.ptp(a[np.isfinite(a)]), 1e-12))
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            said.append("valid pixels of the heatmap")
        if tolerance is not None and apart > tolerance:
            said.append("heatmap")
        for layer in sorted({*one["layers"], *two["layers"]}):
            mine, theirs = (of["layers"].get(layer) for of in (one, two))
            if tolerance is not None and mine and theirs:
                mine, theirs = (
                    [{k: v for k, v in r.items() if k in EXACT} for r in of] for of in (mine, theirs)
                )
            if mine != theirs:
                said.append(f"layer {layer}")
        print(
            f"{name}: heatmaps {apart:.1e} of the range apart; "
            + (f"DIFFERENT {', '.join(said)}" if said else "the same")
        )
        faults += len(said)
    if not names:
        print("nothing to compare")
    return faults + (not names)


def main() -> int:
    """Parse, record or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sub = parser.add_subparsers(dest="verb", required=True)
    taken = sub.add_parser("record")
    taken.add_argument("folder", type=Path)
    taken.add_argument("--data", type=Path)
    taken.add_argument("--only", nargs="*", default=[], choices=list(CASES))
    held = sub.add_parser("compare")
    held.add_argument("folder", type=Path)
    held.add_argument("other", type=Path)
    held.add_argument("--tolerance", type=float)
    of = parser.parse_args()
    if of.verb == "record":
        record(of.folder, of.data, of.only)
        return 0
    return int(compare(of.folder, of.other, of.tolerance) > 0)


if __name__ == "__main__":
    sys.exit(main())
