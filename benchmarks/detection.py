"""What recipes find, and what that costs: satae's own demo, ports, planted discs, fires and hyperspectral scenes.

    python benchmarks/detection.py [DATA] [--config RECIPE ...] [--only PART ...] [--seeds 0,1,2] [--set KEY=VALUE ...]

DATA is the folder that holds sen2ships/, wildfire_s2/ and had/ (default: SATAE_DATA, or ../shared/data); the demo needs
none of it. A RECIPE is a name that satae knows or a .yaml file; without one, what `satae train` does by default. Prints
one Markdown table, a row as soon as it is measured:

    demo     five made-up scenes, tiles as `satae demo` cuts them: planted objects (of 14) among the 20 highest regions,
             and AP of pixels
    ports    one model for five ports: AUROC, AP, share of ships found at 20 false regions per 100 km2, over the whole
             scene and in the water zone; of what --far 10 and --top 20 report, the share of regions that hold a part of
             a ship, the share of ships touched, and their mean IoU with what touches them (see ports.py)
    planted  one model a port, discs planted as `satae bench inject` does: share found at --far 10, of one spectrum
             (contrast 2 and 4, 2 to 16 pixels) and transplanted (full share, 4 to 16 pixels)
    fires    one model a scene (see fires.py): AUROC, AP, share of burnt pixels found at 1 % false alarms
    had      one model a scene, as `satae bench had`: the same of target pixels

A recipe whose model has weights is trained with each seed, others with the first one; `seeds` says how many were run.
`train` is CPU seconds a model, export and calibration included; `Mpx/s` is how many valid pixels a second of CPU time
ONNX Runtime scores with one thread, reading included. Run it with OMP_NUM_THREADS=1: waiting threads count too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fires import scars
from ports import PORTS, add_shared, make_zones, told
from ports import measured as measured_ports

from satae import config, models
from satae.bench import contest as bench
from satae.bench import planted, report
from satae.bench.contest import Contest, Cost, time_call
from satae.bench.metrics import ranking_of
from satae.config import Recipe
from satae.demo import run as demo
from satae.demo import synthetic
from satae.inference.runtime import Model
from satae.scene.describe import describe
from satae.scene.scene import Scene
from satae.scoring import heatmap, selection
from satae.scoring.rule import Top
from satae.scoring.selection import Field
from satae.tiles.cut import Cut, cut
from satae.tiles.store import TileSet
from satae.training.presets import complete_recipe

DEMO_SCENES = range(5)
PLANTING = planted.Planting(sizes=(2, 4, 8, 16), contrasts=(2, 4), shares=(1,))
SMALLEST = {"synthetic": 2, "transplanted": 4}  # pixels across, of the discs that count
SHIPS = ("auroc", "average_precision", "recall")
PIXELS = ("auroc", "average_precision", "detection")
WIDTHS = (56, 12, 5, 21, 8, 6)  # characters of the columns, at the least


@dataclass(frozen=True)
class Entry:
    """A recipe that is measured, with these seeds where it learns."""

    name: str
    recipe: Recipe
    seeds: tuple[int, ...]

    def contest(self, scene: Scene, *, library: bool = False) -> Contest:
        """This recipe alone, for scenes of this kind."""
        bands = len(scene.names)
        full = complete_recipe(self.recipe, bands, scene.grid.gsd_m)
        seeds = self.seeds if has_weights(full, bands) else self.seeds[:1]
        return Contest(self.recipe, self.name, seeds, library=library, device="cpu", classics=())


def has_weights(recipe: Recipe, bands: int) -> bool:
    """Whether the model of a complete recipe learns by gradients."""
    model = models.build(recipe.model.name, bands, recipe.model.params)
    return any(weight.requires_grad for weight in model.parameters())


@dataclass(frozen=True)
class Line:
    """A row of the table: what was measured, with how many seeds, its figures (means over seeds) and costs."""

    what: str
    seeds: int
    figures: tuple[float, ...]
    costs: tuple[Cost, ...]

    def cells(self, recipe: str) -> tuple[str, ...]:
        """The texts of the columns."""
        seconds = sum(cost.score_s for cost in self.costs)
        speed = f"{sum(cost.pixels for cost in self.costs) / seconds / 1e6:.2f}" if seconds else "-"
        train = f"{np.mean([cost.train_s for cost in self.costs]):.1f}"
        found = " / ".join(f"{round(figure, 3):g}" for figure in self.figures)
        return self.what, recipe, str(self.seeds), found, train, speed


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table that is also one on a terminal."""
    return "| " + " | ".join(f"{text:<{wide}}" for text, wide in zip(cells, WIDTHS, strict=True)) + " |"


