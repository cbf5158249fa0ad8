"""What may be named for a series gives the scenes and days that a folder of files gives."""

import json
from datetime import date

import catalogues
import numpy as np
import places
import pyarrow
import pyarrow.parquet
import pytest
import rasterio

from satae.cli.acquisitions import scenes_of
from satae.cli.flags import PIXELS, PixelOptions
from satae.console import SILENT
from satae.errors import ConfigError, SceneError

WHEN = [date(2018, 7, 3), date(2018, 7, 19), date(2019, 1, 2)]
DAYS = [(d - date(1970, 1, 1)).days for d in WHEN]
DN = places.cube(WHEN, side=16)


def found(*names, pattern=None, counted=PIXELS, own=()):
    scenes, days = scenes_of([str(n) for n in names], pattern, counted, SILENT, own)
    order = np.argsort(days)
    return [scenes[i].path.name for i in order], [days[i] for i in order]


def undated(folder):
    """Files whose names tell no day."""
    return places.write(folder, WHEN, DN, name="scene_{:%b%y_%d}.tif")


def test_folders_globs_and_lists_give_the_same(tmp_path):
    paths = places.write(tmp_path / "d", WHEN, DN)
    (tmp_path / "list.txt").write_text("# the place\n" + "\n".join(f"d/{p.name}" for p in paths[::-1]))
    wanted = ([p.name for p in paths], DAYS)
    assert found(*paths) == wanted
    assert (
        found(tmp_path / "d") == found(tmp_path / "d" / "S2_*.tif") == found(tmp_path / "list.txt") == wanted
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_tells_dates_names_and_what_counts(tmp_path, kind):
    paths = undated(tmp_path / "d")
    rows = [
        {"path": f"d/{p.name}", "name": f"pass {i}", "date": f"{d}", "bands": "nir,red"}
        for i, (p, d) in enumerate(zip(paths, WHEN, strict=True))
    ]
    table = tmp_path / f"list.{kind}"
    if kind == "csv":
        table.write_text(
            "\n".join([",".join(rows[0]), *(",".join(f'"{v}"' for v in r.values()) for r in rows)])
        )
    else:
        rows = [{**r, "date": d} for r, d in zip(rows, WHEN, strict=True)]  # a column of days and not of text
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    scenes, days = scenes_of([str(table)], None, PIXELS, SILENT)
    assert days == DAYS
    assert [s.name for s in scenes] == ["pass_0", "pass_1", "pass_2"]
    assert {s.names for s in scenes} == {("nir", "red")}


def test_a_table_without_a_date_leaves_it_to_the_file_and_a_day_that_is_none_is_refused(tmp_path):
    places.write(tmp_path, WHEN, DN)
    (tmp_path / "a.csv").write_text("path,date\nS2_20180703.tif,\nS2_20180719.tif,2017-01-01\n")
    assert found(tmp_path / "a.csv")[1] == [(date(2017, 1, 1) - date(1970, 1, 1)).days, DAYS[0]]
    (tmp_path / "b.csv").write_text("path,date\nS2_20180703.tif,soon\n")
    with pytest.raises(ConfigError, match="'soon' as the date of"):
        found(tmp_path / "b.csv")


def test_rows_of_several_files_are_bands_of_one_date(tmp_path):
    for i, band in enumerate(places.BANDS):
        places.write(tmp_path, WHEN[:1], DN[:1, i : i + 1], name=f"S2_{{:%Y%m%d}}_{band}.tif")
    (tmp_path / "a.csv").write_text("path\nS2_20180703_green.tif;S2_20180703_red.tif\n")
    (scene,), days = scenes_of([str(tmp_path / "a.csv")], None, PIXELS, SILENT)
    assert len(scene.names) == len(scene.files) == 2 and days == DAYS[:1]


def test_a_collection_of_items_gives_a_scene_an_item_by_their_datetimes(tmp_path):
    paths = undated(tmp_path)
    items = []
    for path, day in zip(paths, WHEN, strict=True):
        asset = {"href": path.name, "type": "image/tiff", "roles": ["data"]}
        asset["bands"] = [{"name": b} for b in places.BANDS]
        items.append(catalogues.item(path.stem, {"data": asset}, {"datetime": f"{day}T10:00:31Z"}))
    whole = tmp_path / "items.json"
    whole.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    assert found(whole)[1] == DAYS
    assert found(f"{whole}#{paths[1].stem}")[1] == [DAYS[1]]
    # in a folder the images beside the items are theirs, and no scenes without a date; other JSON is passed over
    (tmp_path / "notes.json").write_text("{}")
    assert found(tmp_path)[1] == DAYS


def test_a_file_of_many_dates_stands_beside_files_of_one(tmp_path):
    (one,) = places.write(tmp_path, WHEN[2:], DN[2:])
    cube = tmp_path / "many.tif"
    with rasterio.open(one) as file:
        profile = file.profile
    with rasterio.open(cube, "w", **{**profile, "count": 6}) as file:
        file.write(np.rint(np.concatenate(DN[:2])).astype(np.uint16))
        for i, text in enumerate((f"{d} {b}" for d in WHEN[:2] for b in places.BANDS), 1):
            file.set_band_description(i, text)
    assert found(tmp_path) == (["many.tif", "many.tif", "S2_20190102.tif"], DAYS)
    scenes, _ = scenes_of([str(cube)], None, PixelOptions(bands="nir"), SILENT)
    assert {s.names for s in scenes} == {("nir",)}


def test_a_result_in_the_folder_is_no_scene_and_a_folder_without_any_is_refused(tmp_path):
    paths = places.write(tmp_path, WHEN, DN)
    older = paths[0].rename(tmp_path / "changes_heatmap.tif")
    assert found(tmp_path, own=[older])[1] == DAYS[1:]
    with pytest.raises(SceneError, match="no scene"):
        found(older, own=[older])
    with pytest.raises(ConfigError, match="--stack"):
        found(tmp_path, counted=PixelOptions(stack=True))
