"""The door to GDAL: what is let in, what is refused and how fast, and that nothing reaches the network."""

from __future__ import annotations

import _thread
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.control import GroundControlPoint
from scenes import spoil

from satae.errors import DamageError, OutputError, SceneError
from satae.grid import Grid, Window
from satae.scene import output, raster, readers, stream

PIXELS = np.arange(3 * 64 * 80, dtype="uint16").reshape(3, 64, 80)


def refused(path: Path | str) -> str:
    with pytest.raises(SceneError) as info:
        readers.source(Path(path))
    text = str(info.value)
    assert "\n" not in text and not text.endswith(".") and len(text) < 400
    return text


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"\n <html><body>404</body></html>", "is a web page"),
        (b'<?xml version="1.0"?><Error/>', "is XML"),
        (b'<VRTDataset rasterXSize="9" rasterYSize="9"/>', "is a VRT"),
        (b"<GDAL_WMS></GDAL_WMS>", "is a WMS description"),
        (gzip.compress(b"II*\0", mtime=0), "is gzip"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "cannot be opened as JPEG 2000"),
        (b"\x89HDF\r\n\x1a\n", "is HDF5"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG"),
        (b"\xff\xd8\xff\xe0", "is a JPEG"),
        (b"\0" * 4096, "is not a GeoTIFF"),
        (b"II*\0" + b"\0" * 60, "cannot be opened as a GeoTIFF"),
    ],
)
def test_what_is_no_geotiff_is_named(tmp_path: Path, content: bytes, meaning: str) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    assert meaning in refused(tmp_path / "a.tif")


def test_a_zip_archive_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.tif", "w") as archive:
        archive.writestr("scene.tif", b"II*\0")
    assert "is a zip archive" in refused(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "name",
    ["http://127.0.0.1/a.tif", "https://x/a.tif", "/vsicurl/http://x/a.tif", "/vsizip/a.zip/a.tif", "vrt://a.tif",
     "<VRTDataset/>", "GTIFF_DIR:1:a.tif", "s3://bucket/a.tif"],
)  # fmt: skip
def test_names_that_are_no_files_are_refused(name: str) -> None:
    assert "is not a file on this machine" in refused(name)


