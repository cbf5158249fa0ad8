"""Ships in five Sentinel-2 ports: a recipe and the classics, over the whole scene and in the water zone.

    python benchmarks/ports.py [DATA] [--water] [--each] [--config YAML] [--set KEY=VALUE ...] [--seeds 0,1,2] [--alone]
    python benchmarks/ports.py [DATA] --zones FOLDER

DATA is the folder that holds sen2ships/ (default: SATAE_DATA, or ../shared/data). One model a method is trained on
all ports, as the commands do with default options; with --each one a port. Without --water the whole scene is
trained on and scored, and measured twice: over all valid pixels and inside the water zone of data/README.md. With
--water only the zone is trained on and scored. A last table has what an analyst gets of each method at the default
rule and at --top 20: regions that hold a part of a ship, ships that are touched, and how well outlines cover these.
--alone leaves the classics out. --zones makes FOLDER with links to scenes and ship masks and the
zone of each as NAME_water.tif, ready for `satae bench ships FOLDER --mask-suffix _water.tif`. The ship masks are
read for measuring, and by the zone, which is fixed and the same for all methods.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import rasterio

from satae import config
from satae.bench import contest as bench
from satae.bench import objects, report
from satae.inference import calibrate

PORTS = ("busan", "casablanca", "durban", "hedland", "honolulu")
WATER = "_water.tif"


def water_zone(image: np.ndarray, ships: np.ndarray) -> np.ndarray:
    """NDWI > 0 closed by a 21-pixel square, joined with the ships dilated by 5 pixels."""
    green, nir = image[1].astype(float), image[3].astype(float)
    water = (green - nir) / np.maximum(green + nir, 1) > 0
    closed = cv2.morphologyEx(water.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((21, 21), np.uint8))
    near = cv2.dilate(ships.astype(np.uint8), np.ones((11, 11), np.uint8))
    return np.logical_or(closed > 0, near > 0)


def make_zones(ships: Path, folder: Path) -> None:
    """Links to the scenes and masks of `ships`, and a NAME_water.tif of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for port in PORTS:
        for name in (f"{port}.tif", f"{port}{bench.SHIPS}"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(ships / name)
        with (
            rasterio.open(ships / f"{port}.tif") as scene,
            rasterio.open(ships / f"{port}{bench.SHIPS}") as mask,
        ):
            zone = water_zone(scene.read(), mask.read(1) > 0)
            profile = {
                "driver": "GTiff",
                "count": 1,
                "dtype": "uint8",
                "crs": scene.crs,
                "compress": "deflate",
            }
            size = {"height": scene.height, "width": scene.width, "transform": scene.transform}
        with rasterio.open(folder / f"{port}{WATER}", "w", **profile, **size) as out:
            out.write(zone.astype(np.uint8), 1)


@dataclasses.dataclass(frozen=True)
class Found:
    """What every method finds everywhere and in the water zone, and what rules report, by method and rule."""

    everywhere: list[report.Row]
    inside: list[report.Row]
    reported: dict[str, objects.Hits]


def measured(folder: Path, contest: bench.Contest, *, water: bool = False) -> Found:
    """The ports of `make_zones`; see the module."""
    whole = bench.ship_cases(folder, None, WATER if water else None, None)
    zones = {case.name: case.counted for case in bench.ship_cases(folder, None, None, WATER)}
    everywhere, inside = [], []
    reported: dict[str, list[objects.Hits]] = {}
    with tempfile.TemporaryDirectory() as work:
        for result in bench.results(whole, contest, Path(work), told):
            everywhere.append(report.measurement(result))
            case = dataclasses.replace(result.case, counted=zones[result.case.name])
            inside.append(report.measurement(dataclasses.replace(result, case=case)))
            for rule, hits in objects_of(result).items():
                reported.setdefault(f"{result.method}, {rule}", []).append(hits)
    return Found(everywhere, inside, {name: objects.pool(hits) for name, hits in reported.items()})


def compare(folder: Path, contest: bench.Contest, *, water: bool) -> None:
    """The tables."""
    found = measured(folder, contest, water=water)
    if not water:
        print("\nwhole scene", *report.lines(found.everywhere, contest.methods), sep="\n")
    print("\nwater zone", *report.lines(found.inside, contest.methods), sep="\n")
    print("\nregions and ships, all ports and seeds", *objects.lines(found.reported), sep="\n")


def objects_of(result: bench.Result) -> dict[str, objects.Hits]:
    """What the rules report of a map, against the ships."""
    calibration, area = result.calibration, result.case.scene.grid.pixel_area_m2
    assert calibration is not None
    rules = {
        f"--far {calibrate.FAR:g}": objects.far_regions(result.scores, calibration, area),
        f"--top {objects.TOP}": objects.top_regions(result.scores, calibration),
    }
    return {rule: objects.hits(label, result.case.truth) for rule, label in rules.items()}


def told(done: float, total: float, note: str) -> None:
    """A line a map."""
    if done == int(done):
        print(f"{done:.0f} of {total:.0f}: {note}", file=sys.stderr, flush=True)


def add_shared(parser: argparse.ArgumentParser, *, seeds: tuple[int, ...]) -> None:
    """Where the data lie, what is changed in recipes, and the seeds, by default these."""
    parser.add_argument("data", nargs="?", default=os.environ.get("SATAE_DATA", "../shared/data"))
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--seeds", type=lambda text: tuple(map(int, text.split(","))), default=seeds)


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What scripts that measure one recipe ask for."""
    add_shared(parser, seeds=(0,))
    parser.add_argument("--config", type=Path)
    parser.add_argument("--each", action="store_true", help="one model a scene")
    parser.add_argument("--alone", action="store_true", help="without the classics")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def contest_of(options: argparse.Namespace) -> bench.Contest:
    """The recipe against the classics."""
    recipe = config.load(options.config, options.changes)
    name = options.config.stem if options.config else "satae"
    classics = () if options.alone else bench.CLASSICS
    return bench.Contest(
        recipe, name, options.seeds, library=not options.each, device=options.device, classics=classics
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--water", action="store_true")
    parser.add_argument("--zones", type=Path, metavar="FOLDER")
    options = arguments(parser)
    ships = Path(options.data).absolute() / "sen2ships"
    if options.zones:
        make_zones(ships, options.zones)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_zones(ships, Path(folder))
        compare(Path(folder), contest_of(options), water=options.water)


if __name__ == "__main__":
    main()
