"""`satae info` on everything that satae writes: a plain sentence, no None, no dict, no error."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import places
import pyogrio
import pytest
from results import finished
from shared import Shared
from typer.testing import CliRunner

from satae.cli.app import app
from satae.gis import geopackage
from satae.series import state


def said(path: Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["info", str(path)])
    assert done.exit_code == code, done.output
    assert "None" not in done.output and "{" not in done.output and "Traceback" not in done.output
    return done.output


def test_every_file_of_a_run_is_told(model_path: Path, tmp_path: Path) -> None:
    run = model_path.parent / "runs" / "model"
    text = said(run)
    assert re.match(r"kind +training run\n", text) and "diagnosis.md (diagnosis" in text
    assert re.search(r"^next +satae score --model .*model.onnx$", text, re.M)
    assert "folder of training runs" in said(run.parent)
    for part in run.iterdir():
        assert "a training run" in said(part) or "checkpoint" in said(part), part.name


def test_every_file_of_a_tile_set_is_told(tile_set: Path, tmp_path: Path) -> None:
    shutil.copytree(tile_set, tmp_path / "tiles" / "land")
    assert said(tmp_path / "tiles").split()[:5] == ["kind", "folder", "of", "tile", "sets"]
    for part in (tmp_path / "tiles" / "land").iterdir():
        assert "tile set" in said(part), part.name


def test_every_file_of_a_result_is_told(shared: Shared, tmp_path: Path) -> None:
    kinds = {p.name: said(p).splitlines()[0].split(maxsplit=1)[1] for p in finished(shared).iterdir()}
    assert kinds["anomalies.gpkg"] == "result" and kinds["anomalies_heatmap.tif"] == "heatmap"
    assert kinds["anomalies_chips"] == "pictures of the regions of a result"
    text = said(finished(shared) / "anomalies.gpkg")
    assert re.search(r"^next +satae review .*anomalies.gpkg\n\nscene +path +anomalies", text, re.M)
    assert text.count("model_sha256") == text.count("far ") == 1
    (tmp_path / "a.html").write_text('<!DOCTYPE html><head><meta name="generator" content="satae 1"></head>')
    assert said(tmp_path / "a.html").startswith("kind  report of a result")


def test_every_file_of_a_series_is_told(tmp_path: Path) -> None:
    out = places.scored(tmp_path)
    for part in tmp_path.glob("changes*"):
        said(part)
    text, changes = said(out), len(pyogrio.read_dataframe(out, layer="changes"))
    with closing(geopackage.connect(out)) as database:
        database.execute("UPDATE changes SET review_status = 'rejected' WHERE rank = 1")
    told = json.loads(CliRunner().invoke(app, ["info", str(out), "--check", "--json"]).stdout)
    assert told["kind"] == "result of a series" and told["checked"]
    assert told["changes"] == changes and told["review"] == {"unreviewed": changes - 1, "rejected": 1}
    assert (told["dates"], told["first_date"], told["last_date"]) == (3, "2021-01-03", "2023-01-03")
    header = state.header(tmp_path / "changes_state.tif")
    assert (told["model"], told["threshold"], told["far"]) == ("median", header.threshold, 1.0)
    assert re.search(r"^history +5 dates, 2016-01-05 to 2020-01-04$", text, re.M)
    assert re.search(r"^next +satae review .*changes.gpkg$", text, re.M)
    kept = CliRunner().invoke(app, ["info", str(tmp_path / "changes_state.tif"), "--check", "--json"])
    kept = json.loads(kept.stdout)
    assert (kept["kind"], kept["model"], kept["scored_to"]) == ("state of a series", "median", "2023-01-03")
    assert kept["checked"] and "satae series NEW-SCENE --state" in said(tmp_path / "changes_state.tif")
    # without the state what the layers hold is all that is known
    (tmp_path / "changes_state.tif").unlink()
    assert re.search(rf"^changes +{changes}$", said(out), re.M) and "threshold" not in said(out)
    with closing(sqlite3.connect(tmp_path / "a.gpkg")) as database:
        database.execute("CREATE TABLE changes (a)")
    assert "is not a result of `satae score` or `satae series`" in said(tmp_path / "a.gpkg", 2)


@pytest.mark.parametrize(
    ("content", "name", "meaning"),
    [
        (b"hello", "a.txt", "is not a GeoTIFF but text"),
        (b'{"a": 1}', "a.json", "is not a GeoTIFF but JSON"),
        (b"[1, 2]", "a.tif", "is not a GeoTIFF but JSON"),
        ("Flüsse, " * 20, "a.csv", "is not a GeoTIFF but text"),
        (b"SQLite format 3\0", "a.db", "is a database"),
        (b"\x93NUMPY\x01\0", "a.npy", "is an array of numpy"),
        (
            b"\xff\xfe\x00\x01" * 20,
            "a.bin",
            "is not a GeoTIFF; where GDAL reads it, convert it with `gdal_translate",
        ),
        (b"\x08\x07" * 99, "a.onnx", "is not a usable ONNX model, or a damaged one"),
    ],
)
def test_what_is_no_image_is_told_for_what_it_is(
    tmp_path: Path, content: bytes | str, name: str, meaning: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    text = said(path, code=2)
    assert meaning in text and "ONNXRuntimeError" not in text and text.count("\n") == 1


def test_a_folder_of_somebody_else_is_told_as_such(tmp_path: Path) -> None:
    assert "is a folder, and neither a tile set nor a training run of satae" in said(tmp_path, code=2)
