"""What 30 decisions are worth: precision among the next 30 regions of five ports, before and after.

    python benchmarks/feedback.py [DATA] [--work FOLDER] [--judged 30] [--next 30] [--top 200]

DATA is the folder that holds sen2ships/ (default: SATAE_DATA, or ../shared/data). One model is trained on all ports,
as `satae tile` and `satae train` do without options; FOLDER keeps it for another time. Each port is scored with
--top 200. The first 30 regions are judged by the ship mask, accepted where they hold a pixel of a ship and rejected
elsewhere, as an analyst would who looks for ships; small boats, which the masks do not have, are rejected. Before is
the share of such regions among ranks 31 to 60, after that among the first 30 that were not judged once ranks heed the
decisions (`satae score --feedback`). A port with fewer regions has fewer of them, or none and no share in the mean.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import rasterio.features
from ports import PORTS

from satae import config
from satae.bench import contest
from satae.decisions.decisions import ACCEPTED, REJECTED, Decisions
from satae.decisions.preference import prefer
from satae.gis.columns import LAYERS, Region, by_rank
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring import run as scoring
from satae.scoring.outputs import Options
from satae.scoring.rule import Top
from satae.tiles import cut
from satae.training import run as training


def model_of(ships: Path, work: Path) -> Path:
    """The model in `work`, which is trained on all ports where it is not there."""
    path = work / "model.onnx"
    if not path.exists():
        (work / "tiles").mkdir(exist_ok=True)
        scenes = [describe([ships / f"{port}.tif"]) for port in PORTS]
        sets = [cut.cut(scene, work / "tiles" / scene.name, cut.Cut()) for scene in scenes]
        training.train(sets, config.load(None, []), path, work / "runs" / "model", overwrite=True)
    return path


def judged(frame: Any, ships: Path, port: str) -> np.ndarray:
    """Whether each region holds a pixel of a ship."""
    with rasterio.open(ships / f"{port}{contest.SHIPS}") as mask:
        truth, where = mask.read(1) > 0, mask.transform
    held = [rasterio.features.rasterize([g], truth.shape, transform=where) > 0 for g in frame.geometry]
    return np.array([truth[h].any() for h in held])


def compare(frame: Any, hits: np.ndarray, first: int, then: int) -> tuple[float, float, int]:
    """(precision before, after, how many changed rank) of the regions of a port by rank."""
    frame = frame.assign(review_status=np.where(hits, ACCEPTED, REJECTED))
    rows = frame[list(LAYERS["anomalies"])].to_dict("records")
    regions = [Region(**row, polygon=None) for row in rows]
    moved, told = prefer(regions, Decisions(Path("judged"), frame.head(first)))
    after = [hits[region.rank - 1] for region in by_rank(moved) if region.rank > first]
    return precision(hits[first : first + then]), precision(after[:then]), told.moved


def precision(hits: Any) -> float:
    """The share of hits; NaN where there are no regions."""
    return float(np.mean(hits)) if len(hits) else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default=os.environ.get("SATAE_DATA", "../shared/data"))
    parser.add_argument("--work", type=Path)
    for name, value in (("--judged", 30), ("--next", 30), ("--top", 200)):
        parser.add_argument(name, type=int, default=value)
    asked = parser.parse_args()
    ships = Path(asked.data).absolute() / "sen2ships"
    with tempfile.TemporaryDirectory() as folder:
        work = asked.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        model, means = runtime.load(model_of(ships, work)), []
        print("| port | regions | accepted of the first | before | after | ships left | changed rank |")
        print("|---|---|---|---|---|---|---|")
        for port in PORTS:
            out, how = work / f"{port}.gpkg", Options(Top(asked.top), overwrite=True, chips=0)
            scoring.score([describe([ships / f"{port}.tif"])], model, out, how)
            frame = geopandas.read_file(out, layer="anomalies").sort_values("rank", ignore_index=True)
            hits = judged(frame, ships, port)
            before, after, moved = compare(frame, hits, asked.judged, asked.next)
            means.append((before, after))
            seen, left = hits[: asked.judged].sum(), hits[asked.judged :].sum()
            print(
                f"| {port} | {len(frame)} | {seen} | {before:.2f} | {after:.2f} | {left} | {moved} |",
                flush=True,
            )
        before, after = np.nanmean(means, axis=0)  # of ports that had so many regions
        print(f"| **mean** | | | **{before:.2f}** | **{after:.2f}** | | |")


if __name__ == "__main__":
    main()
