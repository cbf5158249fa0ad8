"""Decisions laid over tile sets: masks against a rasteriser, the split with its laws, and what is learned."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from detectors import toy
from maps import Identity
from scenes import UTM, make_tiles
from scipy import ndimage

from satae import config
from satae.decisions.feedback import MARGIN, FeedbackCounts, apply_feedback
from satae.errors import ConfigError, TilesError
from satae.grid import Grid
from satae.inference import runtime
from satae.tiles import split, store
from satae.tiles.store import TileSet
from satae.training import calibration, loop
from satae.training import run as training

Boxes = dict[str, list[tuple[int, int, int, int]]]
ACCEPTED, REJECTED = (40, 50, 52, 58), (100, 100, 110, 104)  # pixels (left, top, right, bottom)


def reviewed(path: Path, boxes: Boxes, *, scene: str = "land", crs: str = "EPSG:32632") -> Path:
    """A result with decisions on these pixels of the landscape."""
    grid = Grid(256, 320, UTM, None)
    rows = [(scene, status, shapely.box(*box)) for status, many in boxes.items() for box in many]
    polygons = grid.polygons(np.array([polygon for *_, polygon in rows], object))
    columns = {"scene": [row[0] for row in rows], "review_status": [row[1] for row in rows]}
    geopandas.GeoDataFrame(columns, geometry=polygons, crs="EPSG:32632").to_crs(crs).to_file(
        path, layer="anomalies"
    )
    return path


def both(folder: Path, **how: Any) -> Path:
    return reviewed(folder / "reviewed.gpkg", {"accepted": [ACCEPTED], "rejected": [REJECTED]}, **how)


def burned(box: tuple[int, int, int, int]) -> np.ndarray:
    shape = shapely.box(*box)
    return rasterio.features.rasterize([shape], (256, 320), transform=Affine.identity()).astype(bool)


def whole(sets: TileSet) -> np.ndarray:
    return sets.read(sets.grid.window)[1]


def touched(sets: TileSet, box: tuple[int, int, int, int]) -> set[int]:
    mask = np.pad(burned(box), ((0, 32), (0, 32)))
    windows = [(int(r), int(c)) for r, c in sets.index]
    return {i for i, (r, c) in enumerate(windows) if mask[r : r + 32, c : c + 32].any()}


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326"])
def test_accepted_pixels_and_a_margin_count_no_more_and_nothing_changes_on_disk(
    complete: TileSet, tmp_path: Path, crs: str
) -> None:
    before = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in complete.path.iterdir()}
    (marked,), told = apply_feedback([complete], both(tmp_path, crs=crs))
    left, top, right, bottom = ACCEPTED
    gone = burned((left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN))
    assert np.array_equal(whole(marked), whole(complete) & ~gone) and gone.sum() == (12 + 6) * (8 + 6)
    assert {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in complete.path.iterdir()} == before
    assert np.array_equal(whole(store.load(complete.path)), whole(complete))
    assert told == FeedbackCounts(1, 1, 0, len(touched(complete, REJECTED)))
    assert marked.images is complete.images


def test_tiles_with_rejected_regions_weigh_more_and_join_the_calibration(
    complete: TileSet, tmp_path: Path
) -> None:
    (marked,), _ = apply_feedback([complete], both(tmp_path))
    plain, chosen = (split.split([s], share=0.2, block=2, seed=0) for s in (complete, marked))
    normal = touched(complete, REJECTED)
    assert {tuple(pair) for pair in chosen.normal} == {(0, t) for t in normal}
    assert np.array_equal(chosen.held_out, plain.held_out)
    times, before = (np.bincount(s.train[:, 1], minlength=len(complete)) for s in (chosen, plain))
    assert before.max() == 1
    assert np.array_equal(
        times, [before[t] * (split.WEIGHT if t in normal else 1) for t in range(len(complete))]
    )
    assert {tuple(p) for p in chosen.calibrating} == {tuple(p) for p in plain.held_out} | {
        (0, t) for t in normal
    }
    assert np.array_equal(plain.calibrating, plain.held_out)


def test_a_learned_tile_with_a_rejected_region_is_part_of_the_calibration_sample() -> None:
    """Scores are the pixels themselves, so the sample is the pixels of the tiles."""
    image = np.arange(256 * 256, dtype=np.float32).reshape(1, 256, 256)
    plain = make_tiles(image, size=32)
    learned = int(split.split([plain], share=0.2, block=1, seed=0).train[5, 1])
    sets = dataclasses.replace(plain, heed=store.Heed(rejected=1, normal=(learned,)))
    found = []
    for one in (plain, sets):
        chosen = split.split([one], share=0.2, block=1, seed=0)
        found.append(calibration.calibration_of([one], chosen, Identity()))  # type: ignore[arg-type]
    assert found[1].pixels == found[0].pixels + 32 * 32 and found[1].blocks == found[0].blocks + 1


def test_accepted_pixels_are_not_in_the_calibration_sample(tmp_path: Path) -> None:
    """The brightest thing of the scene sets its tail, until it is accepted."""
    image = np.random.default_rng(0).random((1, 256, 320)).astype(np.float32)
    base = make_tiles(image, size=32)
    chosen = split.split([base], share=0.2, block=1, seed=0)
    row, col = (int(v) for v in base.index[chosen.held_out[0, 1]])
    image[0, row + 10 : row + 16, col + 10 : col + 16] = 1000
    sets = make_tiles(image, size=32)
    sets = dataclasses.replace(
        sets, record=sets.record.model_copy(update={"scene": "land", "crs": describe_crs()})
    )
    path = reviewed(tmp_path / "r.gpkg", {"accepted": [(col + 10, row + 10, col + 16, row + 16)]})
    (marked,), _ = apply_feedback([sets], path)
    tops = [max(calibration.calibration_of([s], chosen, Identity()).pixel.scores) for s in (sets, marked)]  # type: ignore[arg-type]
    assert tops[0] == 1000 and tops[1] <= 1


def describe_crs() -> str:
    import pyproj

    return pyproj.CRS.from_epsg(32632).to_wkt()


def test_a_tile_of_which_nothing_is_left_is_used_by_neither_side(complete: TileSet, tmp_path: Path) -> None:
    plain = split.split([complete], share=0.2, block=2, seed=0)
    size = complete.record.size
    boxes = []
    for _, tile in (plain.train[3], plain.held_out[0]):
        row, col = (int(v) for v in complete.index[tile])
        boxes.append((col, row, col + size, row + size))
    (marked,), _ = apply_feedback([complete], reviewed(tmp_path / "r.gpkg", {"accepted": boxes}))
    chosen = split.split([marked], share=0.2, block=2, seed=0)
    used = set(chosen.train[:, 1]) | set(chosen.calibrating[:, 1])
    assert {plain.train[3, 1], plain.held_out[0, 1]}.isdisjoint(used)
    assert all(marked.valid[t].any() for t in used)


def test_what_is_both_accepted_and_rejected_is_left_out(complete: TileSet, tmp_path: Path) -> None:
    path = reviewed(tmp_path / "r.gpkg", {"accepted": [ACCEPTED], "rejected": [ACCEPTED]})
    (marked,), _ = apply_feedback([complete], path)
    assert marked.heed.normal == ()


def test_decisions_on_other_scenes_are_counted_and_change_nothing(complete: TileSet, tmp_path: Path) -> None:
    (same,), told = apply_feedback([complete], both(tmp_path, scene="elsewhere"))
    assert same is complete and told.elsewhere == 2 and told.accepted == told.rejected == 0
    assert "2 decisions lie in other scenes" in told.lines[0]
    assert apply_feedback([complete], None) == ([complete], FeedbackCounts())
    assert apply_feedback([complete], reviewed(tmp_path / "none.gpkg", {"unreviewed": [ACCEPTED]}))[
        1
    ].lines == ["feedback: no region in that file is accepted or rejected, so nothing was learned from it"]


def test_a_tile_set_is_known_by_its_file_where_its_scene_has_another_name(
    complete: TileSet, tmp_path: Path
) -> None:
    """Cut beside another land.tif it was called after its folder; the result of it alone calls it land."""
    path = both(tmp_path)
    files = [";".join(f.path for f in complete.record.files), "elsewhere/land.tif"]
    scenes = {"scene": ["land", "other"], "path": files}
    geopandas.GeoDataFrame(scenes, geometry=[shapely.box(0, 0, 1, 1)] * 2, crs="EPSG:32632").to_file(
        path, layer="scenes"
    )
    beside = dataclasses.replace(complete, record=complete.record.model_copy(update={"scene": "may_land"}))
    _, counts = apply_feedback([beside], path)
    assert (counts.accepted, counts.rejected, counts.elsewhere) == (1, 1, 0)
    moved = [f.model_copy(update={"path": "june/land.tif"}) for f in complete.record.files]
    stranger = dataclasses.replace(beside, record=beside.record.model_copy(update={"files": moved}))
    assert apply_feedback([stranger], path)[1].elsewhere == 2


def test_a_scene_without_a_crs_cannot_be_compared(tmp_path: Path) -> None:
    toy_tiles = make_tiles(toy())
    with pytest.raises(ConfigError, match="states no CRS"):
        apply_feedback([toy_tiles], both(tmp_path, scene="made"))


def test_a_run_is_resumed_with_the_same_decisions_only(tile_set: Path, tmp_path: Path) -> None:
    recipe = config.load(
        None, ["model.name=conv", "train.epochs=1", "train.min_steps=1", "model.params.width=4"]
    )
    plain = store.load(tile_set)
    (marked,), _ = apply_feedback([plain], both(tmp_path))
    out, run = tmp_path / "model.onnx", tmp_path / "runs" / "model"
    result = training.train([marked], recipe, out, run, device="cpu")
    assert result.card.feedback == {"accepted": 1, "rejected": 1}
    assert runtime.load(out, "cpu").card.feedback == result.card.feedback
    out.unlink()  # as where the run was killed before its model was published
    with pytest.raises(TilesError, match="on other tiles"):
        training.train([plain], recipe, out, run, device="cpu", resume=True)


def test_what_is_masked_has_no_say_in_what_is_learned(tile_set: Path, tmp_path: Path) -> None:
    """Whatever the accepted pixels hold, normaliser and weights come out the same, bit for bit."""
    plain = store.load(tile_set)
    (marked,), _ = apply_feedback([plain], reviewed(tmp_path / "r.gpkg", {"accepted": [ACCEPTED]}))
    other = np.where(marked.valid[:, None], marked.images, 9999).astype(marked.images.dtype)
    found = []
    for images in (marked.images, other):
        sets = [dataclasses.replace(marked, images=images)]
        recipe = config.load(
            None, ["model.name=conv", "train.epochs=1", "train.min_steps=2", "model.params.width=4"]
        )
        run = tmp_path / str(len(found))
        run.mkdir()
        found.append(loop.fit(sets, loop.plan(sets, recipe), run, device=loop.device_of("cpu")))
    one, two = (dict(t.model.named_parameters()) for t in found)
    assert all((one[name] == two[name]).all() for name in one)
    assert not np.array_equal(other, plain.images)


def test_masked_tiles_are_those_a_dilated_mask_gives(complete: TileSet, tmp_path: Path) -> None:
    """A region of two parts at the edge of the scene, against morphology."""
    boxes = [(0, 0, 7, 5), (9, 3, 20, 12)]
    (marked,), _ = apply_feedback([complete], reviewed(tmp_path / "r.gpkg", {"accepted": boxes}))
    grown = ndimage.binary_dilation(burned(boxes[0]) | burned(boxes[1]), np.ones((2 * MARGIN + 1,) * 2))
    assert np.array_equal(whole(marked), whole(complete) & ~grown)
