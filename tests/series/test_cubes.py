"""One file of many dates becomes a scene a date, beside the same pixels as a file a date."""

from datetime import date

import numpy as np
import places
import pytest
import rasterio
from scenes import UTM

from satae.errors import SceneError
from satae.scene.describe import describe
from satae.series import cubes, dates, stack

WHEN = [date(2018, 7, 3), date(2018, 7, 19), date(2019, 1, 2)]
DN = places.cube(WHEN, side=16)


def write(path, names, image):
    with rasterio.open(
        path, "w", driver="GTiff", height=16, width=16, count=len(image), dtype="uint16", nodata=0, crs="EPSG:32632",
        transform=UTM,
    ) as file:  # fmt: skip
        file.write(np.rint(image).astype(np.uint16))
        for i, name in enumerate(names, 1):
            file.set_band_description(i, name)
    return path


def whole(folder, style, order=(0, 1, 2), bands=3):
    """A cube with bands named in a style of {:date} and {band}, dates in an order of the file's own."""
    names = [style.format(WHEN[i], band=b) for i in order for b in places.BANDS[:bands]]
    return write(folder / "cube.tif", names, np.concatenate([DN[i][:bands] for i in order]))


@pytest.mark.parametrize(
    "style",
    [
        "{:%Y-%m-%d} {band}",
        "{band}_{:%Y%m%d}",
        "{0:%Y%m%d}T100031_{0:%Y%m%d}T100545_T32TQM_{band}",
        "{:%Y%j}.{band}",
    ],
)
def test_a_file_of_many_dates_is_read_as_files_of_one_are(tmp_path, style):
    found = cubes.parts(describe([whole(tmp_path, style, order=(2, 0, 1))]))
    assert [dates.text_of(f.day) for f in found] == [d.isoformat() for d in WHEN]
    assert {f.scene.names for f in found} == {places.BANDS}
    assert [f.scene.name for f in found] == ["cube_20180703", "cube_20180719", "cube_20190102"]
    alone = [describe([p]) for p in places.write(tmp_path / "alone", WHEN, DN)]
    days = [f.day for f in found]
    cube, files = stack.stack([f.scene for f in found], days), stack.stack(alone, days)
    with cube.open() as one, files.open() as other:
        for a, b in zip(one.read(cube.grid.window), other.read(files.grid.window), strict=True):
            np.testing.assert_array_equal(a, b)


def test_bands_of_each_date_are_chosen_by_name_or_number(tmp_path):
    scene = describe([whole(tmp_path, "{:%Y-%m-%d} {band}")])
    for chosen in (["NIR", "green"], [3, 1]):
        first = cubes.parts(scene, chosen)[0].scene
        assert first.names == ("nir", "green")
        with first.open() as reader:
            image, _ = reader.read(first.grid.window)
        np.testing.assert_array_equal(image, np.rint(DN[0][[2, 0]]).astype(np.uint16))
    with pytest.raises(SceneError, match="it has green, red, nir"):
        cubes.parts(scene, ["swir"])


def test_one_band_a_date_goes_by_what_all_names_share(tmp_path):
    path = write(tmp_path / "ndvi.tif", [f"NDVI {d}" for d in WHEN], DN[:, 0])
    assert {f.scene.names for f in cubes.parts(describe([path]))} == {("NDVI",)}
    path = write(tmp_path / "bare.tif", [str(d) for d in WHEN], DN[:, 0])
    assert {f.scene.names for f in cubes.parts(describe([path]))} == {("band1",)}


def test_a_pattern_finds_dates_that_others_do_not(tmp_path):
    path = whole(tmp_path, "{:%d.%m.%y} {band}")
    assert cubes.parts(describe([path])) == []
    assert [f.day for f in cubes.parts(describe([path]), pattern="%d.%m.%y")] == [
        (d - date(1970, 1, 1)).days for d in WHEN
    ]


@pytest.mark.parametrize(
    "names", [["red", "nir", "2018-07-03"], ["", "", ""], ["2018-07-03 a", "2018-07-03 b"]]
)
def test_other_files_are_no_cube(tmp_path, names):
    path = write(tmp_path / "a.tif", names, DN[0][: len(names)])
    assert cubes.parts(describe([path])) == []


def test_dates_with_other_bands_are_refused_with_both_lists(tmp_path):
    names = ["2018-07-03 red", "2018-07-03 nir", "2018-07-19 red", "2018-07-19 swir"]
    path = write(tmp_path / "a.tif", names, np.concatenate([DN[0][:2], DN[1][:2]]))
    with pytest.raises(SceneError, match="red, nir on 2018-07-03 and red, swir on 2018-07-19"):
        cubes.parts(describe([path]))
