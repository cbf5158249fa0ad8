"""The tiles of a Maxar image are one mosaic, as GDAL reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import refused
from deliveries import maxar
from mosaics import by_gdal

from satae.scene import readers
from satae.scene.describe import describe

IMAGE = np.random.default_rng(0).integers(1, 2000, (4, 70, 90)).astype(np.uint16)


def test_tiles_are_put_together_as_gdal_does(tmp_path: Path) -> None:
    path = maxar(tmp_path, IMAGE)
    scene, wanted = describe([path]), by_gdal(path)[0]
    with scene.open() as reader:
        image, valid = reader.read(scene.grid.window)
    assert np.array_equal(image, IMAGE) and np.array_equal(image, wanted["image"]) and valid.all()
    # GDAL takes the place from metadata that few deliveries have; the tiles have their own
    assert scene.grid.crs == str(wanted["crs"])
    assert scene.grid.transform[:6] == (2, 0, 600_000, 0, -2, 5_200_000)
    assert scene.names == ("blue", "green", "red", "nir") and scene.block == (32, 32)
    assert len(readers.source(path).files) == 10


def test_a_mosaic_that_begins_with_another_tile_has_the_same_grid(tmp_path: Path) -> None:
    path = maxar(tmp_path, IMAGE)
    whole = describe([path]).grid
    head, *groups = path.read_text().split("BEGIN_GROUP = ")
    path.write_text("BEGIN_GROUP = ".join([head, *groups[1:-1], "TILE_1\n" + groups[0].split("\n", 1)[1]]))
    assert describe([path]).grid == whole
    with describe([path]).open() as reader:
        _, valid = reader.read(whole.window)
    wanted = np.ones((70, 90), bool)
    wanted[64:, 64:] = False  # the last tile is not named
    assert np.array_equal(valid, wanted)


@pytest.mark.parametrize(
    ("old", "new", "told_of"),
    [
        ("10OCT01_R1C2.TIF", "../10OCT01_R1C2.TIF", "must lie in its own folder"),
        ("10OCT01_R1C2.TIF", "/etc/passwd", "must lie in its own folder"),
        ("10OCT01_R1C2.TIF", "gone.TIF", "which is not there"),
        ("10OCT01_R1C2.TIF", "10OCT01.IMD", "is no TIFF file"),
        ("10OCT01_R1C2.TIF", "10OCT01_R2C2.TIF", "gives 10OCT01_R2C2.TIF another place"),
        ("10OCT01_R1C2.TIF", "10OCT01_R3C3.TIF", "and it has 6 x 26"),
        ("ULColOffset = 32", "ULColOffset = -32", "gives TILE_2 no place"),
        ("ULColOffset = 32", "ULColOffset = 999999", "and it has 32 x 32"),
        ("TILE_", "PIECE_", "names 0 tiles"),
    ],
)
def test_texts_that_mislead_are_refused(here: Path, old: str, new: str, told_of: str) -> None:
    path = maxar(here, IMAGE)
    count = -1 if old == "TILE_" else 1
    path.write_text(path.read_text().replace(old, new, count))
    assert told_of in refused(2, "tile", path)
    assert not (here / "tiles").exists()
