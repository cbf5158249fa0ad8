"""What a sensor has is said of files that say nothing, and files that are none of its own are refused with numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from commands import refused, told, typed
from deliveries import sentinel2
from scenes import MakeScene

from satae.errors import ConfigError, SceneError
from satae.scene import sensors
from satae.scene.describe import describe
from satae.scene.scene import Limits, Scene

RNG = np.random.default_rng(3)


def stack(bands: int, dtype: str = "uint16", side: int = 24) -> np.ndarray:
    return RNG.integers(1, 100, (bands, side, side)).astype(dtype)


def at(metres: float) -> Affine:
    return Affine(metres, 0, 5e5, 0, -metres, 5e6)


def scene(path: Path, sensor: str, **how: object) -> Scene:
    return describe([path], limits=Limits(sensor=sensor), **how)


@pytest.mark.parametrize(
    ("sensor", "bands", "dtype", "metres", "first", "last", "nm"),
    [
        ("sentinel2-l2a", 4, "uint16", 10, "B02", "B08", (492.7, 832.8)),
        ("sentinel2-l2a", 10, "uint16", 20, "B02", "B12", (492.7, 2202.4)),
        ("sentinel2-l2a", 12, "uint16", 10, "B01", "B12", (442.7, 2202.4)),
        ("sentinel2-l1c", 13, "uint16", 10, "B01", "B12", (442.7, 2202.4)),
        ("landsat-8-l2", 7, "uint16", 30, "B1", "B7", (443, 2200.5)),
        ("planetscope", 4, "uint16", 3, "blue", "nir", (490, 865)),
        ("planetscope", 8, "uint16", 3, "coastal_blue", "nir", (443, 865)),
        ("rapideye", 5, "uint16", 5, "blue", "nir", (475, 805)),
        ("worldview", 8, "uint16", 1.6, "coastal", "nir2", (425, 950)),
        ("worldview", 4, "uint16", 0.5, "blue", "nir1", (480, 832.5)),
        ("naip", 4, "uint8", 0.6, "red", "nir", (635, 845)),
        ("emit", 285, "float32", 60, "381 nm", "2492.9 nm", (381.0, 2492.9)),
        ("prisma", 234, "uint16", 30, "407 nm", "2497 nm", (407.0, 2497.0)),
        ("enmap", 224, "int16", 30, "418.4 nm", "2445.3 nm", (418.4, 2445.3)),
        ("aviris", 224, "int16", 17, "365.9 nm", "2496.2 nm", (365.9, 2496.2)),
        ("aviris", 425, "float32", 5, "376.7 nm", "2500.4 nm", (376.7, 2500.4)),
    ],
)
def test_a_plain_stack_gets_the_names_and_light_of_its_sensor(
    sensor: str, bands: int, dtype: str, metres: float, first: str, last: str, nm: tuple[float, float],
    make_scene: MakeScene,
) -> None:  # fmt: skip
    seen = scene(make_scene(stack(bands, dtype), transform=at(metres)), sensor)
    assert (seen.names[0], seen.names[-1], len(seen.names)) == (first, last, bands) and seen.dtype == dtype
    assert len(set(seen.names)) == bands
    assert (seen.bands[0].wavelength, seen.bands[-1].wavelength) == nm
    assert all(b.width and 1 <= b.width <= 200 for b in seen.bands) and seen.is_plain


@pytest.mark.parametrize(
    ("sensor", "edges"),
    [
        # RapidEye Imagery Product Specifications 6.1, and the Leica ADS100 data sheet
        ("rapideye", {"blue": (440, 510), "green": (520, 590), "red": (630, 685), "rededge": (690, 730),
                      "nir": (760, 850)}),
        ("naip", {"red": (619, 651), "green": (525, 585), "blue": (435, 495), "nir": (808, 882)}),
    ],
)  # fmt: skip
def test_bands_lie_where_their_makers_say(sensor: str, edges: dict[str, tuple[float, float]]) -> None:
    found = {name: (nm - w / 2, nm + w / 2) for name, (nm, w) in sensors.SENSORS[sensor].bands.items()}
    assert found == edges


def test_aviris_lies_within_a_nanometre_of_the_header_of_a_flight() -> None:
    light = list(sensors.SENSORS["aviris"].layouts[0].values())
    header = {
        0: 365.93,
        16: 521.08,
        31: 667.56,
        32: 654.79,
        48: 811.08,
        64: 966.04,
        80: 1119.66,
        95: 1262.46,
        96: 1252.77,
    }
    assert {i for i, nm in header.items() if abs(light[i][0] - nm) > 1} == set()


def test_scale_and_fill_are_those_of_a_product_so_that_one_model_serves_both(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    image = stack(4, side=48)
    image[:, 3, 4] = 0
    files = {f"{name}_10": plane for name, plane in zip(("B02", "B03", "B04", "B08"), image, strict=True)}
    product = describe([sentinel2(tmp_path, files)])
    plain = scene(make_scene(image), "sentinel2-l2a")
    assert (plain.names, plain.scales, plain.offsets) == (product.names, product.scales, product.offsets)
    assert [b.wavelength for b in plain.bands] == [b.wavelength for b in product.bands]
    with plain.open() as reader:
        assert np.argwhere(~reader.read(plain.grid.window)[1]).tolist() == [[3, 4]]


def test_named_bands_come_in_the_order_of_the_sensor(make_scene: MakeScene) -> None:
    path = make_scene(stack(3))
    with rasterio.open(path, "r+") as file:
        for i, name in enumerate(("SR_B5", "b4", "B02"), 1):
            file.set_band_description(i, name)
    seen = scene(path, "sentinel2-l2a")
    assert seen.names == ("B02", "B04", "B05") and seen.files[0].bands == (3, 2, 1)
    assert scene(path, "sentinel2-l2a", bands=["b04", 3]).names == ("B04", "B05")


def test_files_of_a_stack_are_known_by_their_names(make_scene: MakeScene, tmp_path: Path) -> None:
    paths = [make_scene(stack(1), name=f"T32_{name}.tif", folder=tmp_path) for name in ("B08", "B02", "B03")]
    seen = describe(paths, limits=Limits(sensor="sentinel2-l2a"))
    assert seen.names == ("B02", "B03", "B08") and seen.path.name == "T32_B02.tif"


def test_the_fourth_band_of_an_aerial_photo_is_no_alpha(make_scene: MakeScene) -> None:
    path = make_scene(stack(4, "uint8"), transform=at(0.6), photometric="RGB", alpha="YES")
    assert len(describe([path]).names) == 3
    assert scene(path, "naip").names == ("red", "green", "blue", "nir") and scene(path, "naip").alpha is None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_pixels_without_a_place_get_the_size_of_the_sensor(make_scene: MakeScene) -> None:
    path = make_scene(stack(4), crs=None, transform=Affine.identity())
    assert describe([path]).grid.gsd_m is None
    assert scene(path, "sentinel2-l2a").grid.gsd_m == pytest.approx(10)
    with scene(path, "planetscope").open() as reader:
        assert reader.read(describe([path]).grid.window)[1].all()


@pytest.mark.parametrize(
    ("sensor", "how", "said"),
    [
        ("sentinel2-l2a", {"bands": 5}, r"gives 5 bands and --sensor sentinel2-l2a has 4 or 10 or 12 \(B02, "),
        ("landsat-8-l2", {"bands": 7}, r"has pixels of 10 m and --sensor landsat-8-l2 has 30 m"),
        ("planetscope", {"bands": 4, "metres": 10}, r"has pixels of 10 m and --sensor planetscope has 3 to 4 m"),
        ("naip", {"bands": 4, "metres": 0.6}, r"holds uint16 and --sensor naip delivers uint8"),
        ("emit", {"bands": 284, "metres": 60}, r"gives 284 bands and --sensor emit has 285 \(381 nm, 388.4 nm, ..., "),
        ("sentinel2-l2a", {"bands": 4, "dtype": "float32"}, r"holds float32 and --sensor sentinel2-l2a delivers"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_one_sentence_with_the_numbers(
    sensor: str, how: dict, said: str, make_scene: MakeScene
) -> None:
    path = make_scene(stack(how["bands"], how.get("dtype", "uint16")), transform=at(how.get("metres", 10)))
    with pytest.raises(SceneError, match=said) as caught:
        scene(path, sensor)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_another_scale_and_another_product_are_refused(make_scene: MakeScene, tmp_path: Path) -> None:
    path = make_scene(stack(4))
    with rasterio.open(path, "r+") as file:
        file.scales = (0.01,) * 4
    with pytest.raises(
        SceneError, match=r"declares scale 0.01 and offset 0 and --sensor sentinel2-l2a has 0.0001 and 0"
    ):
        scene(path, "sentinel2-l2a")
    product = sentinel2(tmp_path, {"B02_10": stack(1, side=48)[0]})
    assert scene(product, "sentinel2-l2a").names == ("B02",)
    with pytest.raises(
        SceneError, match=r"is Sentinel-2 L2A with B02 and --sensor planetscope has coastal_blue"
    ):
        scene(product, "planetscope")


def test_an_unknown_sensor_is_refused_with_those_that_there_are(make_scene: MakeScene, here: Path) -> None:
    line = refused(2, "tile", make_scene(stack(4)), "--sensor", "sentinel3")
    assert "--sensor sentinel3: there are sentinel2-l2a, sentinel2-l1c, landsat-8-l2, planetscope" in line
    with pytest.raises(ConfigError):
        sensors.check_name("x")


def test_what_was_tiled_with_a_sensor_is_scored_with_it(make_scene: MakeScene, here: Path) -> None:
    path = make_scene(RNG.integers(300, 900, (12, 64, 64)).astype("uint16"))
    chosen = "--sensor", "sentinel2-l2a", "--bands", "B08,B02"
    assert typed("tile", path, "--size", 16, *chosen).exit_code == 0
    said = told("info", here / "tiles" / path.stem)
    assert (said["sensor"], said["bands"], said["scales"]) == ("sentinel2-l2a", ["B08", "B02"], [1e-4, 1e-4])
    assert typed("train", "--set", "model.name=pca", "--epochs", 1, "--device", "cpu").exit_code == 0
    assert typed("score", "--chips", 0).exit_code == 0
    assert typed("score", path, *chosen, "--chips", 0, "--out", "b.gpkg").exit_code == 0
    # without it the same DN mean nothing in particular
    assert (
        "declares no scale for B08, and the model was trained on 0.0001 and 0; say which product it is with --sensor"
        in refused(2, "score", path, "--bands", "8,2", "--out", "c.gpkg")
    )
