"""`satae tile` and `satae info` on what the world throws at them: one sentence, the right code, nothing left."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from scenes import spoil
from typer.testing import CliRunner

from satae.cli.app import app
from satae.errors import SceneError
from satae.scene import raster, readers

NOISE = np.random.default_rng(0).integers(1, 200, (2, 150, 190)).astype("uint16")
BLOCKS = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """An empty folder to work in, with the scenes beside it in `in`."""
    (tmp_path / "work").mkdir()
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "in"


def run(*words: object):
    return CliRunner().invoke(app, [str(w) for w in words])


def fails(*words: object, code: int = 2) -> str:
    """The one sentence of a command that is refused and leaves nothing."""
    done = run(*words)
    assert done.exit_code == code and done.stdout == "", done.output
    errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(errors) == 1 and errors[0].startswith("error: ") and not errors[0].endswith(".")
    assert list(Path().iterdir()) == []
    return errors[0]


CONTENTS = {
    "is empty": b"",
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\n",
    "is a web page": b"<html>404</html>",
    "is gzip": gzip.compress(b"scene", mtime=0),
    "is a VRT": b"<VRTDataset/>",
    "cannot be opened": b"II*\0" + bytes(60),
    "not a GeoTIFF": b"scene",
}


@pytest.mark.parametrize("command", ["tile", "info"])
@pytest.mark.parametrize("meaning", CONTENTS)
def test_what_is_no_geotiff_is_refused(place: Path, command: str, meaning: str) -> None:
    (place / "a.tif").write_bytes(CONTENTS[meaning])
    assert meaning in fails(command, place / "a.tif")


@pytest.mark.parametrize("command", ["tile", "info"])
@pytest.mark.parametrize(
    "name", ["none.tif", "http://127.0.0.1:1/a.tif", "/vsicurl/http://127.0.0.1:1/a.tif"]
)
def test_what_is_no_file_is_refused(place: Path, command: str, name: str) -> None:
    assert name.split("/")[-1] in fails(command, name)


def test_a_folder_of_scenes_is_no_scene(place: Path, make_scene) -> None:
    make_scene(NOISE, folder=place)
    assert "is a folder, and of no product that satae knows; name the GeoTIFF files in it" in fails(
        "tile", "--stack", place
    )


def test_one_bad_file_among_many_stops_before_anything_is_written(place: Path, make_scene) -> None:
    make_scene(NOISE, name="a.tif", folder=place)
    (place / "b.dat").write_text("notes")
    make_scene(NOISE, name="c.tif", folder=place)
    assert "b.dat is not a GeoTIFF" in fails("tile", *sorted(place.iterdir()))


@pytest.mark.parametrize(
    ("pixels", "meaning"),
    [
        (np.ones((1, 7, 5), "uint8"), "smallest scene"),
        (np.ones((1, 32, 32), "complex64"), "is complex"),
        (np.zeros((1, 32, 32), "uint8"), "has no valid pixel"),
        (np.full((1, 32, 32), np.nan, "float32"), "has no valid pixel"),
        (np.ones((1030, 8, 8), "uint8"), "1030 bands, more than the limit of 1024"),
    ],
)
def test_scenes_that_cannot_be_judged_are_refused(place: Path, make_scene, pixels, meaning: str) -> None:
    nodata = 0 if pixels.dtype == "uint8" else None
    assert meaning in fails("tile", make_scene(pixels, folder=place, nodata=nodata))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_damaged_block_is_named_and_nothing_is_left(place: Path, make_scene, workers: int) -> None:
    path = spoil(make_scene(NOISE, folder=place, **BLOCKS), (2, 3))
    text = fails("tile", path, "--workers", workers)
    assert "rows 64 and 96, columns 96 and 128" in text and "previous exception" not in text


def test_info_reads_damaged_blocks_only_when_asked(place: Path, make_scene) -> None:
    path = spoil(make_scene(NOISE, folder=place, **BLOCKS), (2, 3))
    assert run("info", path).exit_code == 0
    assert "rows 64 and 96" in fails("info", path, "--check")


def test_damaged_blocks_are_masked_when_asked_and_listed(place: Path, make_scene) -> None:
    path = spoil(make_scene(NOISE, folder=place, **BLOCKS), (2, 3))
    done = run("-q", "tile", path, "--on-bad-tile", "mask", "--json")
    assert done.exit_code == 4
    assert done.stderr.splitlines() == [
        f"note: {path}: rows 64 to 96, columns 96 to 128 could not be decoded and were masked"
    ]
    assert json.loads(done.stdout)["tilesets"][0]["valid_pixels"] == 150 * 190 - 32 * 32


@pytest.mark.parametrize(
    ("options", "meaning"),
    [
        (["--bands", "1,9"], "bands 1 to 2"),
        (["--bands", "one"], "has no band 'one'"),
        (["--bands", "2-1"], "--bands 2-1 is not a list"),
        (["--bands", "1-"], "--bands 1- is not a list"),
        (["--bands", "1-99999999999"], "is not a list"),
        (["--bands", "1,1"], "band 1 twice"),
        (["--bands", ""], "is not a list"),
        (["--size", "4"], "--size 4"),
        (["--overlap", "64"], "--overlap 64"),
        (["--min-valid", "2"], "--min-valid 2"),
        (["--on-bad-tile", "skip"], "--on-bad-tile skip"),
        (["--aoi", "none.gpkg"], "none.gpkg does not exist"),
        (["--mask", "none.tif"], "none.tif does not exist"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    place: Path, make_scene, options: list[str], meaning: str
) -> None:
    assert meaning in fails("tile", make_scene(NOISE, folder=place), *options)


def test_two_scenes_of_one_name_in_one_folder_are_refused(place: Path, make_scene) -> None:
    blank = [make_scene(NOISE, name=name, folder=place) for name in ("a b.tif", "a_b.tif")]
    assert "would both be cut into tiles/a_b" in fails("tile", *blank)
    assert f"{blank[0]} is named twice" in fails("tile", blank[0], blank[0])


LONG = "x" * 240


def test_long_names_of_scenes_are_cut_and_told_apart(place: Path, make_scene) -> None:
    paths = [make_scene(NOISE, name=f"{LONG}{i}.tif", folder=place) for i in (1, 2)]
    assert run("tile", *paths, "--patches").exit_code == 0
    names = [p.name for p in Path("tiles").iterdir()]
    assert len(names) == 2 and all(len(name) == 120 and name.startswith("x" * 111) for name in names)


def test_names_that_no_file_can_have_are_refused(place: Path, make_scene) -> None:
    path = make_scene(NOISE, folder=place)
    assert "name" in fails("tile", f"{LONG}{LONG}.tif")
    assert "File name too long" in fails("tile", path, "--aoi", f"{LONG}{LONG}.gpkg")
    assert "File name too long" in fails("tile", path, "--out", f"{LONG}{LONG}", code=3)


def test_an_existing_tile_set_is_kept_unless_overwritten(place: Path, make_scene) -> None:
    path = make_scene(NOISE, folder=place)
    assert run("tile", path).exit_code == 0
    before = {p: p.read_bytes() for p in Path("tiles/scene").iterdir()}
    done = run("tile", path, "--size", 32)
    assert done.exit_code == 3 and "pass --overwrite" in done.stderr
    assert {p: p.read_bytes() for p in Path("tiles/scene").iterdir()} == before
    assert run("tile", path, "--size", 32, "--overwrite").exit_code == 0
    assert [p.name for p in Path("tiles").iterdir()] == ["scene"]


def test_a_file_in_the_place_of_the_output_folder_is_kept(place: Path, make_scene) -> None:
    (place / "tiles").write_text("mine")
    assert "is a file" in fails("tile", make_scene(NOISE, folder=place), "--out", place / "tiles", code=3)
    assert (place / "tiles").read_text() == "mine"


def test_a_folder_of_somebody_else_is_kept(place: Path, make_scene) -> None:
    (place / "scene").mkdir()
    (place / "scene" / "thesis.txt").write_text("mine")
    path = make_scene(NOISE, folder=place)
    assert "satae did not write" in fails("tile", path, "--out", place, "--overwrite", code=3)
    assert (place / "scene" / "thesis.txt").read_text() == "mine"


def script(*words: object, **limits: int) -> subprocess.CompletedProcess[bytes]:
    """The command as a process, so that what C libraries print is seen too."""
    code = "import resource, sys\nfrom satae.cli.app import main\n"
    code += "".join(f"resource.setrlimit(resource.{k}, ({v}, {v}))\n" for k, v in limits.items())
    return subprocess.run(
        [sys.executable, "-c", code + "main()", *map(str, words)], capture_output=True, timeout=60
    )


def test_libraries_print_nothing_of_their_own(place: Path, make_scene) -> None:
    done = script("tile", spoil(make_scene(NOISE, folder=place, **BLOCKS), (2, 3)))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_a_scene_of_the_wild_is_tiled_without_noise(data: Path, place: Path) -> None:
    done = script("-q", "tile", data / "landsat_peru_1985_2020" / "1985.tif")
    assert done.returncode == 0 and done.stderr == b""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
@pytest.mark.parametrize("patches", [[], ["--patches"]])
def test_a_full_disk_is_an_output_error(place: Path, make_scene, patches: list[str]) -> None:
    path = make_scene(np.zeros((2, 400, 400), "uint16") + 5, folder=place)
    done = script("tile", path, *patches, RLIMIT_FSIZE=100_000)
    assert done.returncode == 3 and done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1
    assert list(Path().iterdir()) == []


EVIL = "a\x1b[31m\x07\x9b2J\u202eb.tif"


@pytest.mark.skipif(sys.platform == "win32", reason="no such names")
@pytest.mark.parametrize("command", ["tile", "info"])
def test_control_characters_of_names_do_not_reach_the_terminal(place: Path, make_scene, command: str) -> None:
    path = make_scene(NOISE, name=EVIL, folder=place, crs=None)
    with rasterio.open(path, "r+") as out:
        out.set_band_description(1, "blue\x1b]0;owned\x07")
    seen = run(command, path).output + run(command, path.with_name(f"no {EVIL}")).output
    assert r"\x1b[31m" in seen
    assert all(c.isprintable() or c == "\n" for c in seen)


def test_the_environment_cannot_bring_side_files_back(place: Path, make_scene) -> None:
    path = make_scene(NOISE, folder=place, transform=Affine(10, 0, 500_000, 0, -10, 5_200_000))
    before = sorted(place.iterdir())
    env = {**os.environ, "GDAL_PAM_ENABLED": "YES", "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE"}
    command = [sys.executable, "-m", "satae", "tile", str(path)]
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=60)
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize("compress", ["deflate", "lzw", None])
def test_one_compressed_strip_counts_by_what_it_decodes_to(
    compress: str | None, make_scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL shows its lines as blocks, and decodes the strip from its beginning for each that it has not just passed."""
    image = np.ones((1, 2_500, 300), "uint8")
    path = make_scene(image, blockysize=2_500, **({"compress": compress} if compress else {}))
    with rasterio.open(path) as dataset:
        assert compress is None or dataset.block_shapes == [(1, 300)]
    monkeypatch.setattr(raster, "MAX_BLOCK_BYTES", 2**18)
    if compress is None:  # any line can be read by itself
        assert readers.source(path).grid.height == 2_500
    else:
        with pytest.raises(
            SceneError, match=r"in blocks of 2500 x 300 pixels .* rewrite it with `gdal_translate"
        ):
            readers.source(path)
    lines = make_scene(image, blockysize=1, compress="deflate", name="lines.tif")
    assert readers.source(lines).grid.height == 2_500