def mean(what: str, lines: Sequence[Line]) -> Line:
    """The mean of each figure of several scenes."""
    figures = np.mean([line.figures for line in lines], axis=0)
    costs = tuple(cost for line in lines for cost in line.costs)
    return Line(what, lines[0].seeds, tuple(figures.tolist()), costs)


def line_of(what: str, rows: Sequence[report.Row], names: Sequence[str]) -> Line:
    """The means of some figures over scenes and seeds."""
    found = report.mean(rows)
    figures = tuple(getattr(found, name) for name in names)
    return Line(what, len({r.seed for r in rows}), figures, tuple(r.cost for r in rows))


def demo_lines(data: Path, entry: Entry, work: Path) -> Iterator[Line]:
    """The demo's scene and four of its siblings."""
    lines = []
    for number in DEMO_SCENES:
        lines.append(demo_line(synthetic.scene(seed=number), f"demo, scene {number}", entry, work))
        yield lines[-1]
    yield mean("demo, mean of scenes: found of 14 / AP", lines)


def demo_line(made: synthetic.Synthetic, what: str, entry: Entry, work: Path) -> Line:
    """Objects found among the highest regions, and AP of pixels, of a made-up scene."""
    path = work / demo.OWN
    path.unlink(missing_ok=True)
    demo.write(made, path)
    scene = describe([path])
    tiles, contest = cut(scene, work / "tiles", Cut()), entry.contest(scene)
    runs = [_demo_run(made, scene, tiles, contest, seed, work) for seed in contest.seeds]
    figures = np.mean([found for found, _ in runs], axis=0)
    return Line(what, len(runs), tuple(figures.tolist()), tuple(cost for _, cost in runs))


def _demo_run(
    made: synthetic.Synthetic, scene: Scene, tiles: TileSet, contest: Contest, seed: int, work: Path
) -> tuple[tuple[float, float], Cost]:
    """((objects found, AP), cost) of one training."""
    recipe = contest.recipes(scene, seed)[contest.name]
    model, train_s = time_call(bench.train_model, [tiles], recipe, contest, work, lambda share: None)
    scores, score_s = time_call(bench.anomaly_map, scene, model)
    scored = np.isfinite(scores)
    ranking = ranking_of(scores[scored], made.truth[scored] > 0)
    found = float(len(demo.ranks_of(made, highest_regions(scene, model, work))))
    return (found, ranking.average_precision), Cost(train_s, score_s, int(scored.sum()))


def highest_regions(scene: Scene, model: Model, work: Path) -> list[object]:
    """The outlines that `satae score --top 20` would report, the highest first."""
    calibration = model.card.calibration
    assert calibration is not None, "a trained model is calibrated"
    heat = heatmap.write(scene, model, calibration, work / "heatmap.tif", 1, lambda pixels: None)
    field = Field(heat, scene.grid, calibration, selection.min_pixels(scene.grid, None))
    return [region.polygon for region in Top(demo.TOP).select(field).found]


