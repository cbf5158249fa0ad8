"""STAC items with their files beside them: names, units and masks from the item, offsets as the pixels have them."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as hypothesis
import numpy as np
import pytest
from catalogues import collection, earth_search, item, written
from commands import refused, told
from deliveries import raster
from hypothesis import given, settings

from satae.errors import SceneError
from satae.scene import items, products
from satae.scene.describe import describe
from satae.scene.scene import Limits, Scene

RNG = np.random.default_rng(3)
# reflectances of a place with water and shadows, in units of 1/10000
GROUND = {
    "blue": RNG.integers(150, 2000, (96, 120)), "green": RNG.integers(200, 2500, (96, 120)),
    "red": RNG.integers(100, 3000, (96, 120)), "nir": RNG.integers(300, 5000, (96, 120)),
}  # fmt: skip
WITH_OFFSET = {name: image + 1000 for name, image in GROUND.items()}
STRANGE: list = [
    None,
    True,
    -1,
    10**400,
    1.5,
    float("nan"),
    "",
    "x",
    [],
    [None],
    ["a", 1],
    {},
    {"a": {}},
    [[[]]],
]
SAMPLE = item("one", {
    "red": {"href": "a.tif", "type": "image/tiff", "roles": ["data"], "gsd": 10, "proj:shape": [3, 4], "file:size": 5,
            "proj:transform": [10, 0, 0, 0, -10, 0], "eo:bands": [{"name": "B04", "common_name": "red"}],
            "raster:bands": [{"nodata": 0, "scale": 1, "offset": 0, "spatial_resolution": 10}]},
    "nir": {"href": "b.tif", "bands": [{"name": "B08", "eo:center_wavelength": 0.8, "eo:common_name": "nir"}]},
    "scl": {"href": "c.tif", "classification:classes": [{"value": 1, "name": "cloud"}]},
}, {"proj:code": "EPSG:32632"})  # fmt: skip
CLASSES = np.arange(48 * 60).reshape(48, 60) % 12


def pixels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    with scene.open() as reader:
        return reader.read(scene.grid.window)


def test_an_item_is_a_product_of_bands_by_common_name_with_units_and_classes(tmp_path: Path) -> None:
    path = earth_search(tmp_path, WITH_OFFSET, classes=CLASSES)
    scene = describe([path])
    assert scene.names == ("blue", "green", "red", "nir") and scene.name == "S2A_32TQM_20230615_0_L2A"
    image, valid = pixels(scene)
    assert np.array_equal(image, list(GROUND.values()))
    wanted = ~np.isin(CLASSES, [0, 1, 3, 8, 9, 10]).repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(valid, wanted) and pixels(describe([path], limits=Limits(clouds=True)))[1].all()
    assert scene.scales == (1e-4,) * 4 and scene.offsets == (0,) * 4
    assert [b.wavelength for b in scene.bands] == [493, 560, 665, 833]
    product = scene.product
    assert product is not None and (product.day, product.baseline) == ("2023-06-15", "05.09")


@pytest.mark.parametrize(
    ("stored", "said", "remark"),
    [
        (WITH_OFFSET, {"offset": -0.1}, ""),
        (WITH_OFFSET, {"offset": -0.1, "applied": False}, ""),
        (WITH_OFFSET, {"offset": None}, ""),
        (GROUND, {"offset": -0.1, "applied": True}, ""),
        (GROUND, {"offset": 0}, ""),
        (GROUND, {"offset": None, "baseline": "02.14"}, ""),
        (
            GROUND,
            {"offset": -0.1},
            "states an offset of 1000 DN, but by their dark end its pixels have had it",
        ),
        (GROUND, {"offset": -0.1, "applied": False}, "states an offset of 1000 DN, but by their dark end"),
        (
            WITH_OFFSET,
            {"offset": -0.1, "applied": True},
            "states no offset of 1000 DN, but by their dark end",
        ),
        (WITH_OFFSET, {"offset": 0}, "its pixels hold it, and it is taken off"),
    ],
)
def test_of_an_offset_the_pixels_decide_and_a_line_says_where_the_item_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stored: dict[str, np.ndarray], said: dict, remark: str
) -> None:
    path = earth_search(tmp_path, stored, **said)
    with caplog.at_level(logging.WARNING):
        scene = describe([path])
    assert np.array_equal(pixels(scene)[0], list(GROUND.values()))
    lines = [m for m in caplog.messages if "dark end" in m]
    assert len(lines) == bool(remark) and all(remark in line for line in lines)


@pytest.mark.parametrize(("offset", "shift"), [(-0.1, -1000), (0, 0)])
def test_of_a_bright_scene_the_item_decides(tmp_path: Path, offset: float, shift: int) -> None:
    bright = {name: image + 2500 for name, image in GROUND.items()}
    scene = describe([earth_search(tmp_path, bright, offset=offset)])
    assert np.array_equal(pixels(scene)[0], [image + shift for image in bright.values()])


def test_layers_that_are_no_measurement_of_the_ground_are_no_bands(tmp_path: Path) -> None:
    path = earth_search(tmp_path, WITH_OFFSET)
    content = json.loads(path.read_text())
    for name in ("WVP", "aot", "oa_solar_zenith", "nbart_panchromatic", "SR_QA_AEROSOL.TIF"):
        raster(tmp_path / f"{name}.tif", np.full((1, 192, 240), 7, np.uint16), 5)
        content["assets"][name] = {"href": f"{name}.tif", "type": "image/tiff", "gsd": 5, "eo:bands": [0]}
    scene = describe([written(path, content)])
    assert scene.names == tuple(GROUND)


def test_sentinel_2_has_the_unit_of_a_folder_where_the_item_states_none(tmp_path: Path) -> None:
    path = earth_search(tmp_path, WITH_OFFSET)
    content = json.loads(path.read_text())
    for asset in content["assets"].values():
        asset.pop("raster:bands", None)  # as in the catalogue of the Planetary Computer
    scene = describe([written(path, content)])
    assert scene.scales == (1e-4,) * 4 and scene.offsets == (0.0,) * 4
    assert np.array_equal(pixels(scene)[0], list(GROUND.values()))


def test_bands_of_stac_1_1_and_flags_of_landsat(tmp_path: Path) -> None:
    image, flags = RNG.integers(7000, 20000, (2, 40, 50)), np.zeros((40, 50), int)
    flags[3, 4], flags[5, 6], flags[7, 8] = 1 << 3, 1 << 0, 1 << 5
    for name, one in zip(("B4", "B5"), image, strict=True):
        raster(tmp_path / f"{name}.TIF", one[None].astype(np.uint16), 30)
    raster(tmp_path / "QA.TIF", flags[None].astype(np.uint16), 30)
    band = {"raster:scale": 2.75e-5, "raster:offset": -0.2, "nodata": 0}
    assets = {
        "red": {"href": "B4.TIF", "type": "image/tiff", "bands": [
            {**band, "name": "B4", "eo:common_name": "red", "eo:center_wavelength": 0.65}]},
        "nir08": {"href": "B5.TIF", "type": "image/tiff", **band, "bands": [{"name": "B5"}]},
        "qa_pixel": {"href": "QA.TIF", "type": "image/tiff", "roles": ["cloud", "snow-ice"]},
    }  # fmt: skip
    path = written(tmp_path / "item.json", item("LC08", assets, {"platform": "landsat-8", "gsd": 30}))
    scene = describe([path])
    assert scene.names == ("red", "B5") and scene.offsets == (-0.2, -0.2) and scene.scales == (2.75e-5,) * 2
    seen, valid = pixels(scene)
    assert np.array_equal(seen, image) and np.argwhere(~valid).tolist() == [[3, 4], [5, 6]]


def test_classes_are_known_by_what_the_item_calls_them(tmp_path: Path) -> None:
    raster(tmp_path / "image.tif", RNG.integers(1, 255, (3, 40, 50)).astype(np.uint8), 5)
    raster(tmp_path / "classes.tif", (np.arange(2000).reshape(1, 40, 50) % 5).astype(np.uint8), 5)
    named = ("fill", "clear", "cloud", "thin cirrus", "no cloud shadow")
    assets = {
        "analytic": {"href": "image.tif"},
        "classes": {"href": "classes.tif", "roles": ["cloud"], "classification:classes": [
            {"value": i, "name": name} for i, name in enumerate(named)]},
    }  # fmt: skip
    scene = describe([written(tmp_path / "item.json", item("one", assets, {}))])
    assert scene.names == ("analytic_1", "analytic_2", "analytic_3")
    assert np.array_equal(np.unique(np.arange(2000)[pixels(scene)[1].ravel()] % 5), [1, 4])


def test_a_collection_is_a_scene_an_item_and_one_is_named_by_its_id(here: Path) -> None:
    one = earth_search(here, WITH_OFFSET, id="one")
    two = written(here / "two.json", {**json.loads(one.read_text()), "id": "two"})
    every = collection(here / "items.json", [one, two])
    found = told("tile", every, "--size", 32, "--out", "tiles")["tilesets"]
    assert [row["scene"] for row in found] == ["one", "two"]
    again = told("tile", f"{every}#two", "--size", 32, "--out", "again")["tilesets"]
    assert [row["scene"] for row in again] == ["two"]
    assert told("info", f"{every}#two")["product"] == "STAC item of sentinel-2a"
    assert "name one of them by items.json#ID" in refused(2, "info", every)
    assert "is 0 items" in refused(2, "tile", f"{every}#three")


def test_that_more_pages_follow_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = collection(tmp_path / "items.json", [earth_search(tmp_path, WITH_OFFSET, id="one")])
    content = json.loads(path.read_text())
    written(path, {**content, "links": [{"rel": "next", "href": "https://a.example/?token=1"}]})
    with caplog.at_level(logging.WARNING):
        describe([path])
    assert [m for m in caplog.messages if "one page of a search" in m]


def test_a_panchromatic_and_a_thermal_band_are_not_used_unless_asked(tmp_path: Path) -> None:
    assets = {}
    for name, pixel in (("pan", 15), ("red", 30), ("nir08", 30), ("lwir11", 30)):
        raster(tmp_path / f"{name}.tif", np.full((1, 1800 // pixel, 1800 // pixel), 9, np.uint16), pixel)
        assets[name] = {"href": f"{name}.tif", "bands": [{"name": name, "eo:common_name": name}]}
    path = written(tmp_path / "item.json", item("one", assets, {}))
    assert describe([path]).names == ("red", "nir08")
    assert describe([path], bands=["pan", "red"]).grid.transform.a == 15


def test_a_table_of_items_is_read_as_the_collection_is(here: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    paths = [earth_search(here, WITH_OFFSET, id="one")]
    paths.append(written(here / "two.json", {**json.loads(paths[0].read_text()), "id": "two"}))
    rows = []
    for path in paths:
        document = json.loads(path.read_text())
        properties = document.pop("properties")
        rows.append({**document, "geometry": b"", **properties})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), here / "items.parquet")
    assert [p.name for p in items.expand(here / "items.parquet")] == [
        "items.parquet#one",
        "items.parquet#two",
    ]
    of_table, of_json = (describe([p]) for p in (here / "items.parquet#two", paths[1]))
    assert np.array_equal(pixels(of_table)[0], pixels(of_json)[0]) and of_table.names == of_json.names
    assert of_table.product is not None and of_table.product.day == "2023-06-15"


@pytest.mark.parametrize(
    ("asset", "fault"),
    [
        ({"href": "../outside.tif"}, "outside of the folder of the item"),
        ({"href": "/etc/hosts.tif"}, "outside of the folder of the item"),
        ({"href": "https://a.example/B04.tif"}, "on a server; `satae tile --allow-network`"),
        ({"href": "gone.tif"}, "gone.tif, which is not there"),
        ({"href": "page.html", "type": "text/html"}, "no GeoTIFF or JPEG 2000"),
        (
            {"href": "x.tif", "raster:bands": [{"offset": "many"}]},
            "offset in asset red of .* which is no number",
        ),
        ({"href": "x.tif", "eo:bands": {"name": "red"}}, "no list of objects"),
    ],
)
def test_what_an_item_says_amiss_is_one_sentence(tmp_path: Path, asset: dict, fault: str) -> None:
    raster(tmp_path.parent / "outside.tif", np.ones((1, 16, 16), np.uint8), 10)
    path = written(tmp_path / "item.json", item("one", {"red": asset}, {}))
    with pytest.raises(SceneError, match=fault):
        describe([path])


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    raster(tmp_path / "secret" / "B04.tif", np.ones((1, 16, 16), np.uint8), 10)
    (tmp_path / "item").mkdir()
    (tmp_path / "item" / "B04.tif").symlink_to(tmp_path / "secret" / "B04.tif")
    path = written(tmp_path / "item" / "item.json", item("one", {"red": {"href": "B04.tif"}}, {}))
    with pytest.raises(SceneError, match="outside of the folder"):
        describe([path])


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"type": "FeatureCollection", "features": [3]}', "[" * 100_000]
)
def test_json_that_holds_no_items_is_no_product(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert products.at(path) is None


@settings(max_examples=300)
@given(hypothesis.data())
def test_whatever_an_item_says_it_is_read_or_refused_in_one_sentence(data: hypothesis.DataObject) -> None:
    document: dict = json.loads(json.dumps(SAMPLE))
    places = [(of, key) for of in nested(document) for key in of]
    of, key = data.draw(hypothesis.sampled_from(places))
    of[key] = data.draw(hypothesis.sampled_from(STRANGE))
    found = items.features(json.dumps(document).encode())
    with contextlib.suppress(SceneError):
        for one in found:
            items.parse(one, Path("item.json")).holding(None)


def nested(value: object) -> Iterator[dict]:
    """All objects in JSON."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nested(part)
