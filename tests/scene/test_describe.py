"""What is settled, warned of and refused before any work begins."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from satae.errors import SceneError
from satae.scene.describe import describe
from satae.scene.scene import Limits, Scene

PIXELS = np.random.default_rng(2).integers(1, 200, (4, 24, 32)).astype("uint16")


def listening(caplog, monkeypatch):
    """Describe files and return the warnings."""
    monkeypatch.setattr(logging.getLogger("satae"), "propagate", True)

    def warned(*paths: Path, bands: list[int] | None = None, **limits: object) -> str:
        describe(paths, bands=bands, limits=Limits(**limits))
        return caplog.text

    return warned


def refused(*paths: Path, bands: list[int] | None = None, **limits: object) -> str:
    with pytest.raises(SceneError) as info:
        describe(paths, bands=bands, limits=Limits(**limits))
    text = str(info.value)
    assert "\n" not in text and not text.endswith(".")
    return text


def read(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    with scene.open() as reader:
        return reader.read(scene.grid.window)


def test_a_plain_scene_is_described_without_a_warning(make_scene, caplog, monkeypatch) -> None:
    warned = listening(caplog, monkeypatch)
    path = make_scene(PIXELS, name="Port of X (1).tif")
    assert warned(path) == ""
    scene = describe([path])
    assert (scene.name, scene.dtype, scene.pixel_bytes) == ("Port_of_X_1", "uint16", 8)
    assert scene.names == ("band1", "band2", "band3", "band4") and scene.grid.gsd_m == pytest.approx(10)


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["L8-B2", "L8-B3"], "L8"), (["a\x1b[31m"], "a_31m"), (["b2", "c3"], "scene"), (["Häfen"], "Häfen")],
)
def test_scene_names_suit_files_and_layers(make_scene, names: list[str], expected: str) -> None:
    assert describe([make_scene(PIXELS[:1], name=f"{n}.tif") for n in names]).name == expected


def test_bands_of_single_band_files_want_them_stacked(make_scene) -> None:
    with pytest.raises(SceneError, match="has one band and --bands asks for 2; pass --stack"):
        describe([make_scene(PIXELS[:1])], bands=[2])


def test_the_band_of_a_single_file_is_no_name_of_that_file(make_scene) -> None:
    assert describe([make_scene(PIXELS[:1], name="2019_B08.tif")]).names == ("band1",)


def test_bands_of_a_stack_are_named_by_what_tells_the_files_apart(make_scene, tmp_path: Path) -> None:
    paths = [make_scene(PIXELS[:1], name=f"LC08_B{i}.tif", folder=tmp_path) for i in (2, 3)]
    assert describe(paths).names == ("B2", "B3")


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ([], "names no band"),
        ([1, 1], "names band 1 twice"),
        ([5], "bands 1 to 4; --bands asks for 5"),
        ([0], "0"),
    ],
)
def test_bands_that_are_not_there_are_refused(make_scene, bands: list[int], message: str) -> None:
    assert message in refused(make_scene(PIXELS), bands=bands)


def test_chosen_bands_keep_their_order(make_scene) -> None:
    scene = describe([make_scene(PIXELS)], bands=[3, 1])
    assert scene.names == ("band3", "band1") and (read(scene)[0] == PIXELS[[2, 0]]).all()


def test_bands_that_alternate_between_files_keep_their_order(make_scene) -> None:
    paths = [make_scene(PIXELS[:2], name="a.tif"), make_scene(PIXELS[2:], name="b.tif")]
    assert (read(describe(paths, bands=[1, 3, 2]))[0] == PIXELS[[0, 2, 1]]).all()


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"crs": "EPSG:32633"}, "state different CRSs"),
        ({"transform": Affine(10, 0, 500_010, 0, -10, 5_200_000)}, "differ in origin"),
    ],
)
def test_a_stack_on_two_grids_says_how_they_differ(make_scene, change: dict, difference: str) -> None:
    paths = make_scene(PIXELS, name="a.tif"), make_scene(PIXELS, name="b.tif", **change)
    assert difference in refused(*paths)


def test_real_bands_of_two_distances_are_stacked_on_the_finer_grid(data: Path) -> None:
    folder = data / "formats" / "rasterframes"
    coarse, fine = folder / "L8-B4-Elkton-VA.tiff", folder / "L8-B8-Elkton-VA.tiff"
    scene = describe([coarse, fine])
    with rasterio.open(fine) as panchromatic, rasterio.open(coarse) as red, scene.open() as reader:
        image, _ = reader.read(scene.grid.window)
        assert (scene.grid.height, scene.grid.width) == panchromatic.shape == (337, 371)
        assert np.array_equal(image[1], panchromatic.read(1))
        # the pixel of the coarser band that the centre of each finer one lies in
        steps = panchromatic.transform.e / red.transform.e, panchromatic.transform.a / red.transform.a
        rows, cols = (((np.indices((337, 371))[i] + 0.5) * steps[i]).astype(int) for i in (0, 1))
        wanted = red.read(1)[rows.clip(max=168), cols.clip(max=185)]
    assert (image[0] == wanted).mean() > 0.99


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (1, 400), (400, 7)])
def test_scenes_without_a_neighbourhood_are_refused(make_scene, shape: tuple[int, int]) -> None:
    assert "the smallest scene is 8 x 8" in refused(make_scene(np.ones((1, *shape), "uint8")))


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex_int16"])
def test_complex_pixels_are_refused(tmp_path: Path, dtype: str) -> None:
    shape = {
        "height": 16,
        "width": 16,
        "count": 1,
        "crs": "EPSG:32632",
        "transform": Affine(1, 0, 0, 0, -1, 9),
    }
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", dtype=dtype, **shape):
        pass
    assert "is complex" in refused(tmp_path / "a.tif")


def test_palette_indices_are_refused(data: Path) -> None:
    assert "palette indices" in refused(data / "formats" / "rio_cogeo" / "bad_output_vrt.tif")


def test_only_used_bands_are_judged(make_scene) -> None:
    assert (
        describe([make_scene(PIXELS), make_scene(np.ones((1, 24, 32), "complex64"))], bands=[1, 2]).dtype
        == "uint16"
    )


def with_nodata_text(path: Path, text: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(b"-1234.5\0") == 1
    path.write_bytes(content.replace(b"-1234.5\0", text.ljust(8, b"\0")))
    return path


def test_a_nodata_text_that_is_no_number_is_ignored_with_a_warning(make_scene, caplog, monkeypatch) -> None:
    warned = listening(caplog, monkeypatch)
    pixels = PIXELS.astype("float32")
    pixels[0, 3, 3] = 0  # GDAL takes the text for 0
    path = with_nodata_text(make_scene(pixels, nodata=-1234.5), b"none")
    assert "declares nodata 'none', which is no number" in warned(path)
    assert read(describe([path]))[1].all()


def test_an_unreadable_nodata_of_one_file_spares_the_others(make_scene) -> None:
    pixels = PIXELS.astype("float32")
    pixels[0, 3, 3] = 0
    odd = with_nodata_text(make_scene(pixels, nodata=-1234.5), b"none")
    assert read(describe([odd, make_scene(pixels, nodata=0)]))[1].sum() == 24 * 32 - 1


@pytest.mark.parametrize("text", [b"-9999", b"nan", b"1e40", b"0.5", b"70000"])
def test_a_nodata_that_the_type_cannot_hold_is_warned_of(
    make_scene, caplog, monkeypatch, text: bytes
) -> None:
    warned = listening(caplog, monkeypatch)
    path = make_scene(PIXELS, nodata=12345)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"12345\0", text.ljust(6, b"\0")))
    assert "which uint16 cannot hold; nothing is masked by it" in warned(path)
    assert read(describe([path]))[1].all()


def test_no_crs_is_warned_of(make_scene, caplog, monkeypatch) -> None:
    warned = listening(caplog, monkeypatch)
    assert "states no CRS" in warned(make_scene(PIXELS, crs=None))


def test_a_local_crs_is_warned_of(make_scene, caplog, monkeypatch) -> None:
    warned = listening(caplog, monkeypatch)
    assert "not tied to the Earth" in warned(make_scene(PIXELS, crs='LOCAL_CS["site",UNIT["metre",1]]'))


def test_64_bit_integers_are_warned_of(make_scene, caplog, monkeypatch) -> None:
    warned = listening(caplog, monkeypatch)
    assert "64-bit integers" in warned(make_scene(PIXELS.astype("int64")))


def test_an_external_mask_is_pointed_out(make_scene, caplog, monkeypatch) -> None:
    warned = listening(caplog, monkeypatch)
    path = make_scene(PIXELS)
    Path(f"{path}.msk").touch()
    assert f"pass --mask {path}.msk" in warned(path)


def test_near_infrared_that_looks_like_alpha_is_pointed_out(make_scene, caplog, monkeypatch) -> None:
    warned = listening(caplog, monkeypatch)
    path = make_scene(PIXELS.astype("uint8"), photometric="RGB", alpha="YES")
    assert "band 4 is marked as alpha but has" in warned(path) and "pass --bands 1,2,3,4" in warned(path)


def test_data_in_a_band_marked_as_alpha_is_used_in_silence_when_named(
    make_scene, caplog, monkeypatch
) -> None:
    warned = listening(caplog, monkeypatch)
    path = make_scene(PIXELS.astype("uint8"), photometric="RGB", alpha="YES")
    assert warned(path, bands=[1, 2, 3, 4]) == ""


def test_a_border_of_zeros_is_pointed_out_unless_it_is_nodata(make_scene, caplog, monkeypatch) -> None:
    warned = listening(caplog, monkeypatch)
    pixels = PIXELS.copy()
    pixels[:, :, :4] = 0
    assert warned(make_scene(pixels, nodata=0)) == "" and warned(make_scene(pixels), nodata=0.0) == ""
    share = (24 + 2 * 4) / (2 * 24 + 2 * 32)
    assert f"{100 * share:.0f} % of its edge is 0" in warned(make_scene(pixels))


def test_a_missing_mask_is_refused(make_scene, tmp_path: Path) -> None:
    assert "none.tif does not exist" in refused(make_scene(PIXELS), mask=tmp_path / "none.tif")
