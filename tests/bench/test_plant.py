"""Planted targets: what they change, where they go, and that a large and bright one is found."""

import json
import math
from contextlib import contextmanager

import numpy as np
import pytest
from scenes import make_tiles

from satae import config
from satae.bench.contest import Contest
from satae.bench.plant import Cell, Ground, PlantedSource, Target, as_stored, outline
from satae.bench.planted import Planting, held_out_blocks, run
from satae.errors import ConfigError, SceneError
from satae.grid import Window
from satae.inference.scan import scan
from satae.tiles.split import split

CELLS = [Cell("synthetic", 3, 2.0), Cell("synthetic", 8, 1.0), Cell("transplanted", 5, 1.0)]


def source_of():
    """A tile set of 3 bands, 96 x 128 pixels, with a strip that is not valid."""
    rng = np.random.default_rng(0)
    valid = np.ones((96, 128), bool)
    valid[:, 60:64] = False
    return make_tiles(rng.integers(100, 4000, (3, 96, 128)).astype(np.uint16), valid)


BLOCKS = [Window(0, 0, 32, 64), Window(32, 64, 64, 64)]


def rounds(source, cells, apart=6, seed=0):
    ground = Ground(source, BLOCKS, np.array([300.0, 200.0, 100.0]))
    return list(ground.rounds(cells, apart, np.random.default_rng(seed)))


@pytest.mark.parametrize(("size", "pixels"), [(1, 1), (2, 4), (3, 9), (4, 12), (8, 52), (16, 208)])
def test_outlines_are_round_and_as_wide_as_they_say(size, pixels):
    shape = outline(size)
    assert shape.shape == (size, size) and shape.sum() == pixels
    assert shape.any(axis=0).all() and (shape == shape.T).all() and (shape == shape[::-1]).all()


def test_only_the_pixels_of_a_target_change():
    source = source_of()
    window = Window(10, 20, 3, 3)
    shape = outline(3)
    shape[0, 0] = False
    target = Target(CELLS[0], window, shape, np.full((3, 3, 3), 70_000.0), 0.5)
    whole = source.grid.window
    before, valid = source.read(whole)
    with PlantedSource(source, [target]).open() as reader:
        after, still = reader.read(whole)
        part, _ = reader.read(Window(11, 18, 4, 4))
    changed = (before != after).any(axis=0)
    inside = np.zeros_like(changed)
    inside[10:13, 20:23] = shape
    assert (changed == inside).all() and (valid == still).all()
    expected = np.minimum(np.rint(before[:, inside] / 2 + 35_000), 65_535)
    assert (after[:, inside] == expected).all()
    assert (part == after[:, 11:15, 18:22]).all()


def test_values_are_stored_as_the_scene_would():
    assert as_stored(np.array([-3.0, 2.6, 300.0]), np.dtype("uint8")).tolist() == [0, 3, 255]
    assert as_stored(np.array([-3.4]), np.dtype("int16")).tolist() == [-3]
    assert as_stored(np.array([2.6]), np.dtype("float32")).tolist() == [np.float32(2.6)]


@pytest.mark.parametrize("seed", range(3))
def test_every_cell_is_planted_once_apart_and_on_valid_ground(seed):
    source = source_of()
    found = rounds(source, CELLS * 7, seed=seed)
    planted = [t for targets in found for t in targets]
    assert sorted(t.cell for t in planted) == sorted(CELLS * 7)
    _, valid = source.read(source.grid.window)
    for target in planted:
        assert valid[target.window.slices(source.grid.window)].all()
        assert any(target.window.within(b) == target.window for b in BLOCKS)
        assert target.shape.shape == (target.cell.size, target.cell.size)
    for targets in found:
        for i, one in enumerate(targets):
            assert all(one.window.with_margin(6).within(other.window) is None for other in targets[:i])


def test_contrast_is_in_standard_deviations_around_the_local_mean():
    source = source_of()
    (targets,) = rounds(source, [Cell("synthetic", 3, 2.0)])
    (target,) = targets
    around, valid = source.read(target.window.with_margin(5))
    steps = (target.pixels[:, 0, 0] - around[:, valid].mean(axis=1)) / [300, 200, 100]
    assert np.abs(steps) == pytest.approx(2.0) and np.ptp(target.pixels, axis=(1, 2)).max() == 0


