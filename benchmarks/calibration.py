"""Whether p-values and false alarm rates hold on ground that neither trained nor calibrated the model.

    python benchmarks/calibration.py [DATA] [--kinds had,ports,made] [--config YAML] [--set KEY=VALUE ...]
                                     [--seeds 0,1,2] [--device cpu] [--each] [--folds 1]

DATA is the folder that holds had/ and sen2ships/ (default: SATAE_DATA, or ../shared/data). A quarter of each scene's
blocks is taken out of its tile set; a model is trained and calibrated on the rest as `satae train` does (without the
export) and scores the whole scene: one model for all ports, or with --each one a port. Counted are the tiles taken out
that are clean: no labelled object within MARGIN pixels. Every figure is a count over the count that was asked for (in
brackets), so 1 is right and more is too many false alarms. `rest` calibrates with what is in the rest, labelled objects
and all, as happens in use; `clean` calibrates the same model without the held-out tiles that touch one. With --folds
K, K models hold all blocks of the rest out in turn, which calibrates on five times as many for K = 5; the first is
measured. Truth is read to measure with, never to train on.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import ports
import torch

from satae import config
from satae import heads as scores
from satae.bench import contest
from satae.config import Recipe
from satae.demo import run as demo
from satae.demo import synthetic
from satae.detector import graph
from satae.detector.fusion import Mapping
from satae.inference import calibrate
from satae.inference.calibrate import Calibration
from satae.inference.regions import of_array, regions
from satae.inference.runtime import Model
from satae.tiles.split import Split, split
from satae.tiles.store import TileSet
from satae.training import loop
from satae.training.calibration import pooled_calibration
from satae.training.feed import Feed
from satae.training.presets import complete_recipe

SHARE = 0.25  # of the blocks, that are taken out
MARGIN = 5  # pixels around labelled objects
PIXEL_LEVELS = (1e-2, 1e-3)
TILE_LEVELS = (0.1, 0.05)
CORE = 128  # pixels a side that one inference yields
FAR = (10.0, 100.0, 1000.0)  # regions a megapixel: false alarms per 100 km2 at 10 m
KINDS = ("had", "ports", "made")
COLUMNS = [
    *(f"pixel {p:g}" for p in PIXEL_LEVELS),
    *(f"tile {p:g}" for p in TILE_LEVELS),
    *(f"far {r:g}" for r in FAR),
]


@dataclasses.dataclass
class Tally:
    """What was counted and what was asked for, a column of COLUMNS each; they add up."""

    seen: np.ndarray
    asked: np.ndarray

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.seen + other.seen, self.asked + other.asked)

    def line(self, name: str, way: str) -> str:
        """A row of the table: ratios, with the count that was asked for."""
        cells = [f"{s / a:.2f} ({a:.3g})" if a else "" for s, a in zip(self.seen, self.asked, strict=True)]
        return f"| {name} | {way} | {' | '.join(cells)} |"


def cases(kind: str, data: Path, work: Path) -> list[contest.Case]:
    """The scenes of a kind."""
    if kind == "had":
        return contest.mat_cases(data / "had", work)
    if kind == "ports":
        return contest.ship_cases(data / "sen2ships", None, None, None)
    made = synthetic.scene()
    demo.write(made, work / "made.tif")
    truth = work / "made_truth.tif"
    demo.write(
        dataclasses.replace(made, image=np.repeat((made.truth > 0)[None].astype(np.uint16), 4, 0)), truth
    )
    return [contest.raster_case(work / "made.tif", truth)]


def without(tiles: TileSet, kept: np.ndarray) -> TileSet:
    """The tile set as if the other tiles had been left out when it was cut."""
    record = tiles.record.model_copy(
        update={
            "tiles": len(kept),
            "left_out": tiles.record.left_out + len(tiles) - len(kept),
            "valid_pixels": int(tiles.valid[kept].sum()),
        }
    )
    return TileSet(tiles.path, record, tiles.images[kept], tiles.valid[kept], tiles.index[kept])


def is_clean(tiles: TileSet, where: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Which tiles have no labelled pixel within MARGIN."""
    near = cv2.dilate(truth.astype(np.uint8), np.ones((2 * MARGIN + 1,) * 2, np.uint8)) > 0
    frame = tiles.grid.window
    windows = [w for t in where if (w := tiles.window(int(t)).within(frame)) is not None]
    return np.array([not near[w.slices(frame)].any() for w in windows], bool)


