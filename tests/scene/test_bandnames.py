"""A band is found by its name, or by what its number stands for where no two sensors mean another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from commands import refused, told
from scenes import MakeScene

from satae.errors import SceneError
from satae.scene import bandnames
from satae.scene.describe import describe
from satae.scene.scene import Limits
from satae.scene.source import Band


def number(name: str, bands: str) -> int:
    return bandnames.number(
        name, [Band(i, b, "uint16") for i, b in enumerate(bands.split(), 1)], Path("s.tif")
    )


@pytest.mark.parametrize(
    ("bands", "name", "found"),
    [
        ("B02 B03 B04 B08", "red", "B04"),
        ("B02 B03 B04 B08", "NIR", "B08"),
        ("B12 B8A B04", "nir08", "B8A"),
        ("b02 b03 b04", "blue", "b02"),  # the same band of Sentinel-2 and of HLS
        ("SR_B2 SR_B3 SR_B4 SR_B5 SR_B6 SR_B9", "nir", "SR_B5"),
        ("B4 B8A", "red", "B4"),
        ("B04 B08 red", "red", "red"),  # a name of its own goes before
        ("B04 B08 mask", "red", "B04"),
        ("B04 B08", "b08", "B08"),
    ],
)
def test_common_names_are_known_where_all_sensors_mean_the_same_band(
    bands: str, name: str, found: str
) -> None:
    assert number(name, bands) == bands.split().index(found) + 1


@pytest.mark.parametrize(
    ("bands", "name", "said"),
    [
        ("B2 B3 B4 B5", "red", "red is B4 of Sentinel-2 and B4 of Landsat 8 and B3 of Landsat 4 to 7"),
        ("B03 B04 B05", "nir", "nir is none of Sentinel-2 and B05 of Landsat 8"),
        ("SR_B1 SR_B3 SR_B4", "red", "red is SR_B4 of Landsat 8 and SR_B3 of Landsat 4 to 7"),
    ],
)
def test_names_that_two_sensors_give_to_other_bands_are_refused(bands: str, name: str, said: str) -> None:
    with pytest.raises(SceneError) as error:
        number(name, bands)
    assert str(error.value) == (
        f"s.tif does not say which sensor its bands are of, and {said}; name the band as the file does, "
        "or pass --sensor"
    )


@pytest.mark.parametrize("bands", ["B02 B03", "B04 B77", "left right", "B4 B04"])
def test_a_name_that_no_sensor_has_there_is_refused_with_those_that_there_are(bands: str) -> None:
    with pytest.raises(SceneError, match=f"has no band 'nir'; it has {', '.join(bands.split())}"):
        number("nir", bands)


@pytest.mark.parametrize(
    ("sensor", "count", "metres", "found"),
    [
        ("sentinel2-l2a", 10, 10, ("B04", "B08")),
        ("landsat-8-l2", 7, 30, ("B4", "B5")),
        ("naip", 4, 1, ("red", "nir")),
    ],
)
def test_a_sensor_that_is_named_tells_common_names(
    make_scene: MakeScene, sensor: str, count: int, metres: float, found: tuple[str, str]
) -> None:
    image = np.ones((count, 24, 24), "uint8" if sensor == "naip" else "uint16")
    path = make_scene(image, transform=Affine(metres, 0, 5e5, 0, -metres, 5e6))
    assert describe([path], bands=["red", "nir"], limits=Limits(sensor=sensor)).names == found


def test_the_command_takes_them_and_refuses_in_one_sentence(here: Path, make_scene: MakeScene) -> None:
    image = np.arange(4 * 64 * 64, dtype=np.uint16).reshape(4, 64, 64) + 1
    for name, first in (("s", 2), ("t", 1)):
        make_scene(image, name=f"{name}.tif", folder=here)
        with rasterio.open(f"{name}.tif", "r+") as dataset:
            dataset.descriptions = [f"B0{n}" if name == "s" else f"B{n}" for n in (first, first + 1, 4, 8)]
    told("tile", "s.tif", "--bands", "red,nir", "--size", "32")
    assert told("info", "tiles/s")["bands"] == ["B04", "B08"]
    assert "does not say which sensor its bands are of" in refused(2, "tile", "t.tif", "--bands", "red,nir")
