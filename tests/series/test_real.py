"""Real places: a river that moves, and forest in which trees went; skipped where the data are not there."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from satae.scene.describe import describe
from satae.series import dates, run

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "romania.py"


def romania():
    spec = importlib.util.spec_from_file_location("romania", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scored(paths, out, far):
    scenes = [describe([p]) for p in paths]
    days = [dates.day_of(s) for s in scenes]
    return run.series(
        scenes, days, out, run.Options(far=far, monitor=(17_700.0, np.inf))
    )  # from June 2018 on


def test_where_trees_went_the_index_of_vegetation_fell_more_than_around(tmp_path):
    if importlib.util.find_spec("nrt") is None:
        pytest.skip("the package nrt 0.1.0 is not installed")
    paths = romania().write(romania().cube(), tmp_path / "d", slice(20, 80), slice(30, 90))
    result = scored(paths, tmp_path / "c.gpkg", far=1.0)
    with rasterio.open(tmp_path / "c_first_date.tif") as file:
        held = file.read(1) > 0
    # the clearings of June 2019, which no one told satae
    assert len(result.changes) >= 3
    index = {}
    for path in paths:
        with rasterio.open(path) as file:
            red, nir = file.read([3, 4]).astype(float)
        index[path.stem] = np.where(red > 0, (nir - red) / np.maximum(nir + red, 1), np.nan)
    before = np.nanmedian(
        [v for k, v in index.items() if k[3:7] == "2017" and k[7:9] in ("07", "08")], axis=0
    )
    after = np.nanmedian([v for k, v in index.items() if k[3:7] == "2019" and k[7:9] in ("07", "08")], axis=0)
    fell = before - after
    assert np.nanmedian(fell[held]) > np.nanquantile(fell[~held], 0.9)


def test_the_river_of_eight_dates_has_moved(data, tmp_path):
    folder = data / "landsat_peru_1985_2020"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    images = {}
    for year in range(1985, 2021, 5):
        with rasterio.open(folder / f"{year}.tif") as file:
            # a part in which the river runs, to be quick
            images[year] = file.read(window=((250, 330), (440, 520)))
            profile = file.profile | {"height": 80, "width": 80, "tiled": False}
            profile["transform"] = file.transform @ Affine.translation(440, 250)
        for key in ("blockxsize", "blockysize"):
            profile.pop(key, None)
        with rasterio.open(tmp_path / f"{year}.tif", "w", **profile) as file:
            file.write(images[year])
    scenes = [describe([tmp_path / f"{year}.tif"]) for year in images]
    result = run.series(scenes, [dates.day_of(s) for s in scenes], tmp_path / "c.gpkg", run.Options(far=0.1))
    assert result.header.model == "median"
    with rasterio.open(tmp_path / "c_first_date.tif") as file:
        held = file.read(1) > 0
    assert 0 < held.mean() < 0.9
    apart = np.abs(np.median([images[y] for y in (1985, 1990, 1995, 2000)], axis=0) - images[2020]).mean(
        axis=0
    )
    assert np.median(apart[held]) > 1.5 * np.median(apart[~held])