def test_folders_missing_files_and_devices_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    assert "is a folder" in refused(tmp_path)
    assert "does not exist" in refused(tmp_path / "none.tif")
    assert "is not a regular file" in refused(tmp_path / "pipe.tif")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in refused(tmp_path / os.fsdecode(b"a\xff.tif"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(make_scene) -> None:
    path = make_scene(PIXELS)
    path.chmod(0)
    assert "Permission denied" in refused(path)


def test_drivers_that_reach_out_are_not_registered() -> None:
    script = (
        "import json\nfrom satae.scene import raster\nimport rasterio, pyogrio\n"
        "with rasterio.Env() as env: found = set(env.drivers())\n"
        "print(json.dumps(sorted(found | set(pyogrio.list_drivers()))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = set(json.loads(done.stdout))
    out = "HTTP WMS WMTS WCS VRT DERIVED OGR_VRT WFS OAPIF CSW Carto PLSCENES GDALG STACIT STACTA GTI"
    assert "GTiff" in found and "GPKG" in found
    assert not found & set(out.split())


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def connected(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def run_offline(script: str, *names: Path) -> str:
    """The output of a script, with every proxy by-passed for this machine."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GDAL_", "CPL_"))}
    env |= {
        "GDAL_HTTP_TIMEOUT": "1",
        "GDAL_HTTP_MAX_RETRY": "0",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, "-c", script, *map(str, names)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert "ImportError" not in done.stderr
    return done.stdout + done.stderr


OPEN = "import sys, rasterio\nd = rasterio.open(sys.argv[1], driver='GTiff'); d.overviews(1); d.tags(); d.read()\n"


def tempting(make_scene, listener: socket.socket) -> Path:
    """A scene whose overviews lie on a server."""
    path = make_scene(PIXELS)
    with rasterio.open(path, "r+") as out:
        url = f"/vsicurl/http://127.0.0.1:{listener.getsockname()[1]}/a.tif"
        out.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=url)
    return path


def test_rasterio_alone_follows_overviews_to_a_server(make_scene, listener: socket.socket) -> None:
    run_offline(OPEN, tempting(make_scene, listener))
    assert connected(listener)  # the control: without satae this file does connect


def test_overviews_on_a_server_are_refused_without_a_connection(make_scene, listener: socket.socket) -> None:
    path = tempting(make_scene, listener)
    assert "refers to another file or server" in refused(path)
    run_offline("from satae.scene import raster\n" + OPEN, path)  # past the check, GDAL alone
    assert not connected(listener)


@pytest.mark.parametrize("disguise", ["overview_file", "OVERVIEW&#95;FILE", "OVERVIEW&#x5F;FILE"])
def test_disguised_references_are_refused(make_scene, listener: socket.socket, disguise: str) -> None:
    path = tempting(make_scene, listener)
    content = path.read_bytes()
    start = content.index(b"<GDALMetadata>")
    whole = content[start : content.index(b"\0", start)]
    changed = whole.replace(b"OVERVIEW_FILE", disguise.encode()).replace(b"/vsicurl/", b"")
    changed = changed.replace(b"\n", b"").replace(b"  ", b"").ljust(len(whole))
    assert len(changed) == len(whole)
    path.write_bytes(content.replace(whole, changed))
    assert "refers to another file or server" in refused(path)


@pytest.mark.parametrize("kind", ["wfs", "gml"])
def test_vector_files_that_name_a_server_make_no_connection(tmp_path: Path, listener, kind: str) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    text = {
        "wfs": f"<OGRWFSDataSource><URL>{url}</URL></OGRWFSDataSource>",
        "gml": f'<?xml version="1.0"?><gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml" xmlns:xsi='
        f'"http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{url} {url}a.xsd">'
        "</gml:FeatureCollection>",
    }[kind]
    path = tmp_path / f"a.{kind}"
    path.write_text(text)
    script = "import sys\nfrom satae.scene import raster\nimport geopandas\nprint(geopandas.read_file(sys.argv[1]))"
    run_offline(script, path)
    assert not connected(listener)


def test_metadata_without_end_is_refused(make_scene) -> None:
    path = make_scene(PIXELS)
    with rasterio.open(path, "r+") as out:
        out.update_tags(NOTE="x" * (2**20 + 1))
    assert "of metadata" in refused(path)


def test_a_block_bomb_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=32768, height=65536, count=1, dtype="uint8", tiled=True,
        blockxsize=32768, blockysize=65536, sparse_ok=True, compress="deflate", crs="EPSG:32632",
        transform=Affine(1, 0, 5, 0, -1, 5),
    ):  # fmt: skip
        pass
    started = time.monotonic()
    assert path.stat().st_size < 5000 and "2048 MiB, limit 256" in refused(path)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("limit", "message"), [("MAX_BANDS", "3 bands, more than the limit"), ("MAX_PIXELS", "64 x 80 pixels")]
)
def test_more_than_a_limit_is_refused(make_scene, monkeypatch, limit: str, message: str) -> None:
    monkeypatch.setattr(raster, limit, 2)
    assert message in refused(make_scene(PIXELS))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((0, 0, 5, 0, -10, 5), "1 ground control points only"),  # what GDAL makes of a width of 0
        ((10, 0, 5, 0, 0, 5), "unusable pixel size"),
        ((np.nan, 0, 5, 0, -10, 5), "unusable pixel size"),
        ((10, 0, np.inf, 0, -10, 5), "unusable pixel size"),
        ((1, 1, 5, 1, 1, 5), "unusable pixel size"),
    ],
)
def test_degenerate_pixels_are_refused(make_scene, bad: tuple, message: str) -> None:
    assert message in refused(make_scene(PIXELS, transform=Affine(*bad)))


def test_a_scene_with_only_control_points_is_refused(tmp_path: Path) -> None:
    corners = [GroundControlPoint(r, c, 1e5 + c, 2e5 - r) for r, c in ((0, 0), (0, 80), (64, 0), (64, 80))]
    shape = {"height": 64, "width": 80, "count": 3, "dtype": "uint16"}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", **shape, gcps=corners, crs="EPSG:32632"
    ) as out:
        out.write(PIXELS)
    assert "4 ground control points only" in refused(tmp_path / "a.tif")


def test_a_crs_without_a_position_is_not_passed_off_as_a_map(make_scene) -> None:
    path = make_scene(PIXELS, transform=Affine(2, 0, 0, 0, 2, 0))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        bare = make_scene(PIXELS, transform=Affine.identity())
    assert readers.source(path).grid.crs is not None
    assert readers.source(bare).grid.crs is None


def test_windows_equal_numpy_slices(make_scene) -> None:
    path = make_scene(PIXELS)
    with readers.open_pixels(readers.source(path)) as pixels:
        found = pixels.read([3, 1], Window(7, 9, 20, 30))
    assert (found == PIXELS[[2, 0], 7:27, 9:39]).all()


def damaged_block(make_scene, row: int, col: int) -> Path:
    """A scene in 32-pixel tiles, one of which is overwritten."""
    noise = np.random.default_rng(0).integers(0, 9, (1, 128, 160), "uint8")
    return spoil(make_scene(noise, tiled=True, blockxsize=32, blockysize=32, compress="deflate"), (row, col))


def test_damage_names_the_first_block_that_cannot_be_decoded(make_scene) -> None:
    path = damaged_block(make_scene, 2, 3)
    with readers.open_pixels(readers.source(path)) as pixels, pytest.raises(DamageError) as info:
        pixels.read([1], Window(10, 0, 100, 160))
    assert "between rows 64 and 96, columns 96 and 128 (" in str(info.value)
    assert "previous exception" not in str(info.value)


@pytest.mark.parametrize("transform", [Affine(10, 0, 500, 0, -10, 900), Affine(8, 6, 500, 6, -8, 900)])
def test_burning_marks_pixels_whose_centre_is_inside(transform: Affine) -> None:
    grid = Grid(40, 50, transform, None)
    shape = shapely.Point(grid.xy(20, 25)).buffer(77)
    window = Window(5, 6, 30, 40)
    rows, cols = np.mgrid[5:35, 6:46] + 0.5
    expected = shapely.contains_xy(shape, *np.moveaxis(grid.xy(rows, cols), -1, 0))
    assert (raster.burn([shape], window, transform) == expected).all()


def test_threads_that_burn_and_open_at_once_leave_the_warning_filters_alone(monkeypatch, make_scene) -> None:
    def slow(shapes: list[float], out_shape: tuple[int, int], **_: object) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            time.sleep(shapes[0])
            warnings.warn("bare", rasterio.errors.NotGeoreferencedWarning, stacklevel=1)
        return np.ones(out_shape, "uint8")

    def work(i: int) -> None:
        if i % 3 == 2:
            with readers.open_pixels(source):
                return
        assert raster.burn([0.005 * (1 + i % 2)], Window(0, 0, 8, 8), Affine.identity()).all()

    source, filters = readers.source(make_scene(PIXELS)), list(warnings.filters)
    monkeypatch.setattr(rasterio.features, "rasterize", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(24)))
    assert warnings.filters == filters


def test_outlines_are_the_pixels_of_each_label() -> None:
    label = np.zeros((9, 9), np.int32)
    label[1:4, 1:4], label[2, 2], label[6, 2:8] = 1, 0, 7
    found = {number: shapely.Polygon(outer, holes) for (outer, *holes), number in raster.outlines(label)}
    assert {number: polygon.area for number, polygon in found.items()} == {1: 8, 7: 6}
    assert all(polygon.is_valid for polygon in found.values())


@pytest.mark.parametrize("bands", [1, 3, 4, 5])
def test_no_written_band_is_taken_for_alpha(tmp_path: Path, bands: int) -> None:
    grid = Grid(16, 16, Affine(10, 0, 0, 0, -10, 0), None)
    with output.writing(tmp_path / "a.tif", grid, bands=bands, dtype="uint8") as out:
        out.write(np.ones((bands, 16, 16), "uint8"), grid.window)
    assert "alpha" not in [band.colour for band in readers.source(tmp_path / "a.tif").bands]


@pytest.mark.parametrize(
    ("bands", "dtype", "side"), [(1, "float32", 256), (4, "uint16", 256), (285, "float32", 64)]
)
def test_a_block_of_all_bands_is_no_more_than_is_read_at_once(
    tmp_path: Path, bands: int, dtype: str, side: int
) -> None:
    grid = Grid(300, 300, Affine(10, 0, 0, 0, -10, 0), None)
    with output.writing(tmp_path / "a.tif", grid, bands=bands, dtype=dtype):
        pass
    assert readers.source(tmp_path / "a.tif").block == (side, side)
    assert side**2 * bands * np.dtype(dtype).itemsize < stream.STRIP_BYTES


def test_writing_into_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    grid = Grid(16, 16, Affine(10, 0, 0, 0, -10, 0), None)
    with pytest.raises(OutputError), output.writing(tmp_path / "none" / "a.tif", grid):
        pass


def test_an_interrupt_ends_a_long_copy(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rasterio.shutil, "copy", lambda *_, **__: time.sleep(20))
    # what a shell runs in the background ignores the signal
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.3, _thread.interrupt_main).start()
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            output.to_cog(tmp_path / "a.tif", tmp_path / "b.tif")
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("code", [32632, 4326, 3857, 2056, 32661])
def test_longitudes_by_gdal_are_those_of_the_grid(code: int) -> None:
    grid = Grid(30, 40, Affine(10, 0, 2_600_000, 0, -10, 1_200_000), raster.wkt(f"EPSG:{code}"))
    grid = grid if code != 4326 else Grid(30, 40, Affine(0.1, 0, 8, 0, -0.1, 47), grid.crs)
    ring = grid.footprint()
    found = raster.lonlat(grid, np.stack([ring, ring + 1]))
    assert found is not None and raster.is_georeferenced(grid)
    np.testing.assert_allclose(found, grid.lonlat(np.stack([ring, ring + 1])), atol=1e-9)


@pytest.mark.parametrize("crs", [None, 'LOCAL_CS["unknown",UNIT["metre",1]]'])
def test_gdal_knows_no_longitude_without_a_place_on_earth(crs: str | None) -> None:
    grid = Grid(30, 40, Affine(10, 0, 0, 0, -10, 0), crs)
    assert raster.lonlat(grid, grid.footprint()) is None and not raster.is_georeferenced(grid)


def test_a_file_may_be_closed_by_another_thread_than_the_one_that_opened_it(make_scene):
    path = make_scene(np.ones((1, 8, 8), np.uint8))
    held = ExitStack()
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(held.enter_context, raster.open_raster(path, "GTiff")).result()
        assert not opened._dataset.closed
        with pytest.raises(rasterio.errors.EnvError):
            rasterio.env.getenv()  # nothing of rasterio's in this thread
        held.close()
    assert opened._dataset.closed
