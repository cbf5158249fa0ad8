"""Products as people hold them: in parts, processed again, under other names, beside others of other sensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from commands import refused, typed
from deliveries import landsat, raster, sentinel2, zipped

from satae.errors import SceneError
from satae.grid import Window
from satae.scene import products
from satae.scene.describe import describe
from satae.scene.scene import Scene

PCA = Path(__file__).parents[2] / "configs" / "pca.yaml"
RNG = np.random.default_rng(0)
FINE = {f"{band}_10": RNG.integers(200, 3000, (96, 120)) for band in ("B02", "B03", "B04", "B08")}


def pixels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    with scene.open() as reader:
        return reader.read(scene.grid.window)


def test_a_product_of_which_only_some_images_were_kept_is_read_without_the_others(tmp_path: Path) -> None:
    path = sentinel2(tmp_path, FINE)
    next(path.rglob("*_B04_10m.jp2")).unlink()
    product = products.at(path)
    assert product is not None and "B04" not in product.usual and len(product.usual) == 3
    assert product.remarks == (
        f"{path} lacks 1 of the {len(FINE)} images that its metadata name "
        "(T32TQM_20230101T101401_B04_10m); the others are used",
    )
    images = {n: RNG.integers(7000, 20000, (60, 70)) for n in (2, 3)}
    other = landsat(tmp_path, images, np.zeros((60, 70), int))
    next(other.glob("*_SR_B2.TIF")).unlink()
    assert "lacks 1 of the 2 images" in typed("tile", other, "--size", 16, "--out", tmp_path / "t").stderr


def test_what_others_processed_again_has_tiff_images_and_another_case_in_a_name(tmp_path: Path) -> None:
    first, again = (sentinel2(tmp_path / name, FINE) for name in ("first", "again"))
    for path in again.rglob("*.jp2"):
        with rasterio.open(path) as file:
            raster(path.with_suffix(".tif"), file.read(), 10, nodata=None)
        path.unlink()
    (again / "MTD_MSIL2A.xml").rename(again / "MTD_MSIL2a.xml")
    one, two = (describe([path]) for path in (first, again))
    assert np.array_equal(pixels(one)[0], pixels(two)[0]) and one.names == two.names


def test_landsat_level_2_says_at_its_end_what_its_level_1_was(tmp_path: Path) -> None:
    images = {n: RNG.integers(7000, 20000, (60, 70)) for n in (2, 3, 4)}
    path = landsat(tmp_path, images, np.zeros((60, 70), int))
    metadata = next(path.glob("*_MTL.txt"))
    # as USGS writes it: groups of the same keys, behind those of Level 2
    record = (
        '  GROUP = LEVEL1_PROCESSING_RECORD\n    PROCESSING_LEVEL = "L1TP"\n    COLLECTION_NUMBER = 01\n'
        '    FILE_NAME_BAND_2 = "LC08_L1TP_B2.TIF"\n  END_GROUP = LEVEL1_PROCESSING_RECORD\n'
    )
    metadata.write_text(
        metadata.read_text().replace(
            "END_GROUP = LANDSAT_METADATA_FILE", f"{record}END_GROUP = LANDSAT_METADATA_FILE"
        )
    )
    product = products.at(path)
    assert product is not None and product.kind == "Landsat 8 L2SP" and product.baseline == "Collection 02"
    assert describe([path]).scales == (2.75e-5,) * 3


def test_bands_of_products_go_by_common_names_too(tmp_path: Path) -> None:
    path = sentinel2(tmp_path, FINE)
    assert describe([path], bands=["red", "NIR", "B03"]).names == ("B04", "B08", "B03")
    with pytest.raises(SceneError, match=rf"{path.name} has no band 'swir16'; it has B02 \(blue\), B03"):
        describe([path], bands=["swir16"])
    images = {n: RNG.integers(7000, 20000, (60, 70)) for n in (4, 5)}
    other = landsat(tmp_path, images, np.zeros((60, 70), int))
    assert describe([other], bands=["nir", "red"]).names == ("B5", "B4")


def test_dark_water_at_the_edge_of_a_product_is_not_taken_for_fill(here: Path) -> None:
    dark = {name: np.where(np.arange(120) < 60, 1, image) for name, image in FINE.items()}
    path = sentinel2(here, {name: np.where(image == 1, -500, image) for name, image in dark.items()})
    done = typed("tile", path, "--size", 16)
    # what lies under the offset is 0, and counts
    assert done.exit_code == 0 and "--nodata" not in done.stderr
    with describe([here / "tiles" / path.stem / "scene.tif"]).open() as reader:
        image, valid = reader.read(Window(0, 0, 96, 60))
    assert valid.all() and not image.any()


def test_an_offset_is_not_taken_off_twice(here: Path) -> None:
    assert "states an offset of its own, of which -1000 is added already" in refused(
        2, "tile", sentinel2(here, FINE), "--offset", -1000
    )
    # before baseline 04.00 there is none
    assert typed("tile", sentinel2(here, FINE, baseline="02.14"), "--offset", 5, "--size", 16).exit_code == 0


def test_a_zip_may_have_any_name_and_a_folder_without_metadata_says_what_it_lacks(here: Path) -> None:
    path = sentinel2(here, FINE)
    other = zipped(path).rename(here / "0f1c2d.zip")
    assert np.array_equal(pixels(describe([other]))[0], pixels(describe([path]))[0])
    (path / "MTD_MSIL2A.xml").unlink()
    assert "lacks its metadata, such as MTD_MSIL2A.xml" in refused(2, "tile", path)


def test_a_product_is_scored_beside_tile_sets_of_other_sensors(here: Path) -> None:
    images = {n: RNG.integers(7000, 20000, (60, 70)) for n in (2, 3)}
    first, other = sentinel2(here, FINE), landsat(here, images, np.zeros((60, 70), int))
    assert typed("tile", first, "--size", 16).exit_code == 0
    assert typed("train", "--config", PCA, "--epochs", 1, "--device", "cpu").exit_code == 0
    assert typed("tile", other, "--size", 16).exit_code == 0
    assert typed("score", first, "--chips", 0).exit_code == 0


def test_the_first_l2a_products_name_their_images_by_other_tags(tmp_path: Path) -> None:
    path = sentinel2(tmp_path, FINE, baseline="02.05")
    metadata = path / "MTD_MSIL2A.xml"
    before = describe([path])
    said = metadata.read_text().replace("IMAGE_FILE", "IMAGE_ID_2A").replace("BOA_QUANT", "L2A_BOA_QUANT")
    metadata.write_text(said.replace(">10000<", ">1000<"))
    found = describe([path])
    assert found.names == before.names and found.scales == (1e-3,) * 4


@pytest.mark.parametrize(("first", "centres"), [(1, (550, 650)), (4, (550, 650))])
def test_mss_has_wavelengths_of_its_own_on_early_and_on_later_satellites(
    tmp_path: Path, first: int, centres: tuple[int, int]
) -> None:
    images = {n: RNG.integers(1, 250, (60, 70)) for n in range(first, first + 4)}
    path = landsat(tmp_path, images, np.zeros((60, 70), int), level=1)
    metadata = next(path.glob("*_MTL.txt"))
    metadata.write_text(metadata.read_text().replace("OLI_TIRS", "MSS"))
    found = describe([path])
    assert found.names == tuple(f"B{n}" for n in images)
    assert found.wavelengths == (*centres, 750, 950)
