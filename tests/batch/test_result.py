"""What is made of finished folders: one GeoPackage, report, catalogue and index, with all that was decided before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet
import pystac
import pytest
from commands import refused, typed
from crowds import finished, inline, rows
from results import JUDGED, opinions, review
from shared import Shared

from satae.batch import collect, store
from satae.batch.folders import SceneFolders, is_current
from satae.batch.result import make


def number(out: Path) -> int:
    """How many regions the scenes say that they have."""
    return sum(found.row["anomalies"] for found in SceneFolders(out))


def collected(out: Path) -> Any:
    return make(SceneFolders(out)).collection


def test_ranks_and_chips_are_those_of_all_scenes_together(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    out = finished(shared, model_path, tmp_path)
    collected(out)
    frame = geopandas.read_file(out / "anomalies.gpkg", layer="anomalies").sort_values("rank")
    assert frame["rank"].tolist() == list(range(1, number(out) + 1))
    assert frame["score"].tolist() == sorted(frame["score"], reverse=True)
    assert frame["chip"].notna().tolist() == [True] * 2 + [False] * (
        number(out) - 2
    )  # as many as were asked for
    assert all((out / chip).is_file() for chip in frame["chip"].dropna())
    assert {p.name for p in (out / "anomalies_chips").iterdir()} == {
        "chips.json",
        *(Path(c).name for c in frame["chip"].dropna()),
    }
    assert frame.crs == geopandas.read_file(out / "anomalies.gpkg", layer="scenes").crs


def test_what_the_calibration_cannot_tell_is_noted_once_as_the_report_has_it(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    out = finished(shared, model_path, tmp_path)
    done = typed("run", "--collect", "--out", out)
    (note,) = [line for line in done.stderr.splitlines() if "background regions" in line]
    assert note.startswith("note: ranks hold, ")
    assert note.removeprefix("note: ") in (out / "anomalies.html").read_text("utf-8")


@pytest.mark.parametrize("number", [1, 2])
def test_a_scene_that_is_foreign_to_the_model_is_named_by_the_run_and_by_the_result(
    number: int, scene_path: Path, landscape: Any, make_scene: Any, model_path: Path, tmp_path: Path
) -> None:
    # the DN of each band, without any order
    odd, rng = landscape.image.copy(), np.random.default_rng(0)
    for band in odd:
        band[landscape.valid] = rng.permutation(band[landscape.valid])
    scenes = [make_scene(odd, name="odd.tif", nodata=0), scene_path][:number]
    line = ("run", *scenes, "--model", model_path, "--out", tmp_path / "out")
    done = typed(*line, "--json")
    note = f"note: 1 of {number} foreign to the model: odd; no region"
    assert done.stderr.count(note) == 1 and json.loads(done.stdout)["foreign_scenes"] == ["odd"]
    # of what was there before, too, and once
    done = typed(*line, "--collect", "--json")
    said = json.loads(done.stdout)
    assert (said["foreign_scenes"], said["result"]["foreign_scenes"]) == ([], ["odd"])
    assert done.stderr.count("foreign to the model: ") == 1
    assert typed("run", "--collect", "--out", tmp_path / "out").stderr.count(note) == 1


def test_rows_are_held_a_few_scenes_at_a_time(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished(shared, model_path, tmp_path)
    collected(out)
    whole = {layer: rows(out / "anomalies.gpkg", layer) for layer in ("anomalies", "tiles", "scenes")}
    (out / "collect.json").write_text('{"files": ["anomalies.gpkg"]}')
    monkeypatch.setattr("satae.batch.folders.AT_ONCE", 1)
    collected(out)
    for layer, frame in whole.items():
        assert rows(out / "anomalies.gpkg", layer).equals(frame)


def test_decisions_are_carried_over_and_what_others_put_in_stays(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    out = finished(shared, model_path, tmp_path)
    collected(out)
    path = out / "anomalies.gpkg"
    first, second = geopandas.read_file(path, layer="anomalies").sort_values("rank")["anomaly_id"][:2]
    review(path, first)
    review(path, second, review_note="of a scene that goes")
    notes = geopandas.read_file(path, layer="scenes").head(1)
    notes.to_file(path, layer="notes", driver="GPKG")
    gone = next(f for f in (out / "scenes").iterdir() if second.startswith(f.name.rpartition("-")[0] + "-r"))
    shutil.rmtree(gone)
    found = collected(out)
    own = geopandas.read_file(path, layer="anomalies").set_index("anomaly_id")
    assert found.carried == len([n for n in (first, second) if n in own.index]) and found.missing == 1
    assert second not in own.index and len(geopandas.read_file(path, layer="notes")) == 1
    if first in own.index:
        assert own.loc[first, list(JUDGED)].to_dict() == JUDGED
    kept = geopandas.read_file(path, layer="reviewed_before")
    assert second in set(kept["anomaly_id"])
    assert tuple(JUDGED.values()) in opinions(path) or first in set(kept["anomaly_id"])


def test_nothing_is_made_again_that_is_there_and_what_is_not_ours_stays(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    out = finished(shared, model_path, tmp_path)
    (out / "anomalies.gpkg").write_text("mine")
    assert "exists" in refused(3, "run", "--collect", "--out", out)
    (out / "anomalies.gpkg").unlink()
    assert typed("run", "--collect", "--out", out).exit_code == 0
    assert is_current(out, SceneFolders(out))
    stamp = (out / "anomalies.gpkg").stat().st_mtime_ns
    assert "holds all" in typed("run", "--collect", "--out", out).stdout
    assert (out / "anomalies.gpkg").stat().st_mtime_ns == stamp
    shutil.rmtree(out / "stac")
    assert not is_current(out, SceneFolders(out))


def test_the_catalogue_holds_every_scene_and_its_links_lead_to_files(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    out = finished(shared, model_path, tmp_path)
    collected(out)
    catalogue = pystac.Catalog.from_file(str(out / "catalog.json"))
    items = {item.id: item for item in catalogue.get_items(recursive=True)}
    assert set(items) == {f"s{i}" for i in range(6)}
    for item in items.values():
        hrefs = [asset.get_absolute_href() for asset in item.assets.values()]
        assert len(hrefs) == 2 and all(Path(str(href)).is_file() for href in hrefs)
        assert item.bbox is not None and item.properties["satae:anomalies"] > 0


def test_the_report_counts_all_and_shows_the_first(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished(shared, model_path, tmp_path)
    monkeypatch.setattr("satae.batch.chapters.NAMED", 2)
    monkeypatch.setattr("satae.batch.chapters.OUTLINED", 5)
    collected(out)
    text = (out / "anomalies.html").read_text()
    assert f"{number(out)} regions in 6 scenes out of place" in text and "scenes not listed" in text
    assert text.count('id="rank-') >= 3 and 'id="rank-1"' in text


def test_tiles_that_are_too_many_are_left_out_and_told_of(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished(shared, model_path, tmp_path)
    monkeypatch.setattr(collect, "TILES", 0)
    assert collected(out).tiles is False
    assert [len(rows(out / "anomalies.gpkg", n)) for n in ("tiles", "anomalies")] == [0, number(out)]


def test_the_index_has_a_row_a_scene(shared: Shared, model_path: Path, tmp_path: Path) -> None:
    out = finished(shared, model_path, tmp_path)
    table = pyarrow.parquet.read_table(out / "index.parquet").to_pylist()
    assert [row["name"] for row in table] == [f"s{i}" for i in range(6)]
    for row in table:
        assert row["state"] == "done" and row["anomalies"] in (2, 3) and row["code"] == 0
        assert row["seconds"] > 0 and row["cpu"] > 0 and row["peak_mb"] > 50
        assert (out / row["folder"] / "heatmap.tif").is_file() and Path(row["path"]).is_file()


def test_a_record_that_was_stored_comes_back_as_it_was(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    out = finished(shared, model_path, tmp_path)
    for found in SceneFolders(out):
        record = store.read(found)
        again = out / "again"
        shutil.copytree(found.folder, again)
        for name in (store.ABOUT, store.REGIONS, store.TILES, *store.PICTURES):
            (again / name).unlink()
        store.write(store.replace(record, folder=again))
        for path in found.folder.iterdir():
            assert (again / path.name).read_bytes() == path.read_bytes(), path.name
        shutil.rmtree(again)


def test_a_damaged_folder_is_named(shared: Shared, model_path: Path, tmp_path: Path) -> None:
    out = finished(shared, model_path, tmp_path)
    folder = next(iter(SceneFolders(out))).folder
    (folder / "tiles.npy").write_bytes(b"\x93NUMPY nonsense")
    assert str(folder) in refused(2, "run", "--collect", "--out", out)
    (folder / "scene.json").write_text("{")
    assert "is damaged" in refused(2, "run", "--collect", "--out", out)


def test_a_folder_of_no_run_is_refused(tmp_path: Path) -> None:
    assert "no finished scene" in refused(2, "run", "--collect", "--out", tmp_path)
    assert "name scenes" in refused(2, "run", "--out", tmp_path)


@pytest.mark.slow
def test_run_alone_is_the_three_commands_in_one_and_goes_on_where_it_ended(
    scene_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    model = ("--set", "model.name=rx_shrunk")
    for name in ("three", "one"):
        (here / name).mkdir()
    monkeypatch.chdir(here / "three")
    for line in (("tile", scene_path), ("train", *model), ("score", "--top", 3)):
        assert typed(*line).exit_code == 0
    monkeypatch.chdir(here / "one")
    done = typed("run", scene_path, "--top", 3, *model)
    assert done.exit_code == 0, done.stderr
    for path in (p for p in (here / "three").rglob("*") if p.is_file()):
        own = here / "one" / path.relative_to(here / "three")
        assert own.is_file(), path
        if path.name != "history.jsonl":  # which has seconds
            assert own.read_bytes() == path.read_bytes(), path
    before = {p: p.stat().st_mtime_ns for p in Path().rglob("*") if p.is_file() and p.name != "plan.jsonl"}
    assert typed("run", scene_path, "--top", 3, *model).exit_code == 0
    assert {
        p: p.stat().st_mtime_ns for p in Path().rglob("*") if p.is_file() and p.name != "plan.jsonl"
    } == before
    # each step that is missing is done again, and no other; in this process, which has loaded what training needs
    inline(monkeypatch)
    Path("anomalies.gpkg").unlink()
    shutil.rmtree("scenes")
    assert typed("run", scene_path, "--top", 3, *model).exit_code == 0
    assert Path("model.onnx").stat().st_mtime_ns == before[Path("model.onnx")]
    assert Path("anomalies.gpkg").exists()
    Path("model.onnx").unlink()
    assert typed("run", scene_path, "--top", 3, *model).exit_code == 0
    assert Path("model.onnx").read_bytes() == (here / "three" / "model.onnx").read_bytes()
    assert Path("tiles/land/tiles.npy").stat().st_mtime_ns == before[Path("tiles/land/tiles.npy")]


def test_files_of_others_are_in_the_way_of_training(scene_path: Path, here: Path) -> None:
    Path("model.onnx").write_text("mine")
    said = refused(3, "run", scene_path)
    assert "model.onnx is there and not of this run" in said and Path("model.onnx").read_text() == "mine"
    said = refused(2, "run", scene_path, "--model", "m.onnx", "--config", "areas", "--out", "x")
    assert "--config, --set and --epochs" in said
    assert "--shard needs --model" in refused(2, "run", scene_path, "--shard", "0/2", "--out", "x")
