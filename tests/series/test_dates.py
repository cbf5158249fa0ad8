"""When a scene was taken, by its name, its tags, or what the user says."""

from datetime import date

import numpy as np
import places
import pytest
import rasterio

from satae.errors import ConfigError, SceneError
from satae.scene.describe import describe
from satae.series import dates


def scene(folder, name, **tags):
    path = places.write(folder, [date(2001, 1, 1)], np.full((1, 3, 8, 8), 7), name=name)[0]
    if tags:
        with rasterio.open(path, "r+") as file:
            file.update_tags(**tags)
    return describe([path])


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("S2_20180703.tif", "2018-07-03"),
        ("T34TGQ_20180703T100031_B04.tif", "2018-07-03"),
        ("S2A_MSIL2A_20180703T100031_N0208_R122_T34TGQ_20180704T120000.tif", "2018-07-03"),
        ("LC08_L2SP_182030_20180703_20200831_02_T1.tif", "2018-07-03"),
        ("LC81820302018184LGN00.tif", "2018-07-03"),
        ("MOD09_2018184.tif", "2018-07-03"),
        ("scene-2018-07-03.tif", "2018-07-03"),
        ("scene.2018.07.03.v2.tif", "2018-07-03"),
        ("20180703100031_a.tif", "2018-07-03"),
        ("mosaic_2018_07.tif", "2018-07-15"),
        ("1985.tif", "1985-07-01"),
        ("tile_2048_20180703.tif", "2018-07-03"),
        ("x_20181303_2018-07-03.tif", "2018-07-03"),  # there is no month 13
        ("leap_20200229.tif", "2020-02-29"),
    ],
)
def test_names_tell_dates(tmp_path, name, day):
    assert dates.text_of(dates.day_of(scene(tmp_path, name))) == day


def test_a_folder_tells_what_its_file_does_not(tmp_path):
    assert dates.text_of(dates.day_of(scene(tmp_path / "20180703", "a.tif"))) == "2018-07-03"


def test_the_acquisition_goes_before_names_and_names_before_when_a_file_was_written(tmp_path):
    with_tag = scene(tmp_path / "d", "S2_20180703.tif", TIFFTAG_DATETIME="2021:01:02 03:04:05")
    assert dates.text_of(dates.day_of(with_tag)) == "2018-07-03"
    only_tag = scene(tmp_path / "d", "a.tif", TIFFTAG_DATETIME="2021:01:02 03:04:05")
    assert dates.text_of(dates.day_of(only_tag)) == "2021-01-02"
    path = places.write(tmp_path / "e", [date(2001, 1, 1)], np.full((1, 3, 8, 8), 7), name="S2_20180703.tif")[
        0
    ]
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2019-05-06T07:08:09Z")
    assert dates.text_of(dates.day_of(describe([path]))) == "2019-05-06"


@pytest.mark.parametrize(
    ("name", "pattern", "day"),
    [
        ("03.07.2018_x.tif", "%d.%m.%Y", "2018-07-03"),
        ("a_180703.tif", "_%y%m%d", "2018-07-03"),
        ("20010101_2018184.tif", "_%Y%j", "2018-07-03"),
    ],
)
def test_a_pattern_of_the_users_goes_first(tmp_path, name, pattern, day):
    assert dates.text_of(dates.day_of(scene(tmp_path, name), pattern)) == day


@pytest.mark.parametrize("pattern", ["%m%d", "%Y%H", "S2", "%Y%Y"])
def test_a_pattern_that_is_no_date_is_refused(tmp_path, pattern):
    with pytest.raises(ConfigError, match="--date-pattern"):
        dates.day_of(scene(tmp_path, "S2_20180703.tif"), pattern)


def test_a_scene_without_a_date_is_refused_with_what_to_do(tmp_path):
    bare = scene(tmp_path / "plain", "a.tif")
    with pytest.raises(SceneError, match="--date-pattern"):
        dates.day_of(bare)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2018-01-01..2019-12-31", "2018-01-01", "2019-12-31"),
        ("..2019-12-31", None, "2019-12-31"),
        ("2018..", "2018-01-01", None),
        ("2018-03", "2018-03-01", None),
    ],
)
def test_spans(text, low, high):
    found = dates.span(text, "--history")
    told = [None if np.isinf(d) else dates.text_of(d) for d in found]
    assert told == [low, high]


@pytest.mark.parametrize("text", ["2019..2018", "soon..", "2018-13-01..", ".."])
def test_a_span_that_is_none_is_refused(text):
    if text == "..":
        assert np.isinf(dates.span(text, "--history")).all()
    else:
        with pytest.raises(ConfigError, match="--history"):
            dates.span(text, "--history")
