"""ENVI files are read as numpy reads what was written, with what their headers say of bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import told, typed
from deliveries import envi, raster

from satae.errors import SceneError
from satae.scene import readers
from satae.scene.describe import describe

CUBE = np.random.default_rng(0).integers(-50, 3000, (5, 40, 30))


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("kind", ["<i2", ">i2", "<f4", ">u2", "u1"])
def test_pixels_are_those_that_were_written(tmp_path: Path, interleave: str, kind: str) -> None:
    image = (np.abs(CUBE) % 200).astype(kind)
    path = envi(tmp_path / f"cube.{interleave}", image, interleave, offset=64)
    for named in (path, path.with_suffix(".hdr")):
        scene = describe([named])
        with scene.open() as reader:
            seen, valid = reader.read(scene.grid.window)
        assert np.array_equal(seen, image) and valid.all()
        assert scene.grid.transform[:6] == (30, 0, 600_000, 0, -30, 5_200_000) and scene.name == "cube"


def test_the_header_names_wavelengths_scale_fill_and_bad_bands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    header = (
        "wavelength units = Micrometers\nwavelength = {0.4, 0.5,\n 0.6, 0.7, 0.8}\nfwhm = {.01, .01, .01, .01, .01}\n"
        "bbl = {1, 0, 0, 1, 1}\ndata ignore value = -50\nreflectance scale factor = 10000\n"
    )
    image = CUBE.astype("<i2")
    image[3, 5] = -50
    scene = describe([envi(tmp_path / "cube.dat", image, header=header)])
    assert scene.names == ("400 nm", "700 nm", "800 nm")
    assert [(b.wavelength, b.width) for b in scene.bands] == [(400, 10), (700, 10), (800, 10)]
    assert set(scene.scales) == {1e-4}
    with scene.open() as reader:
        seen, valid = reader.read(scene.grid.window)
    assert np.array_equal(seen, image[[0, 3, 4]])
    assert np.array_equal(valid, (image[[0, 3, 4]] != -50).all(axis=0))
    assert describe([tmp_path / "cube.dat"], bands=[2, 3]).names == ("500 nm", "600 nm")
    (remark,) = readers.source(tmp_path / "cube.dat").remarks
    assert "marks bands 2 to 3 as bad" in remark


@pytest.mark.parametrize(
    ("spoil", "told_of"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "the file may be half copied"),
        (lambda path: path.unlink(), "are not beside it"),
        (lambda path: path.with_suffix(".hdr").write_text("ENVI\n" + " " * (5 << 20)), "limit of 4 MiB for a header"),
    ],
)  # fmt: skip
def test_headers_without_their_pixels_are_refused(tmp_path: Path, spoil, told_of: str) -> None:
    path = envi(tmp_path / "cube.img", CUBE.astype("<i2"))
    spoil(path)
    with pytest.raises(SceneError, match=told_of):
        describe([path.with_suffix(".hdr")])


def test_all_bands_bad_is_said(tmp_path: Path) -> None:
    path = envi(tmp_path / "cube.img", CUBE.astype("<i2"), header="bbl = {0, 0, 0, 0, 0}\n")
    with pytest.raises(SceneError, match=r"marks all 5 bands as bad"):
        describe([path])


def test_a_header_beside_a_geotiff_does_not_make_it_raw(tmp_path: Path) -> None:
    envi(tmp_path / "scene.img", CUBE.astype("<i2"))
    raster(tmp_path / "scene.tif", np.full((1, 20, 30), 7, np.uint16), 10)
    assert describe([tmp_path / "scene.tif"]).dtype == "uint16"


def test_what_the_header_says_of_bands_stands_in_a_table(tmp_path: Path) -> None:
    image = np.arange(4 * 32 * 32).reshape(4, 32, 32).astype("i2")
    header = "wavelength = {400, 500, 600, 700}\nwavelength units = Nanometers\nbbl = {1, 1, 0, 1}\n"
    header += "reflectance scale factor = 10000\ndata ignore value = -9999\n"
    path = envi(tmp_path / "cube.bsq", image, header=header).with_suffix(".hdr")
    rows = [line.split() for line in typed("info", path).stdout.splitlines()]
    assert ["700", "nm", "700", "30", "0.0001", "0", "0", "-9999", "4"] in rows
    table = told("info", path)["band_table"]
    assert [b["wavelength_nm"] for b in table] == [400, 500, 700] and {b["file"] for b in table} == {
        "cube.bsq"
    }