def test_transplanted_pixels_come_from_elsewhere_in_the_scene():
    source = source_of()
    whole, _ = source.read(source.grid.window)
    views = np.lib.stride_tricks.sliding_window_view(whole, (3, 5, 5))[0]
    for target in rounds(source, [Cell("transplanted", 5, 0.5)] * 4)[0]:
        places = np.argwhere((views == target.pixels).all(axis=(2, 3, 4)))
        assert len(places) == 1 and target.share == 0.5
        assert np.abs(places[0] - (target.window.row, target.window.col)).max() >= 5


def test_the_same_seed_plants_the_same():
    source = source_of()
    one, other = (rounds(source, CELLS * 3, seed=4) for _ in range(2))
    assert [[t.window for t in r] for r in one] == [[t.window for t in r] for r in other]


def test_targets_that_find_no_room_are_refused():
    source = source_of()
    with pytest.raises(SceneError, match=r"no room for a target of 70 valid pixels.*--sizes"):
        rounds(source, [Cell("synthetic", 70, 1.0)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": ()}, "--sizes"),
        ({"sizes": (0,)}, "--sizes 0 must be widths from 1 to 64"),
        ({"contrasts": (-1.0,)}, "--contrasts -1 must be larger than 0"),
        ({"shares": (1.5,)}, "--shares 1.5 must lie between 0 and 1"),
        ({"contrasts": (), "shares": ()}, "nothing to plant"),
        ({"far": 0.0}, "--far 0 is out of range"),
        ({"far": math.nan}, "--far nan is out of range"),
    ],
)
def test_plantings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Planting(**change)


def test_held_out_blocks_share_no_pixel_with_training_tiles():
    source = source_of()
    recipe = config.load(None, ["train.validation=0.3", "train.block=2"])
    blocks = held_out_blocks(source, recipe, seed=0)
    chosen = split([source], share=0.3, block=2, seed=0)
    inside = np.zeros((96, 128), bool)
    for block in blocks:
        inside[block.slices(source.grid.window)] = True
    assert inside.sum() == len(chosen.held_out) * 32 * 32
    for _, tile in chosen.train:
        assert not inside[source.window(int(tile)).slices(source.grid.window)].any()


def test_an_injection_finds_large_and_bright_targets_and_publishes_table_json_and_picture(scene, tmp_path):
    """RX looks for small faint and for large bright targets."""
    contest = Contest(config.load(None, ["model.name=rx"]), "rx", device="cpu", classics=())
    planting = Planting(sizes=(1, 6), contrasts=(0.1, 12.0), shares=(1.0,), number=4, far=500)
    seen = []
    said, table, _ = run(scene, contest, planting, tmp_path / "out", progress=lambda *a: seen.append(a))
    cells = said["scenes"][0]["cells"]
    found = {(c["kind"], c["size"], c["contrast"]): c["found"]["rx"] for c in cells}
    assert found["synthetic", 6, 12.0] == 1.0
    assert found["synthetic", 1, 0.1] <= 0.25 and found["synthetic", 1, 12.0] < 1  # one pixel is a speck
    assert all(c["n"] == 4 for c in cells)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "bench.json", "table.txt", "config.yaml", "detection.png",
    }  # fmt: skip
    assert said == {"out": str(tmp_path / "out")} | json.loads((tmp_path / "out" / "bench.json").read_text())
    assert {"kind", "recipe", "seeds", "methods", "scenes", "mean"} <= set(said)
    assert table[0].split() == ["rx", "1", "px", "6", "px"] and (seen[-1][:2]) == (2, 2)
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_a_target_changes_no_score_beyond_the_halo():
    """What `Ground.rounds` relies on when it keeps targets a halo apart."""
    source = source_of()

    class Blur:
        """A model of 3 x 3 means, for the scan."""

        class card:
            stride, halo, core, frame = 4, 4, 32, 0

        device = "cpu"

        def anomaly_map(self, image, valid):
            padded = np.pad(image[:, 0].astype(np.float32), ((0, 0), (1, 1), (1, 1)))
            views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
            return np.where(valid, views.mean(axis=(3, 4)), np.nan)

    @contextmanager
    def scanned(planted):
        out = np.zeros((96, 128), np.float32)
        for window, scores in scan(planted, Blur(), 1):
            out[window.slices(source.grid.window)] = scores
        yield out

    (targets, *_) = rounds(source, CELLS * 2, apart=Blur.card.halo)
    with scanned(PlantedSource(source, targets)) as every:
        for target in targets:
            with scanned(PlantedSource(source, [target])) as alone:
                here = target.window.slices(source.grid.window)
                assert (every[here] == alone[here]).all()
