"""What can list scenes: folders, globs, text, tables and STAC items, each entry with a name of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from commands import refused

from satae.batch.manifest import LONGEST, Entry, entries
from satae.cli import rows
from satae.errors import ConfigError
from satae.scene.describe import file_name

KNOWN = ("bands", "top", "nodata")


def named(*names: object, **how: Any) -> list[tuple[str, str]]:
    """(name, file name) of the entries."""
    return [(e.name, Path(e.paths[0]).name) for e in entries([str(n) for n in names], KNOWN, **how)]


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_folder_gives_its_images_and_products_by_name(tmp_path: Path) -> None:
    touched(
        tmp_path, "b.tif", "a.TIF", "deep/c.jp2", "S2A.SAFE/GRANULE/x.jp2", "notes.md", ".hidden.tif", "d.csv"
    )
    found = [("a", "a.TIF"), ("b", "b.tif"), ("c", "c.jp2"), ("S2A", "S2A.SAFE")]
    assert sorted(named(tmp_path)) == sorted(found)


def test_a_glob_that_the_shell_left_alone_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(touched(tmp_path, "x1.tif", "x2.tif", "y.tif", "in/x3.tif"))
    assert named("x*.tif") == [("x1", "x1.tif"), ("x2", "x2.tif")]
    assert named("**/x*.tif") == [("x3", "x3.tif"), ("x1", "x1.tif"), ("x2", "x2.tif")]


def test_a_list_is_read_from_its_own_folder_and_then_from_that_of_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(touched(tmp_path, "lists/a.tif", "a.tif", "b.tif"))
    Path("lists/all.txt").write_text("\ufeffa.tif\n# b\n\n  b.tif  \nmissing.tif\n", encoding="utf-8")
    found = [e.paths for e in entries(["lists/all.txt"], KNOWN)]
    assert found == [(str(tmp_path / p),) for p in ("lists/a.tif", "b.tif", "lists/missing.tif")]


def test_a_list_may_have_comments_and_paths_in_quotes(tmp_path: Path) -> None:
    names = ("a.tif", "b #1.tif", "it's.tif", "c#d.tif")
    text = "# all\n a.tif\t# the first\n\"b #1.tif\" # quoted\nit's.tif\n'c#d.tif'\nitems.json#e\n"
    (touched(tmp_path, *names) / "all.txt").write_text(text)
    found = [Path(e.paths[0]).name for e in entries([str(tmp_path / "all.txt")], KNOWN)]
    assert found == [*names, "items.json#e"]


@pytest.mark.parametrize(
    ("column", "meant"), [("nmae", "name"), ("no-data", "nodata"), ("Nodat", "nodata"), ("band", "bands")]
)
def test_a_column_that_is_an_option_but_for_a_slip_is_refused(
    column: str, meant: str, tmp_path: Path
) -> None:
    table = touched(tmp_path, "a.tif") / "all.csv"
    table.write_text(f"path,{column}\na.tif,1\n")
    with pytest.raises(ConfigError, match=rf"all\.csv has a column \S+, .* did you mean {meant}\?"):
        list(entries([str(table)], KNOWN))


@pytest.mark.parametrize("columns", ["stop,cloud_cover,farm,names", "bands,band"])
def test_columns_that_are_like_a_short_option_or_one_that_is_there_stay(
    columns: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = touched(tmp_path, "a.tif") / "all.csv"
    table.write_text(f"path,name,{columns}\na.tif,n{',1' * len(columns.split(','))}\n")
    assert [e.name for e in entries([str(table)], KNOWN)] == ["n"] and "have no effect" in caplog.text


def test_a_table_has_names_and_options_a_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = touched(tmp_path, "a.tif", "b.tif", "c.tif") / "all.csv"
    table.write_text('path,name,Bands,top,weather\na.tif,north,"1,2",5,dry\nb.tif;c.tif,,,,wet\n')
    first, second = entries([str(table)], KNOWN)
    assert first == Entry((str(tmp_path / "a.tif"),), "north", (("bands", "1,2"), ("top", "5")))
    assert second == Entry((str(tmp_path / "b.tif"), str(tmp_path / "c.tif")), "b")
    assert "columns that are no options have no effect: weather" in caplog.text


def test_a_table_in_parquet_is_the_same_as_in_csv(tmp_path: Path) -> None:
    rows = [
        {"path": "a.tif", "name": "north", "top": 5, "nodata": 0.5},
        {"path": "b.tif", "name": None, "top": None},
    ]
    touched(tmp_path, "a.tif", "b.tif")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "all.parquet")
    first, second = entries([str(tmp_path / "all.parquet")], KNOWN)
    assert (first.name, first.options) == ("north", (("top", "5"), ("nodata", "0.5")))
    assert (second.name, second.options) == ("b", ())


def test_a_table_with_semicolons_is_read_and_several_files_are_quoted_there(tmp_path: Path) -> None:
    touched(tmp_path, "a.tif", "b.tif", "c.tif")
    for name, text in (
        ("semi", '\ufeffpath;top\na.tif;3\n"b.tif;c.tif";\n'),
        ("comma", "path,top\na.tif,3\nb.tif;c.tif,\n"),
    ):
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
        found = [
            ([Path(p).name for p in e.paths], e.options)
            for e in entries([str(tmp_path / f"{name}.csv")], KNOWN)
        ]
        assert found == [(["a.tif"], (("top", "3"),)), (["b.tif", "c.tif"], ())]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_pandas_makes_of_empty_cells_is_absent_and_whole_numbers_are_whole(
    suffix: str, tmp_path: Path
) -> None:
    touched(tmp_path, "a.tif", "b.tif")
    frame = pd.DataFrame(
        {"path": ["a.tif", "b.tif"], "name": ["north", None], "top": [3, None], "nodata": [None, 0.5]}
    )
    table = tmp_path / f"all.{suffix}"
    frame.to_csv(table, na_rep="NaN") if suffix == "csv" else frame.to_parquet(table)
    first, second = entries([str(table)], KNOWN)
    assert (first.options, second.options) == ((("top", "3.0"),), (("nodata", "0.5"),))
    assert rows.number("top", first.options[0][1], rows.whole) == 3


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        ("top", "3.5", "row 2: the column top has '3.5', which is no whole number"),
        ("top", "inf", "row 2: the column top has 'inf', which is no whole number"),
        ("far", "few", "row 2: the column far has 'few', which is no number"),
        ("top,far", "3,1", "row 2: --far and --top exclude each other"),
        ("gsd", "x", "row 2: the column gsd has 'x', which is no number"),
    ],
)
def test_a_cell_that_means_nothing_is_named_by_table_and_row(
    head: str, row: str, said: str, tmp_path: Path, model_path: Path
) -> None:
    table = touched(tmp_path, "a.tif", "b.tif") / "all.csv"
    table.write_text(f"path,{head}\na.tif{',' * (1 + head.count(','))}\nb.tif,{row}\n")
    for words in (("--model", model_path), ()):
        assert f"all.csv, {said}" in refused(2, "run", table, *words, "--out", tmp_path / "out")


def test_items_are_entries_each(tmp_path: Path) -> None:
    features = [{"type": "Feature", "id": i, "properties": {}, "assets": {}} for i in ("one", "two")]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert named(tmp_path / "items.json") == [("one", "items.json#one"), ("two", "items.json#two")]


def test_names_are_told_apart_by_place_whatever_comes_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touched(tmp_path, "a/x.tif", "b/x.tif", "c/x.tif")
    (first, _), (second, _) = named(tmp_path / "a" / "x.tif", tmp_path / "b" / "x.tif")
    assert first == "x" and second.startswith("x-") and len(second) == 10
    longer = named(tmp_path / "a" / "x.tif", tmp_path / "c" / "x.tif", tmp_path / "b" / "x.tif")
    assert longer[2][0] == second
    assert len(named(tmp_path / "a", tmp_path / "a" / "x.tif")) == 1 and "named twice" in caplog.text


@pytest.mark.parametrize(
    ("text", "name"), [("a b/c", "a_b_c"), ("..", "scene"), ("é" * 80, None), ("x" * 101, None)]
)
def test_names_are_what_every_file_system_takes(text: str, name: str | None) -> None:
    found = file_name(text, LONGEST)
    assert found == (name or found) and len(found.encode()) <= 100


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"file\nx.tif\n", "needs a column path"),
        ("a.csv", b"path,name\n,x\n", "row 1 has none"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read as a list"),
        ("a.parquet", b"PAR1", "cannot be read as a list"),
        ("a.txt", b"# nothing\n", "no scene is named"),
    ],
)
def test_lists_that_are_none_are_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        list(entries([str(tmp_path / name)], KNOWN))


def test_what_does_not_exist_is_refused_where_nothing_else_is_named(tmp_path: Path) -> None:
    model, out, there = tmp_path / "m.onnx", tmp_path / "out", tmp_path / "a.tif"
    model.write_bytes(b"nobody looks into it yet")
    there.write_bytes(b"an image")
    said = refused(2, "run", tmp_path / "nofolder", tmp_path / "b.tif", "--model", model, "--out", out)
    assert f"{tmp_path / 'nofolder'} does not exist; name scenes" in said and not out.exists()
    # one of several stops none
    assert [name for name, _ in named(tmp_path / "nofolder", there)] == ["nofolder", "a"]
    # more may come
    assert len(list(entries([str(tmp_path / "nofolder")], KNOWN, empty=True))) == 1


def test_of_a_list_that_cannot_be_read_nothing_is_left(tmp_path: Path) -> None:
    model, out, mine = tmp_path / "m.onnx", tmp_path / "out", tmp_path / "mine"
    model.write_bytes(b"nobody looks into it yet")
    mine.mkdir()
    line = ("run", tmp_path / "none.txt", "--model", model, "--out")
    assert "none.txt does not exist; name a list of scenes that does" in refused(2, *line, out)
    assert "does not exist" in refused(2, *line, mine)
    assert not out.exists() and sorted(p.name for p in mine.iterdir()) == ["scenes"]
