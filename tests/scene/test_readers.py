"""What every reader promises: a source is plain, pickles and is read again from there, by any thread."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from satae.errors import SceneError
from satae.grid import Window
from satae.scene import raster, readers
from satae.scene.describe import describe
from satae.scene.scene import Limits

PIXELS = np.random.default_rng(3).integers(1, 200, (3, 64, 80), "uint16")
BLOCKS = {"tiled": True, "blockxsize": 32, "blockysize": 16}


@pytest.mark.parametrize("name", readers.READERS.names)
def test_a_reader_has_what_the_contract_names_and_knows_no_foreign_file(name: str, tmp_path: Path) -> None:
    reader = readers.READERS.module(name)
    assert callable(reader.describe) and callable(reader.open)
    assert not reader.matches(tmp_path / "a.txt", b"hello") and not reader.matches(tmp_path, b"")


def test_a_source_says_what_rasterio_says(make_scene) -> None:
    path = make_scene(PIXELS, nodata=7, **BLOCKS)
    with rasterio.open(path, "r+") as out:
        out.set_band_description(2, "nir")
        out.scales, out.offsets = (0.1, 1, 1), (0, 5, 0)
        out.build_overviews([2, 4])
    found = readers.source(path)
    with rasterio.open(path) as dataset:
        assert (found.grid.height, found.grid.width) == dataset.shape
        assert found.grid.transform == dataset.transform and found.grid.crs == dataset.crs.to_wkt()
        assert tuple(b.scale for b in found.bands) == dataset.scales
        assert tuple(b.offset for b in found.bands) == dataset.offsets
        assert tuple(b.nodata for b in found.bands) == dataset.nodatavals
        assert found.block == dataset.block_shapes[0] and list(found.overviews) == dataset.overviews(1)
    assert [b.name for b in found.bands] == ["", "nir", ""] and not found.bands[0].masked


def test_a_mask_of_the_file_and_alpha_are_told_apart(make_scene) -> None:
    own = readers.source(make_scene(PIXELS, mask=np.ones((64, 80), bool))).bands
    alpha = readers.source(make_scene(PIXELS[:2], alpha="YES")).bands
    assert own[0].masked and [b.colour for b in alpha] == ["gray", "alpha"] and not alpha[0].masked


def test_a_scene_pickles_and_is_read_alike_by_threads_that_unpickle_it(make_scene, tmp_path: Path) -> None:
    half = np.repeat(np.repeat(PIXELS[:1, ::2, ::2] % 2, 1, 1), 1, 2).astype("uint8")
    mask = make_scene(half, name="mask.tif", transform=Affine(20, 0, 500_000, 0, -20, 5_200_000))
    scene = describe([make_scene(PIXELS, nodata=9, **BLOCKS)], limits=Limits(mask=mask))
    assert scene.grid.gsd_m == pytest.approx(10, rel=0.01)  # what a grid has worked out must not stop it
    packed, window = pickle.dumps(scene), Window(3, 5, 50, 60)

    def read(content: bytes) -> tuple[bytes, bytes]:
        with pickle.loads(content).open() as reader:
            image, valid = reader.read(window)
        return image.tobytes(), valid.tobytes()

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(read, [packed] * 6)
    assert pickle.loads(packed) == scene and all(other == first for other in others)
    expected = np.kron(half[0], np.ones((2, 2), bool)).astype(bool) & (PIXELS != 9).all(axis=0)
    assert first[1] == expected[window.slices(scene.grid.window)].tobytes()


def test_a_source_whose_file_went_is_refused_in_one_sentence(make_scene) -> None:
    path = make_scene(PIXELS)
    source = readers.source(path)
    path.write_bytes(b"<!DOCTYPE html><html></html>")
    with pytest.raises(SceneError, match="is a web page"):
        readers.open_pixels(source)
    path.unlink()
    with pytest.raises(SceneError, match="does not exist"):
        readers.open_pixels(source)


def test_a_file_read_once_through_leaves_little_in_the_cache_of_gdal(make_scene) -> None:
    def limit() -> int:
        with rasterio.Env():
            return int(rasterio.env.get_gdal_config("GDAL_CACHEMAX"))

    source = readers.source(make_scene(PIXELS))
    with raster.once_through(), readers.open_pixels(source) as pixels:
        assert limit() == raster.PASSING_BYTES
        assert (pixels.read([1, 2, 3], source.grid.window) == PIXELS).all()
    assert limit() == raster.CACHE_BYTES == int(os.environ["GDAL_CACHEMAX"]) * 2**20