def port_lines(data: Path, entry: Entry, work: Path) -> Iterator[Line]:
    """One model for all ports."""
    make_zones(data / "sen2ships", work)
    contest = entry.contest(describe([work / f"{PORTS[0]}.tif"]), library=True)
    found = measured_ports(work, contest)
    yield line_of("ports, whole scene: AUROC / AP / found at 20", found.everywhere, SHIPS)
    yield line_of("ports, water zone: AUROC / AP / found at 20", found.inside, SHIPS)
    costs = tuple(row.cost for row in found.everywhere)
    for name, hits in found.reported.items():
        what = f"ports, {name.split(', ')[-1]}: regions with a ship / touched / IoU"
        yield Line(what, len(contest.seeds), (hits.precision, hits.recall, hits.overlap), costs)


def planted_lines(data: Path, entry: Entry, work: Path) -> Iterator[Line]:
    """Port by port."""
    lines = []
    for port in PORTS:
        lines.append(planted_line(data / "sen2ships" / f"{port}.tif", entry, work))
        yield lines[-1]
    yield mean("planted, mean of ports: spectral / transplanted", lines)


def planted_line(path: Path, entry: Entry, work: Path) -> Line:
    """Shares of the discs found in one scene."""
    scene = describe([path])
    contest = entry.contest(scene)
    tallies = [
        planted.search(scene, replace(contest, seeds=(seed,)), PLANTING, work, told).tallies[contest.name]
        for seed in contest.seeds
    ]
    figures = np.mean([shares(tally) for tally in tallies], axis=0)
    costs = tuple(Cost(tally.train_s) for tally in tallies)
    return Line(f"planted, {scene.name}", len(tallies), tuple(figures.tolist()), costs)


def shares(tally: planted.Tally) -> list[float]:
    """Found of the discs that count, kind by kind."""
    cells = PLANTING.cells
    return [
        tally.share([c for c in cells if c.kind == kind and c.size >= smallest], PLANTING.number)
        for kind, smallest in SMALLEST.items()
    ]


def fire_lines(data: Path, entry: Entry, work: Path) -> Iterator[Line]:
    """Areas that are as common as objects are rare."""
    yield scene_line("fires", scars(data / "wildfire_s2"), entry, work)


def had_lines(data: Path, entry: Entry, work: Path) -> Iterator[Line]:
    """Hyperspectral scenes."""
    yield scene_line("had", bench.mat_cases(data / "had", work), entry, work)


def scene_line(what: str, cases: Sequence[bench.Case], entry: Entry, work: Path) -> Line:
    """The mean over scenes with a model each."""
    contest = entry.contest(cases[0].scene)
    rows = [report.measurement(result) for result in bench.results(cases, contest, work, told)]
    return line_of(f"{what}, mean of {len(cases)}: AUROC / AP / TPR at 1 %", rows, PIXELS)


Part = Callable[[Path, Entry, Path], Iterator[Line]]
PARTS: dict[str, Part] = {
    "demo": demo_lines,
    "ports": port_lines,
    "planted": planted_lines,
    "fires": fire_lines,
    "had": had_lines,
}


def table(data: Path, parts: Sequence[str], entries: Sequence[Entry]) -> Iterator[str]:
    """The table, line by line as it is measured."""
    yield row(("", "recipe", "seeds", "found", "train, s", "Mpx/s"))
    yield row(tuple("-" * wide for wide in WIDTHS))
    for part in parts:
        for entry in entries:
            with tempfile.TemporaryDirectory() as work:
                for line in PARTS[part](data, entry, Path(work)):
                    yield row(line.cells(entry.name))


def entries(options: argparse.Namespace) -> list[Entry]:
    """The recipes that were asked for, or the default."""
    return [
        Entry(path.stem if path else "default", config.load(path, options.changes), options.seeds)
        for path in options.config or [None]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_shared(parser, seeds=(0, 1, 2))
    parser.add_argument("--config", type=Path, action="append", metavar="RECIPE")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    options = parser.parse_args()
    for line in table(Path(options.data).absolute(), options.only, entries(options)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
