"""Products as providers deliver them are read as numpy reads what was written: grids, offsets, clouds, refusals."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from catalogues import earth_search
from commands import refused, told, typed
from deliveries import enmap, landsat, outlines, planet, raster, sentinel1, sentinel2, tarred, zipped

from satae.errors import SceneError
from satae.scene import products
from satae.scene.describe import describe
from satae.scene.raster import Raster
from satae.scene.scene import Limits, Scene

PCA = Path(__file__).parents[2] / "configs" / "pca.yaml"
RNG = np.random.default_rng(0)
FINE = {f"{band}_10": RNG.integers(200, 3000, (96, 120)) for band in ("B02", "B03", "B04", "B08")}
COARSE = RNG.integers(200, 3000, (48, 60))
CLASSES = np.where(np.arange(48 * 60).reshape(48, 60) % 12 < 12, np.arange(48 * 60).reshape(48, 60) % 12, 4)


def pixels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    with scene.open() as reader:
        return reader.read(scene.grid.window)


def larger(image: np.ndarray) -> np.ndarray:
    """Each pixel as four."""
    return image.repeat(2, axis=-2).repeat(2, axis=-1)


@pytest.mark.parametrize("level", ["1C", "2A"])
def test_one_ground_gives_the_same_tiles_at_every_baseline(here: Path, level: str) -> None:
    stored = {name: image.copy() for name, image in FINE.items()}
    for image in stored.values():
        image[:9] = 0
    made = {}
    for baseline in ("02.14", "04.00", "05.11"):
        path = sentinel2(here, stored, level=level, baseline=baseline)
        assert typed("tile", path, "--size", 32, "--min-valid", 0, "--out", baseline).exit_code == 0
        (folder,) = (here / baseline).iterdir()
        made[baseline] = [(folder / name).read_bytes() for name in ("tiles.npy", "valid.npy", "index.npy")]
    assert made["02.14"] == made["04.00"] == made["05.11"]
    tiles, valid = np.load(folder / "tiles.npy"), np.load(folder / "valid.npy")
    assert np.array_equal(tiles[5], [image[32:64, 32:64] for image in stored.values()])
    assert valid.sum() == (96 - 9) * 120


def test_bands_of_all_distances_come_to_the_finest_that_is_used_or_to_the_one_asked_for(
    tmp_path: Path,
) -> None:
    images = {**FINE, "B11_20": COARSE, "B02_20": COARSE}
    path = sentinel2(tmp_path, images)
    usual = describe([path])
    assert usual.names == ("B02", "B03", "B04", "B08") and usual.grid.transform.a == 10
    both = describe([path], bands=["b02", "B11"])
    image, valid = pixels(both)
    assert np.array_equal(image, [FINE["B02_10"], larger(COARSE)]) and valid.all()
    alone = describe([path], bands=["B11"])
    assert alone.grid.transform.a == 20 and np.array_equal(pixels(alone)[0][0], COARSE)
    means = FINE["B02_10"].reshape(48, 2, 60, 2).mean(axis=(1, 3))
    image, _ = pixels(describe([path], bands=["B02", "B11"], gsd=20))
    assert np.abs(image[0] - means).max() <= 0.5 and np.array_equal(image[1], COARSE)


def test_the_mean_leaves_out_what_holds_nothing(tmp_path: Path) -> None:
    image = np.full((96, 120), 500)
    image[:3] = 0
    path = sentinel2(tmp_path, {"B02_10": image})
    seen, valid = pixels(describe([path], gsd=20))
    assert np.array_equal(valid, np.repeat([False, *[True] * 47], 60).reshape(48, 60))
    assert (seen[0][valid] == 500).all()


def test_clouds_of_the_provider_do_not_count_unless_they_are_kept(tmp_path: Path) -> None:
    path = sentinel2(tmp_path, FINE, classes=CLASSES)
    _, valid = pixels(describe([path]))
    assert np.array_equal(valid, larger(~np.isin(CLASSES, [0, 1, 3, 8, 9, 10])))
    assert pixels(describe([path], limits=Limits(clouds=True)))[1].all()
    masks = np.zeros((3, 16, 20), int)
    masks[0, 2, 3] = masks[1, 4, 5] = masks[2, 6, 7] = 1
    path = sentinel2(tmp_path, FINE, level="1C", classes=masks)
    wanted = ~(masks[:2] == 1).any(axis=0).repeat(6, axis=0).repeat(6, axis=1)
    assert np.array_equal(pixels(describe([path]))[1], wanted)


def test_clouds_before_baseline_04_are_outlines(tmp_path: Path) -> None:
    def corners(row: int, col: int, height: int, width: int) -> list[tuple[float, float]]:
        left, top = 600_000 + 10 * col, 5_200_000 - 10 * row
        right, bottom = left + 10 * width, top - 10 * height
        return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]

    path = sentinel2(tmp_path, {**FINE, "B11_20": COARSE}, level="1C", baseline="02.14")
    outlines(path, [[corners(10, 20, 30, 40), corners(20, 30, 10, 10)], [corners(80, 100, 50, 50)]])
    clear = np.ones((96, 120), bool)
    clear[10:40, 20:60], clear[20:30, 30:40], clear[80:, 100:] = False, True, False
    for of in (path, zipped(path)):
        assert np.array_equal(pixels(describe([of]))[1], clear)
        # on the grid that is used, not on that of the mask
        assert np.array_equal(pixels(describe([of], bands=["B11"]))[1], clear[::2, ::2])
    assert pixels(describe([path], limits=Limits(clouds=True)))[1].all()
    product = products.at(path)
    assert product is not None and pickle.loads(pickle.dumps(product)) == product
    assert told("info", path)["masks"][0]["file"].endswith("/MSK_CLOUDS_B00.gml")
    outlines(path, [])  # as of a day without a cloud
    assert pixels(describe([path]))[1].all()


@pytest.mark.parametrize(
    ("spoil", "told_of"),
    [
        (lambda text: text.replace("600000", "6e5e5"), "holds an outline that is none"),
        (lambda text: text.replace(" 5.2e+06 ", " "), "holds an outline that is none"),
        (lambda text: text.replace(":32632", ":32633"), "another CRS than its bands"),
        (lambda text: "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>" + text, "declares entities"),
    ],
)
def test_outlines_that_mislead_are_refused(here: Path, spoil, told_of: str) -> None:
    path = sentinel2(here, FINE, level="1C", baseline="02.14")
    ring = [(600_000, 5_200_000), (600_100, 5_200_000), (600_100, 5_199_900), (600_000, 5_200_000)]
    mask = outlines(path, [[ring]])
    mask.write_text(spoil(mask.read_text()))
    assert told_of in refused(2, "tile", path)
    assert "holds outlines and no image" in refused(2, "tile", mask)


def test_saturated_pixels_do_not_count(tmp_path: Path) -> None:
    image = np.full((48, 48), 500)
    image[7, 9] = 65535 - 1000
    _, valid = pixels(describe([sentinel2(tmp_path, {"B02_10": image})]))
    assert np.argwhere(~valid).tolist() == [[7, 9]]


def test_an_archive_is_read_as_the_folder_in_it(here: Path) -> None:
    path = sentinel2(here, FINE, classes=CLASSES)
    archive = zipped(path)
    for of, out in ((path, "folder"), (archive, "archive")):
        assert typed("tile", of, "--size", 32, "--out", out).exit_code == 0
    (one,), (other,) = (here / "folder").iterdir(), (here / "archive").iterdir()
    for name in ("tiles.npy", "valid.npy", "index.npy"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert one.name == other.name == path.stem


def test_what_was_tiled_is_scored_without_decoding_it_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sentinel2(here, FINE)
    for words in (("tile", path, "--size", 16), ("train", "--config", PCA, "--epochs", 1, "--device", "cpu")):
        assert typed(*words).exit_code == 0
    read = Raster._decoded

    def decoded(self: Raster, *how: object) -> np.ndarray:
        assert self.driver != "JP2OpenJPEG"
        return read(self, *how)

    words = ("score", path, "--out", "out.gpkg", "--force-domain")
    monkeypatch.setattr(Raster, "_decoded", decoded)
    assert typed(*words).exit_code == 0
    with pytest.raises(AssertionError):  # other options are other pixels
        typed(*words, "--overwrite", "--clouds", "keep")


def test_a_product_says_what_it_is(tmp_path: Path) -> None:
    path = sentinel2(tmp_path, {**FINE, "B11_20": COARSE}, classes=CLASSES)
    said = told("info", path)
    assert (said["product"], said["day"], said["baseline"]) == ("Sentinel-2 L2A", "2023-01-01", "05.11")
    assert (said["sensor"], said["level"]) == ("Sentinel-2", "L2A")
    assert [(b["name"], b["gsd_m"], b["added_to_dn"]) for b in said["bands"]][-2:] == [
        ("B08", pytest.approx(10, rel=0.01), -1000),
        ("B11", pytest.approx(20, rel=0.01), -1000),
    ]
    assert all((path / of["file"]).is_file() for of in (*said["bands"], *said["masks"]))
    assert said["masks"][0]["values"] == [0, 1, 3, 8, 9, 10]
    assert (said["grid"]["height"], said["grid"]["width"]) == (96, 120)
    product = products.at(path)
    assert product is not None and pickle.loads(pickle.dumps(product)) == product


def test_what_a_product_is_stands_in_tables(tmp_path: Path) -> None:
    images = {n: RNG.integers(7000, 20000, (60, 70)) for n in (2, 3)}
    lines = typed("info", landsat(tmp_path, images, np.zeros((60, 70), int))).stdout.splitlines()
    rows = [line.split() for line in lines]
    name = "LC08_L2SP_192027_20230615_20230622_02_T1"
    assert ["B2", "482", "30", "2.75e-05", "-0.2", "0", "0", "1", f"{name}_SR_B2.TIF"] in rows
    assert ["clouds", "bits", "1,", "2,", "3,", "4", "set", "1"] in rows
    assert ["day", "2023-06-15"] in rows and ["level", "L2SP"] in rows
    assert not any(sign in line for line in lines for sign in ("{", "[", "None"))


def test_every_description_pickles(tmp_path: Path) -> None:
    image, none = RNG.integers(200, 3000, (4, 60, 70)), np.zeros((60, 70), int)
    where = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_200_000)}
    delivered = [
        zipped(sentinel2(tmp_path, FINE, classes=CLASSES)),
        tarred(landsat(tmp_path, {2: image[0]}, none)),
        planet(tmp_path, image, np.ones((8, 60, 70))),
        enmap(tmp_path, image, [400, 500, 600, 700], none),
        sentinel1(tmp_path, {"vv": image[0]}, **where),
        earth_search(tmp_path, {"red": FINE["B04_10"]}),
    ]
    for path in delivered:
        found = products.at(path)
        assert found is not None and pickle.loads(pickle.dumps(found)) == found
        scene = describe([path])
        again = pickle.loads(pickle.dumps(scene))
        assert again == scene and np.array_equal(pixels(again)[0], pixels(scene)[0])
        said = told("info", path)
        assert {"bands", "masks", "day", "sensor", "level", "baseline", "grid"} <= set(said)


@pytest.mark.parametrize(
    ("spoil", "told_of"),
    [
        (lambda text: text.replace("<IMAGE_FILE>GRANULE", "<IMAGE_FILE>../GRANULE"), "outside of it"),
        (lambda text: text.replace("GRANULE", "GRAIN"), "holds none of the "),
        (lambda text: text.replace("<n1:Level", "<!DOCTYPE x [<!ENTITY y 'z'>]><n1:Level", 1), "declares entities"),
        (lambda text: text[:-40], "is damaged"),
        (lambda text: text.replace("IMAGE_FILE", "IMAGE"), "names no images"),
        (lambda text: text.replace('band_id="3">-1000', 'band_id="3">much'), "states BOA_ADD_OFFSET as 'much'"),
        (lambda text: text + " " * (16 << 20), "is larger than 16 MiB"),
    ],
)  # fmt: skip
def test_metadata_that_mislead_are_refused(here: Path, spoil, told_of: str) -> None:
    path = sentinel2(here, FINE)
    metadata = path / "MTD_MSIL2A.xml"
    metadata.write_text(spoil(metadata.read_text()))
    assert told_of in refused(2, "tile", path)
    assert not (here / "tiles").exists()


def test_archives_that_ended_early_are_refused(here: Path) -> None:
    archive = zipped(sentinel2(here, FINE))
    archive.write_bytes(archive.read_bytes()[:2000])
    assert "the download may have ended early" in refused(2, "tile", archive)
    with zipfile.ZipFile(archive, "w") as empty:
        empty.writestr("x.SAFE/readme", "")
    assert "holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml" in refused(2, "tile", archive)


def test_landsat_has_scale_offset_and_flags(tmp_path: Path) -> None:
    images = {n: RNG.integers(7000, 20000, (60, 70)) for n in (2, 3, 4, 5, 8)}
    flags = 1 << RNG.integers(0, 8, (60, 70))
    path = landsat(tmp_path, images, flags)
    scene = describe([path])
    assert (
        scene.names == ("B2", "B3", "B4", "B5")
        and set(scene.scales) == {2.75e-5}
        and set(scene.offsets) == {-0.2}
    )
    image, valid = pixels(scene)
    assert np.array_equal(image, [images[n] for n in (2, 3, 4, 5)])
    assert np.array_equal(valid, (flags & 0b11111) == 0)
    assert np.array_equal(pixels(describe([path], limits=Limits(clouds=True)))[1], (flags & 1) == 0)
    first = describe(
        [landsat(tmp_path, images, flags, level=1) / "LC08_L1TP_192027_20230615_20230622_02_T1_MTL.txt"]
    )
    assert set(first.scales) == {2e-5} and set(first.offsets) == {-0.1}
    product = products.at(path)
    assert product is not None
    assert (product.kind, product.day, product.baseline) == ("Landsat 8 L2SP", "2023-06-15", "Collection 02")


def test_planet_counts_what_is_clear(tmp_path: Path) -> None:
    image, mask = RNG.integers(200, 3000, (4, 60, 70)), np.zeros((8, 60, 70), int)
    mask[0] = RNG.random((60, 70)) < 0.8
    mask[7, :5] = 1
    path = planet(tmp_path, image, mask)
    scene = describe([path])
    assert scene.names == ("blue", "green", "red", "nir") and set(scene.scales) == {1e-4}
    seen, valid = pixels(scene)
    assert np.array_equal(seen, image) and np.array_equal(valid, (mask[0] == 1) & (mask[7] == 0))
    assert np.array_equal(pixels(describe([path], limits=Limits(clouds=True)))[1], mask[7] == 0)


def test_enmap_has_wavelengths_gains_and_clouds(tmp_path: Path) -> None:
    image, clouds = RNG.integers(1, 6000, (5, 60, 70)), RNG.random((60, 70)) < 0.3
    image[:, :4] = image[2] = -32768  # the third band lies where air is opaque, and is fill everywhere
    path = enmap(tmp_path, image, [418.24, 550.5, 1390, 1650, 2445.5], clouds)
    scene = describe([path])
    assert scene.names == ("418.24 nm", "550.5 nm", "1650 nm", "2445.5 nm")
    assert scene.widths == (7.5,) * 4 and set(scene.scales) == {1e-4}
    seen, valid = pixels(scene)
    assert np.array_equal(seen, image[[0, 1, 3, 4]])
    assert np.array_equal(valid, ~clouds & (np.arange(60) >= 4)[:, None])
    assert describe([next(path.glob("*-METADATA.XML"))]).names == scene.names
    product = products.at(path)
    assert product is not None and "in band 3 air lets no light through" in product.remarks[0]
    assert (product.kind, product.day, product.baseline) == ("EnMAP L2A", "2022-07-24", "010302")


def test_metadata_of_enmap_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    image = RNG.integers(1, 6000, (2, 60, 70))
    with pytest.raises(SceneError, match="holds 2 bands and its metadata describe 3"):
        describe([enmap(tmp_path / "a", image, [400, 500, 600])])
    path = enmap(tmp_path / "b", image, [400, 500])
    next(path.glob("*-SPECTRAL_IMAGE.TIF")).unlink()
    with pytest.raises(SceneError, match=r"lacks .*-SPECTRAL_IMAGE.TIF"):
        describe([path])


def test_files_of_one_place_and_several_distances_are_stacked(tmp_path: Path) -> None:
    fine, coarse = FINE["B02_10"].astype(np.uint16), COARSE.astype(np.uint16)
    one = raster(tmp_path / "T32_B02_10m.jp2", fine[None], 10)
    other = raster(tmp_path / "T32_B11_20m.jp2", coarse[None], 20)
    image, valid = pixels(describe([one, other]))
    assert np.array_equal(image, [fine, larger(coarse)]) and valid.all()
    away = raster(tmp_path / "T32_B12_20m.jp2", coarse[None, :40], 20)
    with pytest.raises(
        SceneError, match="do not cover the same ground: their corners are 160 map units apart"
    ):
        describe([one, away])


@pytest.mark.parametrize(("gsd", "told_of"), [(-1, "is no sampling distance"), (1e6, "leaves no pixel")])
def test_distances_that_a_grid_cannot_have_are_refused(tmp_path: Path, gsd: float, told_of: str) -> None:
    with pytest.raises(SceneError, match=told_of):
        describe([sentinel2(tmp_path, FINE)], gsd=gsd)


def test_a_band_that_is_not_there_is_said_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"has no band 'B12'; it has B02 \(blue\), B03"):
        describe([sentinel2(tmp_path, FINE)], bands=["B12"])