def tally(found: Calibration, tiles: TileSet, where: np.ndarray, heat: np.ndarray) -> Tally:
    """Counts over the given tiles of a map; regions end at the edge of the ground that these cover."""
    frame = tiles.grid.window
    parts = [w.slices(frame) for t in where if (w := tiles.window(int(t)).within(frame)) is not None]
    seen = np.full(heat.shape, np.nan, np.float32)
    for part in parts:
        seen[part] = heat[part]
    pixel = found.pixel.p(seen[np.isfinite(seen)])
    tile = found.tile.p([np.nanmax(heat[p]) for p in parts if np.isfinite(heat[p]).any()])
    hits = [*((pixel <= p).sum() for p in PIXEL_LEVELS), *((tile <= p).sum() for p in TILE_LEVELS)]
    asked = [*(pixel.size * p for p in PIXEL_LEVELS), *(tile.size * p for p in TILE_LEVELS)]
    most = found.alarms_of(calibrate.SPECK).per_pixel
    for rate in FAR:
        level = found.level(rate * 10, None, calibrate.SPECK)
        hits.append(len(regions(*of_array(seen), level, found.candidate, min_pixels=calibrate.SPECK)))
        asked.append(min(rate / 1e6, most) * pixel.size)
    return Tally(np.array(hits, float), np.array(asked, float))


