"""Scenes that are shifted, scaled or band-swapped against a model: how many are refused, and how many true ones are.

    python benchmarks/radiometry.py [DATA] [--groups ports,halves,water,landsat,fires,made] [--each]

DATA is the folder that holds sen2ships/, landsat_peru_1985_2020/ and wildfire_s2/ (default: SATAE_DATA, or
../shared/data). Each scene of a group is tiled, its card is made as `satae train` makes it, and every other scene of
the group is held against it as `satae score` does: five ports, halves of ports against the other half, the water of
ports alone, eight dates of one place, eight fires, and made-up landscapes. True scenes are files as they are, changed
ones have what is named done to their DN; the counts say how many were refused, and of the changed ones how many for
the reason that is true. No network is trained, as none is asked. With --each every refusal is printed, as a user sees
it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import rasterio
from affine import Affine

from satae.demo import synthetic
from satae.errors import ModelError
from satae.inference.card import Band, Card, Normalization
from satae.inference.runtime import Model
from satae.nn import normalize
from satae.scene.describe import describe
from satae.scene.scene import Scene
from satae.scoring.domain import check_fit
from satae.tiles.cut import Cut, cut
from satae.tiles.store import TileSet
from satae.training.domain import training_domain

GROUPS = ("ports", "halves", "water", "landsat", "fires", "made")
WORDS = {
    "shift": "added to every DN",
    "scale": "has DN of about|at the end of",
    "swap": "in another order",
    "other": "",
}
Image = np.ndarray


@dataclass(frozen=True)
class Held:
    """A scene in memory, as one of a group; `pair` is what it is not held against but for its other half."""

    name: str
    image: Image
    nodata: float | None
    transform: Affine
    crs: Any
    pair: str = ""


def read(path: Path) -> Held:
    """A whole GeoTIFF."""
    with rasterio.open(path) as d:
        return Held(path.stem, d.read(), d.nodata, d.transform, d.crs)


def members(group: str, data: Path) -> list[Held]:
    """The scenes of a group."""
    if group == "landsat":
        return [read(p) for p in sorted((data / "landsat_peru_1985_2020").glob("*.tif"))]
    if group == "fires":
        return [read(p) for p in sorted((data / "wildfire_s2" / "post_fire").glob("*.tif"))]
    if group == "made":
        place = Affine(10, 0, 5e5, 0, -10, 5e6)
        made = [synthetic.scene(height=384, width=384, seed=seed) for seed in range(5)]
        return [Held(f"made{i}", m.image, 0, place, "EPSG:32632") for i, m in enumerate(made)]
    found = [read(p) for p in sorted((data / "sen2ships").glob("*.tif")) if "mask" not in p.stem]
    if group == "water":
        return [
            replace(port, image=np.where(is_water(port.image), port.image, 0), nodata=0) for port in found
        ]
    return found if group == "ports" else [half for port in found for half in halves(port)]


def is_water(image: Image) -> Image:
    """NDWI > 0, closed by a 21-pixel square as in `ports`, without the pixels of which a band is 0."""
    water = (image[1].astype(float) > image[3]).astype(np.uint8)
    return (cv2.morphologyEx(water, cv2.MORPH_CLOSE, np.ones((21, 21), np.uint8)) > 0) & (image > 0).all(
        axis=0
    )


def halves(scene: Held) -> Iterator[Held]:
    """The left and the right half."""
    middle = scene.image.shape[2] // 2
    for name, part in (("left", np.s_[:, :, :middle]), ("right", np.s_[:, :, middle:])):
        yield Held(
            f"{scene.name}_{name}", scene.image[part], scene.nodata, scene.transform, scene.crs, scene.name
        )


def changes(image: Image, nodata: float | None) -> dict[str, tuple[str, Image]]:
    """What is done to DN: name of the change -> (kind, the changed image)."""
    kind = image.dtype
    limits = np.iinfo(kind) if kind.kind in "iu" else None
    # a tenth of reflectance: 1000 where it is stored times 10000; of these files, as the users of each would see it
    tenth = {"uint16": 6553.5 if image.max() > 20000 else 1000, "uint8": 50, "float64": 1000}[str(kind)]

    fill = np.zeros(image.shape[1:], bool) if nodata is None else (image == nodata).any(axis=0)

    def again(dn: Image) -> Image:
        held = (np.clip(np.rint(dn), limits.min, limits.max) if limits else dn).astype(kind)
        return np.where(fill, image, held)

    dn, bands = image.astype(float), len(image)
    reflectance = dn / (65535 if tenth > 5000 else 10000 if kind != np.uint8 else 255)
    out = {
        "plus .1": ("shift", again(dn + tenth)),
        "times .1": ("scale", again(dn * 0.1)),
        "times 10": ("scale", again(dn * 10)),
        "0..1 as float32": ("other", reflectance.astype("float32")),
        "bands turned round": ("swap", image[::-1]),
        "first band last": ("swap", np.roll(image, -1, axis=0)),
        "last band first": ("swap", np.roll(image, 1, axis=0)),
    }
    if nodata != 0:  # else hardly a pixel is left that counts
        out["0..1 in its type"] = "scale", again(reflectance)
    for i, j in itertools.combinations(range(bands), 2):
        order = list(range(bands))
        order[i], order[j] = j, i
        out[f"bands {i + 1} and {j + 1} exchanged"] = "swap", image[order]
    return out


def write(image: Image, like: Held, folder: Path) -> Scene:
    """The image as a file, described; its bands have no names."""
    path = folder / f"{like.name}.tif"
    shape = {"count": len(image), "height": image.shape[1], "width": image.shape[2]}
    profile = {
        "driver": "GTiff",
        "nodata": like.nodata,
        "transform": like.transform,
        "crs": like.crs,
        **shape,
    }
    with rasterio.open(path, "w", dtype=image.dtype, photometric="MINISBLACK", alpha="NO", **profile) as out:
        out.write(image)
    return describe([path])


def model_of(tiles: TileSet) -> Model:
    """What `check_fit` asks of a model that was trained on a tile set."""
    record, everything = tiles.record, np.array([(0, t) for t in range(len(tiles))])
    domain = training_domain([tiles], everything)
    pixels = np.concatenate([i[:, v].T for i, v in zip(tiles.images, tiles.valid, strict=True)])
    n = normalize.fit(pixels[:: max(1, len(pixels) // 200_000)], whitened=True)
    card = Card.model_construct(
        bands=[Band(name=name) for name in record.bands],
        dtype=record.dtype,
        gsd_m=[g for g in [tiles.grid.gsd_m] if g is not None],
        normalization=Normalization.model_construct(floor=n.floor.tolist(), ceiling=n.ceiling.tolist()),
        domain=domain,
    )
    return cast(Model, SimpleNamespace(card=card, name=record.scene))


def refusal(scene: Scene, model: Model) -> str:
    """The sentence with which a scene is refused, empty where it is not."""
    try:
        check_fit(scene, model)
    except ModelError as error:
        return str(error)
    return ""


def measured(group: str, data: Path, folder: Path, tell: Callable[[str], None]) -> dict[str, list[int]]:
    """Of a group, by what was done: [scenes held against a model, refused, refused for the true reason]."""
    found: dict[str, list[int]] = {}
    scenes = members(group, data)
    models = {
        s.name: model_of(cut(write(s.image, s, folder), folder / f"{s.name}_tiles", Cut(64))) for s in scenes
    }
    for s in scenes:
        for name, (kind, image) in {"as it is": ("true", s.image), **changes(s.image, s.nodata)}.items():
            scene = write(image, s, folder)
            for other in scenes:
                # against itself, what is changed is refused the more easily
                if (other.name == s.name and name != "as it is") or other.pair != s.pair:
                    continue
                said = refusal(scene, models[other.name])
                counts = found.setdefault(name, [0, 0, 0])
                counts[0] += 1
                counts[1] += bool(said)
                counts[2] += bool(said) and any(w in said for w in WORDS.get(kind, "").split("|"))
                if bool(said) != (kind != "true"):
                    tell(f"{group}: {s.name} {name}, model of {other.name}: {said or 'not refused'}")
                elif said:
                    tell(f"  {said}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default=os.environ.get("SATAE_DATA", "../shared/data"))
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--each", action="store_true")
    options = parser.parse_args()
    print(
        "| scenes | what was done | pairs | refused | for the true reason |",
        "|---|---|---|---|---|",
        sep="\n",
    )
    for group in options.groups.split(","):
        with tempfile.TemporaryDirectory() as folder:
            tell = print if options.each else lambda text: None
            for name, (pairs, refused, right) in measured(
                group, Path(options.data), Path(folder), tell
            ).items():
                print(f"| {group} | {name} | {pairs} | {refused} | {right} |", flush=True)


if __name__ == "__main__":
    main()
