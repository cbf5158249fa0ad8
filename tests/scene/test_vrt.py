"""A VRT is read as GDAL reads it, by satae alone; what would lead it elsewhere is refused by name."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import PEAK, refused, told, typed
from deliveries import raster
from mosaics import by_gdal, shown, vrt

from satae.errors import SceneError
from satae.grid import Window
from satae.scene import readers
from satae.scene.describe import describe
from satae.scene.scene import Limits

RNG = np.random.default_rng(0)
A, B = RNG.integers(1, 99, (3, 40, 50)), RNG.integers(100, 199, (3, 40, 50))
A[:, 5:9, 5:20] = 0


def pixels(path: Path, **how: object) -> tuple[np.ndarray, np.ndarray]:
    scene = describe([path], **how)
    with scene.open() as reader:
        return reader.read(scene.grid.window)


def files(folder: Path, **how: object) -> None:
    for name, image in (("a.tif", A), ("sub/b.tif", B)):
        raster(folder / name, image.astype(np.uint16), 10, **how)


ONE = shown("a.tif", (0, 0, 50, 40))
MOSAICS = {
    "overlapping": [ONE + shown("sub/b.tif", (30, 20, 50, 40))],
    "the other way round": [shown("sub/b.tif", (30, 20, 50, 40)) + ONE],
    "parts": [shown("a.tif", (3, 2, 20, 10), src=(7, 9, 20, 10)) + shown("a.tif", (40, 30, 9, 8), src=(1, 0, 9, 8))],
    "larger": [shown("a.tif", (0, 0, 80, 64))],
    "twice as large": [shown("a.tif", (0, 0, 60, 40), src=(0, 0, 30, 20))],
    "smaller": [shown("a.tif", (10, 10, 25, 20), src=(0, 0, 50, 40))],
    "between pixels": [shown("a.tif", (3.4, 2.7, 50, 40)) + shown("sub/b.tif", (20.5, 10.5, 50, 40))],
    "half pixels": [shown("a.tif", (4, 5, 8, 8), src=(0.5, 0.5, 8, 8))],
    "fill of its own": [
        "<NoDataValue>0</NoDataValue>" + shown("sub/b.tif", (0, 0, 50, 40))
        + shown("a.tif", (0, 0, 50, 40), more="<NODATA>0</NODATA>", kind="ComplexSource")
    ],
    "fill elsewhere": ["<NoDataValue>65535</NoDataValue>" + ONE],
    "scaled": [shown("a.tif", (0, 0, 50, 40), kind="ComplexSource",
                     more="<ScaleOffset>-20.25</ScaleOffset><ScaleRatio>2.5</ScaleRatio>")],
    "bands of several files": [
        f"<Description>{name}</Description>" + shown(file, (0, 0, 80, 64), band=i)
        for name, file, i in (("red", "a.tif", 3), ("green", "sub/b.tif", 1), ("blue", "a.tif", 1))
    ],
    "bands together": [ONE + shown("sub/b.tif", (30, 20, 50, 40), band=i) for i in (3, 1, 2)],
    "no rectangles": [shown("a.tif")],
}  # fmt: skip


@pytest.mark.parametrize("name", MOSAICS)
def test_pixels_are_those_that_gdal_reads(tmp_path: Path, name: str) -> None:
    files(tmp_path, tiled=True, blockxsize=16, blockysize=16)
    kinds = ("UInt16", "Float32", "Byte", "Int16")
    paths = [vrt(tmp_path / f"{kind}.vrt", MOSAICS[name], (64, 80), dtype=kind) for kind in kinds]
    for path, wanted in zip(paths, by_gdal(*paths), strict=True):
        scene, (image, valid) = describe([path]), pixels(path)
        assert image.dtype == wanted["image"].dtype and np.array_equal(image, wanted["image"])
        assert (scene.grid.crs, scene.grid.transform[:6]) == (str(wanted["crs"]), tuple(wanted["transform"]))
        assert list(scene.names) == [n or f"band{i}" for i, n in enumerate(wanted["names"], 1)]
        # what no file shows does not count either, where GDAL gives 0
        counts = (wanted["valid"] > 0).all(axis=0)
        assert not (valid & ~counts).any() and valid[(image != 0).all(axis=0) & counts].all()


def drawn(rng: np.random.Generator, whole: bool) -> str:
    """A source at random: of rectangles of whole pixels or not, scaled or not, with fill or not."""

    def span(size: int, length: float | None = None) -> tuple[float, float]:
        length = min(size, rng.uniform(2, size)) if length is None else length
        start = rng.uniform(0, size - length)
        return (int(start), int(length)) if whole else (start, length)

    (y, height), (x, width) = span(40), span(50)
    same = rng.random() < 0.6
    (row, tall), (col, wide) = (span(n, k if same else None) for n, k in ((64, height), (80, width)))
    more, kind = "", str(rng.choice(["SimpleSource", "ComplexSource"]))
    if kind == "ComplexSource":
        more = f"<NODATA>{rng.choice([0, 7, 110])}</NODATA>" * int(rng.random() < 0.5)
        scale = (
            f"<ScaleOffset>{rng.uniform(-50, 50)}</ScaleOffset><ScaleRatio>{rng.uniform(0.1, 3)}</ScaleRatio>"
        )
        more += scale * int(rng.random() < 0.4)
    file = str(rng.choice(["a.tif", "sub/b.tif"]))
    return shown(file, (col, row, wide, tall), src=(x, y, width, height), more=more, kind=kind)


@pytest.mark.parametrize("whole", [True, False], ids=["whole pixels", "fractions"])
def test_mosaics_at_random_are_those_that_gdal_reads(tmp_path: Path, whole: bool) -> None:
    files(tmp_path)
    rng = np.random.default_rng(int(whole))
    kinds = ("Byte", "UInt16", "Int16", "Float32", "Int32")
    paths = [
        vrt(
            tmp_path / f"m{i}.vrt",
            ["".join(drawn(rng, whole) for _ in range(1 + i % 4))],
            (64, 80),
            dtype=kinds[i % 5],
        )
        for i in range(30)
    ]
    for path, wanted in zip(paths, by_gdal(*paths), strict=True):
        assert np.array_equal(pixels(path)[0], wanted["image"]), path.read_text()


@pytest.mark.parametrize("name", ["overlapping", "between pixels", "larger", "smaller", "bands together"])
def test_windows_are_parts_of_the_whole(tmp_path: Path, name: str) -> None:
    files(tmp_path)
    scene = describe([vrt(tmp_path / "m.vrt", MOSAICS[name], (64, 80))])
    with scene.open() as reader:
        image, valid = reader.read(scene.grid.window)
        for row, col, height, width in (
            (0, 0, 7, 80),
            (13, 17, 30, 9),
            (19, 29, 2, 2),
            (60, 70, 4, 10),
            (8, 0, 1, 1),
        ):
            part, good = reader.read(Window(row, col, height, width))
            assert np.array_equal(part, image[:, row : row + height, col : col + width])
            assert np.array_equal(good, valid[row : row + height, col : col + width])


def test_a_mosaic_at_a_smaller_size_is_its_means(tmp_path: Path) -> None:
    files(tmp_path)
    source = readers.source(vrt(tmp_path / "m.vrt", [shown("a.tif", (10, 0, 50, 40))], (40, 80)))
    with readers.open_pixels(source) as open_file:
        image, valid = open_file.means([1], Window(0, 0, 40, 80), (4, 8))
    wanted = A[0].reshape(4, 10, 5, 10).mean(axis=(1, 3))
    assert (
        np.allclose(image[0, :, 1:6], wanted) and valid.tolist() == [[False, *[True] * 5, False, False]] * 4
    )


def test_what_no_file_shows_does_not_count(tmp_path: Path) -> None:
    files(tmp_path)
    _, valid = pixels(vrt(tmp_path / "m.vrt", MOSAICS["overlapping"], (64, 80)))
    wanted = np.zeros((64, 80), bool)
    wanted[:40, :50] = wanted[20:60, 30:80] = True
    assert np.array_equal(valid, wanted)


def test_masks_of_the_files_hold_in_the_mosaic(tmp_path: Path) -> None:
    import rasterio

    files(tmp_path)
    mask = RNG.random((40, 50)) < 0.7
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.write_mask(mask)
    _, valid = pixels(vrt(tmp_path / "m.vrt", [ONE], (40, 50)))
    assert np.array_equal(valid, mask)
    # with UseMaskBand what lies below shows instead
    above = shown("a.tif", (0, 0, 50, 40), kind="ComplexSource", more="<UseMaskBand>true</UseMaskBand>")
    path = vrt(tmp_path / "n.vrt", [shown("sub/b.tif", (0, 0, 50, 40)) + above], (40, 50))
    image, valid = pixels(path)
    assert valid.all() and np.array_equal(image, by_gdal(path)[0]["image"])
    assert np.array_equal(image[0], np.where(mask, A[0], B[0]))


def test_mosaics_of_jpeg_2000_and_of_mosaics(tmp_path: Path) -> None:
    raster(tmp_path / "in" / "tile.jp2", A.astype(np.uint16), 10)
    vrt(tmp_path / "in" / "inner.vrt", [shown("tile.jp2", (10, 5, 50, 40), band=i) for i in (1, 2)], (50, 70))
    path = vrt(
        tmp_path / "m.vrt", [shown("in/inner.vrt", (2, 3, 70, 50), src=(0, 0, 70, 50), band=2)], (64, 80)
    )
    image, _ = pixels(path)
    assert np.array_equal(image, by_gdal(path)[0]["image"])
    assert not describe([path]).is_plain  # decoded once, as other JPEG 2000 is


def test_a_mosaic_is_brought_to_another_grid(tmp_path: Path) -> None:
    files(tmp_path)
    path = vrt(tmp_path / "m.vrt", [ONE], (40, 50))
    means = A[0].reshape(20, 2, 25, 2).mean(axis=(1, 3))
    image, valid = pixels(path, gsd=20)
    assert np.abs(image[0] - means).max() <= 0.5 and valid.all()
    coarse = raster(tmp_path / "coarse.tif", A[:1, ::2, ::2].astype(np.uint16), 20)
    stacked = describe([coarse, path], bands=[1, 2])
    with stacked.open() as reader:
        assert np.array_equal(reader.read(stacked.grid.window)[0][1], A[0])
    # as a mask, by nearest neighbour, also from another CRS
    zeros = vrt(tmp_path / "mask.vrt", [shown("a.tif", (0, 0, 50, 40))], (40, 50))
    _, valid = pixels(path, limits=Limits(mask=zeros))
    assert np.array_equal(valid, A[0] != 0)
    half = raster(tmp_path / "fine.tif", np.ones((1, 80, 100), np.uint8), 5)
    _, valid = pixels(half, limits=Limits(mask=zeros))
    assert np.array_equal(valid, (A[0] != 0).repeat(2, axis=0).repeat(2, axis=1))


def test_a_mosaic_is_tiled_and_known_by_its_files(here: Path) -> None:
    files(here)
    path = vrt(here / "m.vrt", MOSAICS["overlapping"], (64, 80))
    assert typed("tile", path, "--size", 16, "--out", "one").exit_code == 0
    tiles = np.load(here / "one" / "m" / "tiles.npy")
    assert np.array_equal(tiles[0, 0], A[0, :16, :16])
    before = told("info", here / "one" / "m")["sha256"]
    raster(here / "a.tif", (A + 1).astype(np.uint16), 10)
    assert typed("tile", path, "--size", 16, "--out", "two").exit_code == 0
    assert told("info", here / "two" / "m")["sha256"] != before
    source = readers.source(path)
    assert pickle.loads(pickle.dumps(source)) == source
    assert [p.name for p in source.files] == ["m.vrt", "a.tif", "b.tif"]


def test_damage_is_said_with_the_file_that_has_it(here: Path) -> None:
    files(here, compress="deflate", tiled=True, blockxsize=16, blockysize=16)
    content = (here / "sub" / "b.tif").read_bytes()
    (here / "sub" / "b.tif").write_bytes(content[: len(content) // 2])
    path = vrt(here / "m.vrt", MOSAICS["overlapping"], (64, 80))
    assert "b.tif" in refused(2, "tile", path)
    assert typed("tile", path, "--on-bad-tile", "mask", "--size", 16).exit_code == 4


def alone(**how: object):
    return lambda folder: vrt(folder / "m.vrt", [shown("a.tif", **how)], (64, 80))


def named(old: str, new: str):
    """The first mosaic with a text replaced."""

    def write(folder: Path) -> Path:
        path = vrt(folder / "m.vrt", [ONE], (64, 80))
        path.write_text(path.read_text().replace(old, new, 1))
        assert new in path.read_text()
        return path

    return write


def chain(length: int):
    """So many files that refer to the next, the last one to a TIFF."""

    def write(folder: Path) -> Path:
        for i in range(length):
            below = f"v{i + 1}.vrt" if i + 1 < length else "a.tif"
            vrt(folder / f"v{i}.vrt", [shown(below, (0, 0, 50, 40))], (40, 50))
        return folder / "v0.vrt"

    return write


def climbs_by_link(folder: Path) -> Path:
    (folder / "work").mkdir()
    (folder / "work" / "a.tif").symlink_to(folder / "a.tif")
    return vrt(folder / "work" / "m.vrt", [ONE], (64, 80))


def crowd(folder: Path) -> Path:
    inner = vrt(folder / "inner.vrt", [shown("a.tif", (0, 0, 1, 1)) * 200], (40, 50))
    return vrt(folder / "m.vrt", [shown(inner.name, (0, 0, 1, 1)) * 60], (40, 50))


REFUSED = [
    (named("a.tif", "../a.tif"), "must lie in its own folder"),
    (named("a.tif", "sub/../a.tif"), "must lie in its own folder"),
    (named("a.tif", "/etc/passwd"), "must lie in its own folder"),
    (named("a.tif", "C:\\a.tif"), "must lie in its own folder"),
    (named("a.tif", "..\\a.tif"), "must lie in its own folder"),
    (named("a.tif", "/vsicurl/http://127.0.0.1:1/a.tif"), "must lie in its own folder"),
    (named("a.tif", "http://127.0.0.1:1/a.tif"), "must lie in its own folder"),
    (named('relativeToVRT="1"', 'relativeToVRT="0"'), "or be named relative to it"),
    (named(' relativeToVRT="1"', ""), "or be named relative to it"),
    (climbs_by_link, "it is a link to"),
    (named("a.tif", "gone.tif"), "refers to 'gone.tif', which is not there"),
    (named("a.tif", "m.vrt"), "refers to itself"),
    (named("<SourceBand>", "<SourceBand>mask,"), "SourceBand 'mask,1'"),
    (named("<SourceBand>1", "<SourceBand>4"), "shows band 4 of"),
    (named("<VRTDataset", "<!DOCTYPE x [<!ENTITY y 'z'>]><VRTDataset"), "DOCTYPE or entities"),
    (named("</VRTDataset>", ""), "is no whole XML"),
    (named("<VRTDataset", '<VRTDataset subClass="VRTWarpedDataset"'), "subClass='VRTWarpedDataset' in VRTDataset"),
    (named("<VRTRasterBand", '<VRTRasterBand subClass="VRTRawRasterBand"'), "subClass='VRTRawRasterBand'"),
    (named("<VRTRasterBand", '<VRTRasterBand subClass="VRTDerivedRasterBand"'), "subClass='VRTDerivedRasterBand'"),
    (named("<SRS>", "<MaskBand/><SRS>"), "an element MaskBand in VRTDataset"),
    (named("<SRS>", "<GCPList/><SRS>"), "an element GCPList in VRTDataset"),
    (named("<SimpleSource>", "<Overview/><SimpleSource>"), "an element Overview in VRTRasterBand"),
    (named("<SimpleSource>", "<KernelFilteredSource/><SimpleSource>"), "an element KernelFilteredSource"),
    (named("<SourceBand>", "<OpenOptions/><SourceBand>"), "an element OpenOptions in SimpleSource"),
    (named("<SourceBand>", "<NODATA>0</NODATA><SourceBand>"), "an element NODATA in SimpleSource"),
    (alone(kind="ComplexSource", more="<LUT>0:1</LUT>"), "an element LUT in ComplexSource"),
    (alone(dst=(0, 0, 80, 64), attributes=' resampling="bilinear"'), "resampling='bilinear'"),
    (alone(dst=(40, 0, 50, 40)), "which reaches beyond its own 64 x 80 pixels"),
    (alone(dst=(-5, 0, 50, 40)), "which reaches beyond its own 64 x 80 pixels"),
    (alone(dst=(0, 0, 2e9, 40)), "which reaches beyond its own 64 x 80 pixels"),
    (alone(dst=(0, 0, "nan", 40)), "is no rectangle"),
    (alone(dst=(0, 0, 0, 40)), "is no rectangle"),
    (alone(dst=(0, 0, "many", 40)), "xSize 'many' in DstRect, which is no number"),
    (alone(dst=(0, 0, 50, 40), src=(0, 0, 51, 40)), "which reaches beyond"),
    (alone(more='<SourceProperties RasterXSize="60" RasterYSize="40"/>'), "for 40 x 60 pixels in SourceProperties"),
    (named('rasterXSize="80"', 'rasterXSize="9000000000"'), "more than the limit of 2e+11"),
    (named('rasterXSize="80"', 'rasterXSize="2000000000"'), "one row or column takes 3814 MiB"),
    (named('rasterXSize="80"', 'rasterXSize="20000000"'), "its files fill less than 1 in 1000"),
    (named("SrcRect", "DstRect"), "with one of SrcRect and DstRect"),
    (named('rasterXSize="80"', 'rasterXSize="-80"'), "rasterXSize and rasterYSize that are whole numbers"),
    (named('dataType="UInt16"', 'dataType="CFloat32"'), "dataType='CFloat32'"),
    (named("EPSG:32632", "/etc/passwd"), "an SRS that is no WKT"),
    (named("EPSG:32632", "PROJCS[nonsense]"), "an SRS that is no WKT"),
    (named("600000, 10", "600000, 0"), "unusable pixel size"),
    (named("600000, 10", "nan, 10"), "GeoTransform"),
    (named("<SimpleSource>", "<!-- --><Description/><SimpleSource/><SimpleSource>"), "without a SourceFilename"),
    (chain(5), "makes 5 VRT files that refer to each other; the limit is 4"),
    (crowd, "leads to 12000 files in a band"),
    (lambda folder: vrt(folder / "m.vrt", [""], (64, 80)), "shows no file"),
    (lambda folder: vrt(folder / "m.vrt", [], (64, 80)), "without a VRTRasterBand"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "told_of"), REFUSED, ids=[told_of for _, told_of in REFUSED])
def test_what_would_lead_elsewhere_is_refused_by_name(here: Path, write, told_of: str) -> None:
    files(here)
    said = refused(2, "tile", write(here))
    assert told_of in said
    assert not (here / "tiles").exists()


@pytest.mark.parametrize("link", [False, True])
def test_files_of_its_folder_may_be_named_from_the_root(tmp_path: Path, link: bool) -> None:
    folder = tmp_path / "kept"
    files(folder)
    told = vrt(folder / "m.vrt", [ONE], (64, 80))
    if link:
        (tmp_path / "link").symlink_to(folder)
        folder = tmp_path / "link"
    text = told.read_text().replace('relativeToVRT="1">a.tif', f'relativeToVRT="0">{folder}/a.tif')
    (folder / "root.vrt").write_text(text)
    assert all(np.array_equal(a, b) for a, b in zip(pixels(folder / "root.vrt"), pixels(told), strict=True))
    (folder / "out.vrt").write_text(text.replace(f"{folder}/a.tif", f"{folder}/../{folder.name}/a.tif"))
    with pytest.raises(SceneError, match="must lie in its own folder"):
        describe([folder / "out.vrt"])


def test_other_files_than_images_are_refused(here: Path) -> None:
    (here / "a.tif").write_text("root:x:0:0\n")
    assert "is no TIFF, JPEG 2000 or VRT file" in refused(2, "tile", vrt(here / "m.vrt", [ONE], (64, 80)))


def test_four_files_may_refer_to_each_other(tmp_path: Path) -> None:
    files(tmp_path)
    path = chain(4)(tmp_path)
    assert np.array_equal(pixels(path)[0], by_gdal(path)[0]["image"])


def test_a_missing_file_is_said_before_any_pixel_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path)
    (tmp_path / "sub" / "b.tif").unlink()
    monkeypatch.setattr("satae.scene.raster.Raster.read", lambda *_: pytest.fail("pixels were read"))
    with pytest.raises(SceneError, match="which is not there"):
        describe([vrt(tmp_path / "m.vrt", MOSAICS["overlapping"], (64, 80))])


def test_memory_is_bounded_whatever_the_mosaic_claims(tmp_path: Path) -> None:
    rows, cols, side = 20, 30, 512
    raster(
        tmp_path / "a.tif",
        np.ones((1, side, side), np.uint16),
        10,
        tiled=True,
        blockxsize=256,
        blockysize=256,
    )
    tiles = [
        shown("a.tif", (c * side, r * side, side, side), src=(0, 0, side, side))
        for r in range(rows)
        for c in range(cols)
    ]
    # and one that shows all of it in a pixel
    whole = vrt(tmp_path / "all.vrt", ["".join(tiles)], (rows * side, cols * side))
    path = vrt(
        tmp_path / "m.vrt", [shown("all.vrt", (0, 0, 64, 64), src=(0, 0, cols * side, rows * side))], (64, 64)
    )
    code = PEAK + (
        "from pathlib import Path\nfrom satae.scene.describe import describe\nfrom satae.scene.stream import ahead, "
        f"strips\nbefore = peak()\nfor path in {[str(whole), str(path)]!r}:\n    scene = describe([Path(path)])\n"
        "    total = sum(int(i.sum()) for _, i, _ in ahead(scene, strips(scene, 64, 0), 0, 2))\n"
        "    assert total == scene.grid.pixels, total\nprint(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 150  # MiB, of 300 that the mosaic would need