@dataclasses.dataclass
class InTorch:
    """Stands in for `runtime.Model`, which the export takes minutes to make and which gives the same numbers."""

    detector: graph.Detector
    card: SimpleNamespace
    device: str = "cpu"

    @torch.no_grad()
    def anomaly_map(self, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """As that of `runtime.Model`."""
        dn = torch.from_numpy(np.where(valid[:, None], image, 0).astype(np.float32))
        scores = self.detector(dn, torch.from_numpy(valid[:, None].astype(np.float32)))[0]
        return np.where(valid, scores[:, 0].numpy(), np.float32(np.nan))


def trained(sets: list[TileSet], recipe: Recipe, chosen: Split, work: Path, device: str) -> Model:
    """What `learn.train` fits, without its export."""
    planned = loop.plan(sets, recipe, chosen)
    shutil.rmtree(work / "run", ignore_errors=True)
    (work / "run").mkdir()
    fitted = loop.fit(sets, planned, work / "run", device=loop.device_of(device))
    heads = [scores.head(settings, planned.normalizer) for settings in recipe.score]
    detector = graph.Detector(fitted.normalizer, fitted.model, heads, Mapping.of(recipe))
    stride = int(cast(int, fitted.model.stride))
    halo = -(-graph.reach(detector, len(sets[0].record.bands), stride) // stride) * stride
    inputs = graph.Input(fitted.normalizer)
    detector.settle(Feed(sets, inputs, recipe, planned.split, torch.device("cpu"), halo).sample)
    card = SimpleNamespace(stride=stride, halo=halo, core=CORE, frame=int(getattr(fitted.model, "frame", 0)))
    return cast(Model, InTorch(detector.eval(), card))


def measured(
    group: list[contest.Case], recipe: Recipe, work: Path, device: str, count: int
) -> Iterator[dict[str, Tally]]:
    """A model of the rest of some scenes: the tallies of each scene with either sample."""
    scene, size = group[0].scene, min(contest.tile_size(case.scene.grid) for case in group)
    recipe = complete_recipe(recipe, len(scene.names), scene.grid.gsd_m)
    sets = [contest.tile_set_of(case.scene, work, size) for case in group]
    apart = split(sets, share=SHARE, block=recipe.train.block, seed=1000 + recipe.train.seed)
    rest = [without(tiles, of(apart.train, i)) for i, tiles in enumerate(sets)]
    folds = [
        (chosen, trained(rest, recipe, chosen, work, device)) for chosen in split_folds(rest, recipe, count)
    ]
    model = folds[0][1]
    samples = {"rest": pooled_calibration(rest, folds)}
    clear = [(clean_part(rest, group, chosen), own) for chosen, own in folds]
    if sum(len(chosen.held_out) for chosen, _ in clear) > 1:
        samples["clean"] = pooled_calibration(rest, clear)
    for way, c in samples.items():
        worth = f"{c.pixel.independent:.0f} pixels, {c.tile.independent:.0f} tiles"
        print(f"  {way}: {c.pixels} pixels in {c.blocks} blocks, worth {worth}", file=sys.stderr, flush=True)
    for i, case in enumerate(group):
        where = of(apart.held_out, i)
        where = where[is_clean(sets[i], where, case.truth)]
        found = contest.anomaly_map(case.scene, model)
        yield {way: tally(c, sets[i], where, found) for way, c in samples.items()}


def clean_part(sets: list[TileSet], group: list[contest.Case], chosen: Split) -> Split:
    """The split without the held-out tiles that touch a labelled object."""
    kept = [is_clean(sets[i], np.array([t]), group[i].truth).all() for i, t in chosen.held_out]
    return dataclasses.replace(chosen, held_out=chosen.held_out[np.array(kept, bool)])


def split_folds(sets: list[TileSet], recipe: Recipe, count: int) -> list[Split]:
    """The split of the recipe, and others that hold out the rest of the blocks in turn."""
    first = loop.plan(sets, recipe).split
    if count == 1:
        return [first]
    everything = np.concatenate([first.train, first.held_out])
    side = first.block_tiles * sets[0].record.size
    places = np.array([(s, *(sets[s].index[t] // side)) for s, t in first.train])
    blocks, block = np.unique(places, axis=0, return_inverse=True)
    fold = np.random.default_rng(recipe.train.seed).permutation(len(blocks))[block.ravel()] % (count - 1)
    held = [first.held_out, *(first.train[fold == k] for k in range(count - 1))]
    apart = [np.array([w for w in everything.tolist() if w not in h.tolist()], np.int64) for h in held]
    return [dataclasses.replace(first, train=t, held_out=h) for t, h in zip(apart, held, strict=True)]


def of(where: np.ndarray, number: int) -> np.ndarray:
    """The tiles of one set among (set, tile) pairs."""
    return np.asarray(where[where[:, 0] == number, 1])


def runs(kind: str, options: argparse.Namespace, recipe: Recipe) -> Iterator[tuple[str, dict[str, Tally]]]:
    """(scene, tallies) of every seed."""
    with tempfile.TemporaryDirectory() as place:
        scenes = cases(kind, Path(options.data), Path(place))
        together = kind == "ports" and not options.each
        for group in [scenes] if together else [[case] for case in scenes]:
            for seed in options.seeds:
                print(f"{', '.join(c.name for c in group)}, seed {seed}", file=sys.stderr, flush=True)
                seeded = recipe.train.model_copy(update={"seed": seed})
                changed = recipe.model_copy(update={"train": seeded})
                for case, found in zip(
                    group, measured(group, changed, Path(place), options.device, options.folds), strict=True
                ):
                    yield case.name, found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--folds", type=int, default=1, help="models that calibrate, 1 as in use")
    options = ports.arguments(parser)
    recipe = config.load(options.config, options.changes)
    print("| scene | sample |", " | ".join(COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for kind in options.kinds.split(","):
        sums: dict[tuple[str, str], Tally] = {}
        for name, found in runs(kind, options, recipe):
            for way, one in found.items():
                for key in ((name, way), (f"**{kind}**", way)):
                    sums[key] = sums[key] + one if key in sums else one
        for (name, way), total in sorted(sums.items(), key=lambda item: item[0][0].startswith("**")):
            print(total.line(name, way), flush=True)


if __name__ == "__main__":
    main()
