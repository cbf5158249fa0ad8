"""EMIT and PRISMA are read as h5py and numpy read what was written; without h5py the refusal says what to install."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import refused, told, typed
from cubes import emit, prisma

from satae.errors import DamageError, SceneError
from satae.grid import Window
from satae.scene import hdf, products, readers
from satae.scene.describe import describe
from satae.scene.scene import Scene

PCA = Path(__file__).parents[2] / "configs" / "pca.yaml"
RNG = np.random.default_rng(0)
SWATH = RNG.uniform(0, 1, (50, 40, 6)).astype("f4")
SWATH[3, 4] = -9999
ROW, COL = np.mgrid[:90, :70]
ACROSS, ALONG = (COL * 0.5 + ROW * 0.15 - 2).astype(int), (ROW * 0.6 - COL * 0.1).astype(int)
SEEN = (ACROSS > 0) & (ACROSS <= 40) & (ALONG > 0) & (ALONG <= 50)
TABLE = np.where(SEEN, [ACROSS, ALONG], 0)
MAPPED = np.where(
    SEEN, SWATH[np.clip(ALONG, 1, 50) - 1, np.clip(ACROSS, 1, 40) - 1].transpose(2, 0, 1), -9999
)

VNIR, SWIR = RNG.integers(0, 4, (64, 5, 80)), RNG.integers(0, 60000, (64, 4, 80))
VNIR[:, 1] = 7
VNIR[:9], SWIR[:9] = 0, 0
CENTRES = ([900.5, 700, 0, 500, 400.25], [1500.0, 1200, 900.5, 950])
ORDERED = [VNIR[:, 4], VNIR[:, 3], VNIR[:, 1], VNIR[:, 0], SWIR[:, 2], SWIR[:, 3], SWIR[:, 1], SWIR[:, 0]]
NAMES = ("400.25 nm", "500 nm", "700 nm", "900.5 nm", "900.5 nm SWIR", "950 nm", "1200 nm", "1500 nm")


def pixels(scene: Scene, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
    with scene.open() as reader:
        return reader.read(window or scene.grid.window)


def test_emit_is_orthorectified_by_its_table(tmp_path: Path) -> None:
    scene = describe([emit(tmp_path / "emit.nc", SWATH, TABLE)])
    image, valid = pixels(scene)
    assert np.array_equal(image, MAPPED) and np.array_equal(valid, (MAPPED != -9999).all(axis=0))
    assert 0 < valid.sum() < SEEN.sum() < valid.size
    assert scene.grid.transform[:6] == (0.0006, 0, 10, 0, -0.0006, 47) and "WGS 84" in (scene.grid.crs or "")
    assert scene.names[:2] == ("381 nm", "388.4 nm") and scene.widths == (8.5,) * 6
    for window in (Window(13, 17, 30, 9), Window(80, 60, 20, 20), Window(63, 0, 2, 70)):
        part, good = pixels(scene, window)
        inside = window.clip(scene.grid.window).slices(scene.grid.window)
        height, width = image[0][inside].shape
        assert np.array_equal(part[:, :height, :width], image[(slice(None), *inside)])
        assert np.array_equal(good[:height, :width], valid[inside])


def test_the_swath_is_read_in_pieces_whatever_the_table_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satae.scene.readers.emit.MOST", 500)
    table = np.where(SEEN, [RNG.integers(1, 41, SEEN.shape), RNG.integers(1, 51, SEEN.shape)], 0)
    image, _ = pixels(describe([emit(tmp_path / "emit.nc", SWATH, table)], bands=[5, 2]))
    wanted = SWATH[table[1] - 1, table[0] - 1].transpose(2, 0, 1)[[4, 1]]
    assert np.array_equal(image, np.where(SEEN, wanted, -9999))


def test_bad_bands_of_emit_are_left_out_and_named(tmp_path: Path) -> None:
    path = emit(tmp_path / "emit.nc", SWATH, TABLE, good=[1, 0, 0, 1, 1, 1])
    assert describe([path]).names == ("381 nm", "403.2 nm", "410.6 nm", "418 nm")
    assert describe([path], bands=["388.4 nm"]).names == ("388.4 nm",)
    product = products.at(path)
    assert product is not None and (product.kind, product.day, product.baseline) == (
        "EMIT L2A",
        "2023-03-16",
        "V001",
    )
    assert "marks bands 2 to 3 as bad" in product.remarks[0]
    assert told("info", path)["bands"][1]["wavelength_nm"] == pytest.approx(388.4)


def test_prisma_is_one_cube_by_wavelength_with_its_scale(tmp_path: Path) -> None:
    path = prisma(tmp_path / "prisma.he5", VNIR, SWIR, centres=CENTRES)
    scene = describe([path])
    image, valid = pixels(scene)
    assert scene.names == NAMES and image.dtype == np.uint16 and np.array_equal(image, ORDERED)
    # a DN of 0 in some bands is dark, in all it was not seen
    assert np.array_equal(valid, np.repeat([False, True], [9, 55])[:, None].repeat(80, axis=1))
    assert (image[:, valid] == 0).any()
    assert scene.grid.transform[:6] == (30, 0, 600_000, 0, -30, 5_200_000) and "32632" in (
        scene.grid.crs or ""
    )
    assert np.allclose(scene.scales, [1 / 65535] * 4 + [2.1 / 65535] * 4) and set(scene.offsets[4:]) != {0}
    assert np.allclose(scene.offsets, [0] * 4 + [-0.1] * 4)
    part, _ = pixels(scene, Window(20, 30, 11, 7))
    assert np.array_equal(part, np.array(ORDERED)[:, 20:31, 30:37])
    product = products.at(path)
    assert product is not None and (product.kind, product.day) == ("PRISMA L2D", "2023-04-07")


def test_bands_that_prisma_flags_are_left_out(tmp_path: Path) -> None:
    flags = ([1, 1, 0, 0, 1], [1, 1, 1, 0])
    path = prisma(tmp_path / "prisma.he5", VNIR, SWIR, centres=CENTRES, flags=flags)
    assert describe([path]).names == tuple(n for n in NAMES if n not in ("500 nm", "950 nm"))


def test_a_cube_is_decoded_once_and_scored_from_there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(1, 97)[:, None]
    table = np.broadcast_arrays(np.arange(1, 113), rows)
    path = emit(here / "emit.nc", RNG.uniform(0, 1, (96, 112, 6)), np.array(table))
    for words in (("tile", path, "--size", 16), ("train", "--config", PCA, "--epochs", 1, "--device", "cpu")):
        assert typed(*words).exit_code == 0
    assert describe([here / "tiles" / "emit" / "scene.tif"]).wavelengths == describe([path]).wavelengths
    monkeypatch.setattr("satae.scene.readers.emit.Swath.read", lambda *_: pytest.fail("decoded again"))
    assert typed("score", path, "--force-domain").exit_code == 0


def spoilt(change):
    """A file of EMIT that is changed after it was written."""

    def write(folder: Path) -> Path:
        path = emit(folder / "emit.nc", SWATH, TABLE)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return write


def replaced(name: str, value: object):
    def change(file) -> None:
        del file[name]
        file[name] = value

    return spoilt(change)


def linked(file) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["reflectance"] = SWATH
    del file["reflectance"]
    file["reflectance"] = h5py.ExternalLink("other.h5", "/reflectance")


def elsewhere(file) -> None:
    del file["reflectance"]
    file.create_dataset("reflectance", (2, 2, 2), "u1", external=[("/etc/passwd", 0, 8)])


def cut_short(folder: Path) -> Path:
    path = emit(folder / "emit.nc", SWATH, TABLE)
    path.write_bytes(path.read_bytes()[:9000])
    return path


REFUSED = [
    (replaced("location/glt_x", TABLE[0] * 9), "names pixel"),
    (replaced("location/glt_x", TABLE[0][:5]), "whose halves differ"),
    (replaced("location/glt_x", TABLE[0] * 1.0), "whose halves differ"),
    (replaced("reflectance", SWATH[0]), "not as 3-dimensional numbers"),
    (replaced("sensor_band_parameters/wavelengths", np.arange(5.0)), "states 5 wavelengths for 6 bands"),
    (spoilt(linked), "no product of EMIT"),
    (spoilt(elsewhere), "keeps reflectance in other files"),
    (cut_short, "is HDF5 that cannot be opened"),
    (lambda folder: emit(folder / "emit.nc", SWATH, TABLE, geotransform=None), "states no geotransform"),
    (lambda folder: emit(folder / "emit.nc", SWATH, TABLE, geotransform=[1.0] * 5), "of 5 numbers, not 6"),
    (lambda folder: emit(folder / "emit.nc", SWATH, TABLE, geotransform=[0.0] * 6), "unusable pixel size"),
    (lambda folder: emit(folder / "emit.nc", SWATH, TABLE, spatial_ref="/etc/passwd"), "a spatial_ref that is no WKT"),
    (lambda folder: prisma(folder / "p.he5", VNIR, SWIR[:9], centres=CENTRES), "which are not one scene"),
    (lambda folder: prisma(folder / "p.he5", VNIR, SWIR, centres=([400] * 4, CENTRES[1])), "numbers of Vnir bands"),
    (lambda folder: prisma(folder / "p.he5", VNIR, SWIR, centres=CENTRES, Epsg_Code=1), "EPSG code 1, which is none"),
    (lambda folder: prisma(folder / "p.he5", VNIR, SWIR, centres=CENTRES, L2ScaleVnirMin=None), "no L2ScaleVnirMin"),
    (lambda folder: prisma(folder / "p.he5", VNIR, SWIR, centres=CENTRES, Product_LRcorner_easting=0.0), "only ortho"),
    (lambda folder: prisma(folder / "p.he5", VNIR, SWIR, centres=([0] * 5, [0] * 4)), "states no wavelength"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "told_of"), REFUSED, ids=[told_of for _, told_of in REFUSED])
def test_what_does_not_fit_is_refused(here: Path, write, told_of: str) -> None:
    assert told_of in refused(2, "tile", write(here), "--size", 16)
    assert not (here / "tiles").exists()


def chunked(path: Path, chunks: tuple[int, int, int]) -> Path:
    """The swath in compressed chunks."""
    emit(path, SWATH, TABLE)
    with h5py.File(path, "r+") as file:
        del file["reflectance"]
        file.create_dataset("reflectance", data=SWATH, chunks=chunks, compression="gzip")
    return path


def damaged(path: Path) -> Path:
    """A chunk of ten rows spoilt."""
    with h5py.File(chunked(path, (10, 40, 6)), "r") as file:
        place = file["reflectance"].id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 20 : place + 60] = bytes(40)
    path.write_bytes(content)
    return path


def test_each_chunk_is_decoded_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks, read, found = (8, 8, 4), hdf.read, Counter[tuple[int, int]]()

    def counted(source: h5py.Dataset, index: tuple[slice, ...], *where: object) -> np.ndarray:
        if source.compression:
            rows, cols = (
                range(of.start // side, -(-of.stop // side)) for of, side in zip(index, chunks, strict=False)
            )
            found.update((row, col) for row in rows for col in cols)
        return read(source, index, *where)

    monkeypatch.setattr(hdf, "read", counted)
    monkeypatch.setattr("satae.scene.stream.LARGEST_SIDE", 16)
    assert typed("tile", chunked(here / "emit.nc", chunks), "--size", 16, "--min-valid", 0).exit_code == 0
    assert set(found) == {(row, col) for row in range(7) for col in range(5)} and set(found.values()) == {1}
    assert {path.name for path in (here / "tiles" / "emit").iterdir()} == {
        "scene.tif", "tiles.npy", "valid.npy", "index.npy", "tileset.json", "footprints.geojson",
    }  # fmt: skip
    image, valid = pixels(describe([here / "tiles" / "emit" / "scene.tif"]))
    assert np.array_equal(
        np.where(valid, image, -9999), np.where((MAPPED != -9999).all(axis=0), MAPPED, -9999)
    )


def test_damaged_chunks_are_said_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(DamageError, match="is damaged between rows"):
        pixels(describe([damaged(tmp_path / "emit.nc")]))


def test_what_lies_around_damaged_chunks_is_kept_where_that_is_asked_for(here: Path) -> None:
    path = damaged(here / "emit.nc")
    assert "is damaged between rows" in refused(2, "tile", path, "--size", 16)
    assert typed("tile", path, "--size", 16, "--min-valid", 0, "--on-bad-tile", "mask").exit_code == 4
    image, valid = pixels(describe([here / "tiles" / "emit" / "scene.tif"]))
    assert 0 < valid.sum() < (MAPPED != -9999).all(axis=0).sum()
    assert np.array_equal(image[:, valid], MAPPED[:, valid])


@pytest.mark.parametrize("name", ["emit.nc", "prisma.he5"])
def test_without_h5py_the_refusal_says_what_to_install(
    here: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / name).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    monkeypatch.setitem(sys.modules, "h5py", None)
    for command in ("tile", "info"):
        assert "run `pip install 'satae[hyper]'`" in refused(2, command, here / name)


def test_files_of_other_kinds_do_not_ask_for_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.tif").write_bytes(b"scene")
    with pytest.raises(SceneError, match="is not a GeoTIFF"):
        readers.source(tmp_path / "a.tif")
