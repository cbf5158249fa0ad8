"""benchmarks/detection.py: the table from known numbers, and its cheapest part on the smallest made-up scene."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely

from satae import config
from satae.bench.contest import Cost
from satae.bench.planted import Tally
from satae.demo import run as demo
from satae.demo import synthetic
from satae.training.presets import complete_recipe

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


with pytest.MonkeyPatch.context() as patched:
    patched.syspath_prepend(SCRIPTS)  # the scripts beside it are its neighbours, as when it is run
    detection = importlib.import_module("detection")


def texts(line: str) -> list[str]:
    """The cells of a row."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_mean_of_scenes_adds_pixels_up_and_says_how_many_seeds_were_run():
    one = detection.Line("one", 3, (9.0, 0.5), (Cost(10.0, 1.0, 3_000_000),))
    two = detection.Line("two", 3, (10.0, 0.25), (Cost(20.0, 3.0, 1_000_000),))
    line = detection.row(detection.mean("both", [one, two]).cells("mine"))
    assert texts(line) == ["both", "mine", "3", "9.5 / 0.375", "15.0", "1.00"]


def test_what_was_not_timed_has_no_speed():
    assert detection.Line("planted", 1, (0.5,), (Cost(1.0),)).cells("mine")[-1] == "-"


def test_discs_count_from_2_pixels_of_one_spectrum_and_from_4_transplanted():
    number, cells = detection.PLANTING.number, detection.PLANTING.cells
    found = {c: number if c.size == 4 or (c.kind, c.size) == ("transplanted", 2) else 0 for c in cells}
    tally = Tally(SimpleNamespace(), 0.0, 1, found, found, 0.0)
    assert detection.shares(tally) == pytest.approx([1 / 4, 1 / 3])
    assert min(c.contrast for c in cells if c.kind == "synthetic") == 2
    assert {c.contrast for c in cells if c.kind == "transplanted"} == {1}


@pytest.mark.parametrize(("name", "learns"), [("rx", False), ("annulus", False), ("density", True)])
def test_only_a_model_with_weights_is_trained_with_every_seed(name, learns):
    recipe = complete_recipe(config.load(None, [f"model.name={name}"]), 4, 10.0)
    assert detection.has_weights(recipe, 4) is learns


def test_every_part_of_the_table_prints_as_soon_as_it_is_measured(monkeypatch):
    def part(data, entry, work):
        yield detection.Line(f"{data.name} of", 1, (0.5,), (Cost(1.0, 2.0, 1_000_000),))
        raise AssertionError("not measured yet")

    monkeypatch.setattr(detection, "PARTS", {"mine": part})
    entry = detection.Entry("rx", config.load(Path("rx")), (0,))
    lines = detection.table(Path("data"), ["mine"], [entry])
    assert [texts(next(lines))[1], set(texts(next(lines))[1])] == ["recipe", {"-"}]
    assert texts(next(lines)) == ["data of", "rx", "1", "0.5", "1.0", "0.50"]


def test_demo_counts_objects_among_the_highest_regions(tmp_path):
    made = synthetic.scene(height=192, width=256, seed=1)
    entry = detection.Entry("rx", config.load(Path("rx")), (4, 5))
    line = detection.demo_line(made, "small", entry, tmp_path)
    (cost,), (found, precision) = line.costs, line.figures
    assert line.seeds == 1 and cost.pixels == made.valid.sum() and min(cost.train_s, cost.score_s) > 0
    assert 1 <= found <= len(made.planted) and 0 < precision < 1


def test_an_object_has_the_rank_of_the_first_outline_that_shares_a_pixel_with_it():
    made = synthetic.scene(height=128, width=128, seed=0)
    rows, cols = (np.nonzero(made.truth == 2)[axis] for axis in (0, 1))
    around = shapely.box(cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
    beside = shapely.box(cols.max() + 1, rows.min(), cols.max() + 2, rows.max() + 1)
    assert demo.ranks_of(made, [beside, around, around]) == {2: 2}
