"""`satae series` as it is typed: from a list to a report."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import places
from commands import refused, told, typed


def listed(folder: Path) -> Path:
    """A table of eight dates, of which the last three have a change, in files whose names tell no day."""
    when = [places.START + timedelta(days=365 * i) for i in range(8)]
    dn = places.cube(when, side=32)
    dn[5:, :, 8:16, 12:22] += np.array([900, 900, -900])[:, None, None]
    paths = places.write(folder / "d", when, dn, name="scene_{:%b%y}.tif")
    table = folder / "dates.csv"
    rows = [f"d/{path.name},{day},pass {i}" for i, (path, day) in enumerate(zip(paths, when, strict=True))]
    table.write_text("\n".join(["path,date,name", *rows]))
    return table


def test_a_table_becomes_layers_chips_and_a_report_and_goes_on_from_its_state(tmp_path: Path) -> None:
    table = listed(tmp_path)
    out = tmp_path / "place.gpkg"
    span = ("--history", "..2020-06-30", "--monitor", "..2022-06-30")
    content = told("series", table, *span, "--out", out)
    names = {Path(name).name for name in content["files"]}
    assert {"place.gpkg", "place.html", "place_chips", "place_state.tif"} <= names
    assert all((tmp_path / name).exists() for name in names)
    assert [s["scene"] for s in content["scored"]] == ["pass_5", "pass_6"]
    often = told("series", table, *span, "--far", "50000", "--out", tmp_path / "often.gpkg")
    assert content["remarks"] == [] and any("--far 50000 stands for" in line for line in often["remarks"])
    later = typed("series", table, "--state", tmp_path / "place_state.tif", "--out", tmp_path / "later.gpkg")
    assert later.exit_code == 0 and "later.html: report, opens in any browser" in later.stdout


def test_grids_of_two_places_are_refused_with_both_and_nothing_is_left(tmp_path: Path) -> None:
    table = listed(tmp_path)
    (other,) = places.write(tmp_path, [places.START], places.cube([places.START], side=32), crs="EPSG:32633")
    said = refused(2, "series", table, other, "--out", tmp_path / "a.gpkg")
    assert str(other) in said and "different CRSs" in said and said.count("500000") == 2
    assert not list(tmp_path.glob("a*"))


def test_a_state_settles_how_it_goes_on_and_an_older_result_is_no_scene(tmp_path: Path) -> None:
    when = [places.START + timedelta(days=365 * i) for i in range(8)]
    places.write(tmp_path / "d", when, places.cube(when, side=32))
    out, folder = tmp_path / "d" / "place.gpkg", tmp_path / "d"
    told("series", folder, "--history", "..2020-06-30", "--monitor", "..2022-06-30", "--out", out)
    state = tmp_path / "d" / "place_state.tif"
    for given in (("--far", "9"), ("--persistence", "3/3"), ("--min-pixels", "5"), ("--model", "median")):
        assert f"{given[0]} is in the state already" in refused(2, "series", folder, "--state", state, *given)
    # the folder holds the result of another name, whose rasters tell no day
    content = told("series", folder, "--state", state, "--out", tmp_path / "later.gpkg")
    assert [s["date"] for s in content["scored"]] == [str(when[-1])]


def test_a_rate_that_no_history_tells_is_said_and_its_state_goes_on(tmp_path: Path) -> None:
    table = listed(tmp_path)
    span = ("--history", "..2020-06-30", "--monitor", "..2022-06-30", "--far", "1e-12")
    content = told("series", table, *span, "--out", tmp_path / "place.gpkg")
    assert any("rarer than this history tells" in line for line in content["remarks"])
    later = typed("series", table, "--state", tmp_path / "place_state.tif", "--out", tmp_path / "later.gpkg")
    assert later.exit_code == 0
