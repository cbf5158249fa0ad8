"""Decisions are found again by where regions lie: against pairs worked out by hand, and through whole runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from results import JUDGED, review
from rows import changed, grid, layer

from satae import formats
from satae.decisions import decisions, earlier
from satae.decisions.decisions import Decisions, carry
from satae.decisions.earlier import Earlier
from satae.errors import ConfigError, OutputError
from satae.formats import geojson, gpkg
from satae.gis.layers import SceneLayer
from satae.gis.matching import same_regions

CREATED = "2026-01-02T03:04:05Z"


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([shapely.MultiPolygon([shapely.box(*c)]) for c in corners], object)


def scene_of(*corners: tuple[float, float, float, float], name: str = "north", **kind: Any) -> SceneLayer:
    """A layer with regions at these pixels (left, top, right, bottom)."""
    made = layer(grid(**kind), name, scores=tuple(9.0 - i for i in range(len(corners))))
    for number, polygon in enumerate(made.grid.polygons(boxes(*corners)) if corners else ()):
        made = changed(made, number, polygon=polygon)
    return made


def write(path: Path, *scenes: SceneLayer) -> Path:
    gpkg.write(path, path.name, scenes, CREATED)
    return path


def reviews(scene: SceneLayer) -> list[tuple[str, str, str]]:
    return [(r.review_status, r.review_label, r.review_note) for r in scene.regions]


UNTOUCHED = ("unreviewed", "", "")
ASKED = ("accepted", "ship", "ask again")


def test_regions_are_matched_by_the_largest_overlap_one_to_one() -> None:
    old = boxes((0, 0, 10, 10), (0, 0, 10, 8), (30, 0, 40, 10), (60, 0, 62, 2))
    new = boxes((31, 0, 41, 10), (0, 0, 10, 9), (0, 0, 10, 7), (60, 0, 70, 10))
    # 0: 90 / 100 with new 1, 70 / 100 with new 2; 1: 80 / 90 and 70 / 80; 3: 4 / 100 only
    assert same_regions(old, new) == [(0, 1), (1, 2), (2, 0)]
    assert same_regions(old, new, least=0.04) == [(0, 1), (1, 2), (2, 0), (3, 3)]
    assert same_regions(old, new[:0]) == same_regions(old[:0], new) == []


def test_each_side_is_used_once_and_shares_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 40, (2, 60, 2))
    old, new = (boxes(*[(x, y, x + 9, y + 7) for x, y in side]) for side in corners)
    pairs = same_regions(old, new, least=0.2)
    share = np.array([[a.intersection(b).area / a.union(b).area for b in new] for a in old])
    assert len(pairs) > 10 and all(len(set(side)) == len(pairs) for side in zip(*pairs, strict=True))
    assert min(share[i, j] for i, j in pairs) >= 0.2
    left = share.copy()
    left[[i for i, _ in pairs]], left[:, [j for _, j in pairs]] = 0, 0
    assert left.max() < 0.2  # nothing that could have been matched is left over


@pytest.mark.parametrize("crs", ["EPSG:32632", None])
def test_status_label_and_note_move_to_the_same_region_of_the_same_scene(
    tmp_path: Path, crs: str | None
) -> None:
    path = write(tmp_path / "out.gpkg", scene_of((4, 6, 14, 16), (30, 30, 40, 40), crs=crs))
    review(path, "north-1")
    read = decisions.read(path)
    assert len(read) == 1
    again = scene_of((5, 6, 14, 16), (29, 30, 40, 40), crs=crs)
    elsewhere = scene_of((30, 30, 40, 40), name="south", crs=crs)
    (elsewhere, again), (carried,) = carry([read], [elsewhere, again])
    assert (reviews(again), reviews(elsewhere)) == ([UNTOUCHED, ASKED], [UNTOUCHED])
    assert carried.rows == 1 and len(carried.lost) == 0


def test_a_scene_is_known_by_its_file_when_its_folder_went_before_its_name(tmp_path: Path) -> None:
    """Alone it was called north; beside another north.tif each is called after its folder."""
    made = scene_of((4, 6, 14, 16), (30, 30, 40, 40))
    path = write(tmp_path / "out.gpkg", replace(made, scene=replace(made.scene, path="may/north.tif")))
    review(path, "north-1")

    def beside(folder: str, file: str) -> SceneLayer:
        other = scene_of((4, 6, 14, 16), (30, 30, 40, 40), name=f"{folder}_north")
        return replace(other, scene=replace(other.scene, path=file))

    may, june = beside("may", "may/../may/north.tif"), beside("june", "june/north.tif")
    (june, may), (carried,) = carry([decisions.read(path)], [june, may])
    assert (reviews(may), reviews(june)) == ([UNTOUCHED, ASKED], [UNTOUCHED, UNTOUCHED])
    assert carried.rows == 1 and len(carried.lost) == 0


def test_two_scenes_of_one_file_are_told_apart_by_name(tmp_path: Path) -> None:
    both = [replace(s, scene=replace(s.scene, path="all.tif")) for s in (scene_of((4, 6, 14, 16)),
            scene_of((4, 6, 14, 16), name="south"))]  # fmt: skip
    path = write(tmp_path / "out.gpkg", *both)
    review(path, "south-0")
    found, _ = carry([decisions.read(path)], both)
    assert [reviews(s) for s in found] == [[UNTOUCHED], [ASKED]]


def seen_as(kind: str, *, name: str, path: str = "north.tif") -> SceneLayer:
    """A scene with a region as a model for one kind sees it."""
    made = scene_of((4, 6, 14, 16), name=name)
    regions = [replace(region, kind=kind) for region in made.regions]
    return replace(made, regions=regions, scene=replace(made.scene, path=path, kind=kind))


@pytest.mark.parametrize("told", [True, False])  # whether the result tells the files of its scenes
@pytest.mark.parametrize("kind", ["object", "area"])
def test_a_scene_has_decisions_of_its_own_for_each_kind_whatever_a_result_calls_it(
    tmp_path: Path, kind: str, told: bool
) -> None:
    """Beside objects areas lie in north-area, alone in north; both are of north.tif."""
    both = [seen_as("object", name="north"), seen_as("area", name="north-area")]
    path = write(tmp_path / "out.gpkg", *both)
    reviewed = "north-0" if kind == "object" else "north-area-0"
    review(path, reviewed)
    read = decisions.read(path)
    read = read if told else replace(read, names={})
    for alone in ("object", "area"):
        (found,), (carried,) = carry([read], [seen_as(alone, name="north")])
        assert (reviews(found), carried.rows) == (([ASKED], 1) if alone == kind else ([UNTOUCHED], 0))
    # and back: what was decided alone is found beside the other kind
    path = write(tmp_path / "alone.gpkg", seen_as(kind, name="north"))
    review(path, "north-0")
    read = decisions.read(path)
    found, _ = carry([read if told else replace(read, names={})], both)
    assert [reviews(s) for s in found] == [[ASKED if s.scene.kind == kind else UNTOUCHED] for s in both]


def test_a_scene_is_known_by_its_file_for_each_kind(tmp_path: Path) -> None:
    """Beside another north.tif it was called after its folder, and its areas so, too."""
    names = {"object": "may_north", "area": "may_north-area"}
    path = write(tmp_path / "out.gpkg", *(seen_as(kind, name=name) for kind, name in names.items()))
    review(path, "may_north-area-0")
    found, _ = carry([decisions.read(path)], [seen_as(kind, name="north") for kind in names])
    assert [reviews(s) for s in found] == [[UNTOUCHED], [ASKED]]


def test_a_file_that_is_known_for_one_kind_is_not_looked_for_by_its_name(tmp_path: Path) -> None:
    """Another north.tif has areas of its own, in the same result and under the longer name."""
    path = write(
        tmp_path / "out.gpkg",
        seen_as("object", name="north"),
        seen_as("area", name="north-area", path="elsewhere/north.tif"),
    )
    review(path, "north-0")
    review(path, "north-area-0")
    (found,), _ = carry([decisions.read(path)], [seen_as("area", name="north")])
    assert reviews(found) == [UNTOUCHED]


def test_a_result_in_another_crs_is_laid_over_the_scene(tmp_path: Path) -> None:
    both = scene_of((4, 6, 14, 16)), scene_of((4, 6, 14, 16), name="south", crs="EPSG:32633")
    path = write(tmp_path / "out.gpkg", *both)
    review(path, "south-0")
    assert geopandas.read_file(path, layer="anomalies").crs == "EPSG:4326"
    found, _ = carry([decisions.read(path)], both)
    assert [reviews(s) for s in found] == [[UNTOUCHED], [ASKED]]


@pytest.mark.parametrize(
    "values", [{"review_note": "odd"}, {"review_label": "buoy"}, {"review_status": "rejected"}]
)
def test_one_of_the_three_makes_a_row_a_reviewed_one(tmp_path: Path, values: dict[str, str]) -> None:
    path = write(tmp_path / "out.gpkg", scene_of((4, 6, 14, 16), (30, 30, 40, 40)))
    assert len(decisions.read(path)) == 0
    review(path, "north-0", **values)
    assert decisions.read(path).frame["anomaly_id"].tolist() == ["north-0"]


def test_the_first_source_has_its_way_and_the_second_what_is_left(tmp_path: Path) -> None:
    one = write(tmp_path / "one.gpkg", scene_of((4, 6, 14, 16)))
    two = write(tmp_path / "two.gpkg", scene_of((4, 6, 14, 16), (30, 30, 40, 40)))
    review(one, "north-0")
    for number in (0, 1):
        review(two, f"north-{number}", review_status="rejected")
    new = scene_of((4, 6, 14, 16), (30, 30, 40, 40))
    (new,), carried = carry([decisions.read(one), decisions.read(two)], [new])
    assert reviews(new) == [ASKED, ("rejected", "", "")]
    assert [c.rows for c in carried] == [1, 1]


Over = tuple[list[SceneLayer], decisions.CarriedDecisions | None]


def over(path: Path, *scenes: SceneLayer, also: Decisions | None = None) -> Over:
    draft = path.parent / "draft" / path.name
    draft.parent.mkdir(exist_ok=True)
    with Earlier(path) as before:
        write = formats.FORMATS[path.suffix].write
        layers, kept = earlier.write_over(write, draft, before, scenes, CREATED, also)
    draft.replace(path)
    if decisions.beside(draft).exists():
        decisions.beside(draft).replace(decisions.beside(path))
    return layers, kept.carried


def check(path: Path, crs: str | None) -> None:
    with Earlier(path) as before:
        before.check(crs)


def test_what_is_not_found_again_is_kept_and_comes_back_when_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "out.gpkg", scene_of((4, 6, 14, 16), (30, 30, 40, 40)))
    review(path, "north-1")
    _, gone = over(path, scene_of((4, 6, 14, 16)))
    assert gone is not None and (gone.rows, len(gone.lost)) == (0, 1) and "reviewed_before" in gone.place
    kept = geopandas.read_file(path, layer="reviewed_before")
    assert kept[["anomaly_id", *JUDGED]].to_numpy().tolist() == [["north-1", *JUDGED.values()]]
    assert kept.geometry[0].equals(grid().polygons(boxes((30, 30, 40, 40)))[0]) and kept.crs == "EPSG:32632"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    over(path, scene_of((4, 6, 14, 16)))
    assert len(geopandas.read_file(path, layer="reviewed_before")) == 1  # however often it is not found
    (back,), found = over(path, scene_of((30, 30, 40, 40)))
    assert found is not None and found.rows == 1 and reviews(back) == [ASKED]
    assert "reviewed_before" not in geopandas.list_layers(path)["name"].tolist()


def test_a_scene_that_is_not_scored_again_keeps_its_decisions(tmp_path: Path) -> None:
    path = write(tmp_path / "out.gpkg", scene_of((4, 6, 14, 16)), scene_of((4, 6, 14, 16), name="south"))
    review(path, "south-0")
    over(path, scene_of((4, 6, 14, 16), crs="EPSG:32633"))
    assert decisions.read(path).frame[["scene", "review_status"]].to_numpy().tolist() == [
        ["south", "accepted"]
    ]


@pytest.mark.parametrize(("before", "after"), [("EPSG:32632", None), (None, "EPSG:32632")])
def test_decisions_that_could_not_be_kept_are_not_overwritten(
    tmp_path: Path, before: str | None, after: str | None
) -> None:
    path = write(tmp_path / "out.gpkg", scene_of((4, 6, 14, 16), crs=before))
    check(path, grid(after).crs)
    review(path, "north-0")
    check(path, grid(before).crs)
    with pytest.raises(ConfigError, match="cannot keep; choose another name"):
        check(path, grid(after).crs)


@pytest.mark.parametrize("suffix", [".geojson", ".parquet", ".fgb"])
def test_a_format_of_one_layer_keeps_them_in_a_file_beside(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path, first = tmp_path / f"out{suffix}", scene_of((4, 6, 14, 16), (30, 30, 40, 40))
    first = changed(first, 1, **JUDGED)
    formats.FORMATS[suffix].write(path, path.name, [first], CREATED)
    _, gone = over(path, scene_of((4, 6, 14, 16)))
    assert gone is not None and gone.place == "out_reviewed_before.gpkg"
    assert decisions.read(path).frame["anomaly_id"].tolist() == ["north-1"]
    (back,), _ = over(path, scene_of((30, 30, 40, 40)))
    assert reviews(back) == [ASKED]
    assert len(geopandas.read_file(decisions.beside(path))) == 0 and len(decisions.read(path)) == 1


def test_a_geojson_without_regions_has_no_decisions(tmp_path: Path) -> None:
    path = tmp_path / "out.geojson"
    geojson.write(path, path.name, [scene_of()], CREATED)
    assert len(decisions.read(path)) == 0


def test_a_decision_made_while_the_layers_are_written_is_not_lost(tmp_path: Path) -> None:
    path = write(tmp_path / "out.gpkg", scene_of((4, 6, 14, 16)))
    draft, new = tmp_path / "draft" / "out.gpkg", scene_of((4, 6, 14, 16))
    draft.parent.mkdir()
    with Earlier(path) as before:
        earlier.write_over(gpkg.write, draft, before, [new], CREATED, None)
        assert not before.is_stale
        review(path, "north-0")
        with before.hold(overwrite=True):
            assert before.is_stale
            (new,), kept = earlier.write_over(gpkg.write, draft, before, [new], CREATED, None)
            assert not before.is_stale
    assert kept.carried is not None and kept.carried.rows == 1 and reviews(new) == [ASKED]
    assert decisions.read(draft).frame["review_label"].tolist() == ["ship"]


def test_a_decision_that_was_undone_while_its_scene_was_scored_stays_undone(tmp_path: Path) -> None:
    path = write(tmp_path / "out.gpkg", scene_of((4, 6, 14, 16)))
    review(path, "north-0")
    before = decisions.read(path)
    review(path, "north-0", review_status="unreviewed", review_label="", review_note="")
    new = scene_of((4, 6, 14, 16))
    (new,), _ = over(path, new, also=before)
    assert reviews(new) == [UNTOUCHED]


def test_what_is_no_result_is_replaced_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out.gpkg"
    path.write_bytes(b"not a database" * 100)
    check(path, None)
    assert over(path, scene_of((4, 6, 14, 16)))[1] is None
    assert "no decision in it is carried over" in caplog.text
    assert len(geopandas.read_file(path, layer="anomalies")) == 1


def test_files_without_decisions_to_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        decisions.read(tmp_path / "none.gpkg")
    (tmp_path / "text.gpkg").write_text("text")
    with pytest.raises(ConfigError, match="cannot be read as layers"):
        decisions.read(tmp_path / "text.gpkg")
    plain = geopandas.GeoDataFrame({"scene": ["a"]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32632")
    plain.to_file(tmp_path / "plain.gpkg")
    with pytest.raises(ConfigError, match="no column review_status"):
        decisions.read(tmp_path / "plain.gpkg")


def test_a_scene_and_a_file_of_which_one_lies_nowhere_cannot_be_compared(tmp_path: Path) -> None:
    path = write(tmp_path / "out.gpkg", scene_of((4, 6, 14, 16)))
    review(path, "north-0")
    with pytest.raises(ConfigError, match="states no CRS"):
        decisions.read(path).on("north", grid(crs=None))


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    path = write(tmp_path / "out.gpkg", scene_of((4, 6, 14, 16)))
    review(path, "north-0")
    with pytest.raises(OutputError, match=r"kept\.gpkg could not be written"):
        earlier.keep(tmp_path / "no" / "kept.gpkg", "kept.gpkg", decisions.read(path).frame, CREATED)
