"""Without --allow-network no product makes a command connect: Python is watched by a hook, GDAL by a listener."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from affine import Affine
from catalogues import earth_search
from deliveries import landsat, sentinel1, sentinel2, tarred

RNG = np.random.default_rng(11)
IMAGES = {f"{band}_10": RNG.integers(200, 3000, (96, 120)) for band in ("B02", "B03", "B04", "B08")}
MAP = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_200_000)}
VRT = """<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""
# what Python itself would do on the way to a server; exit codes follow on stdout
WATCHED = """
import shlex, sys
seen = []
sys.addaudithook(lambda event, of: event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
                                             "urllib.Request") and seen.append(event))
from typer.testing import CliRunner
from satae.cli.app import app
for line in sys.stdin.read().splitlines():
    print(CliRunner().invoke(app, shlex.split(line)).exit_code, line)
print("seen", *seen)
"""
GDAL_ALONE = "import rasterio, sys\nrasterio.open('/vsicurl/' + sys.argv[1])"


@contextmanager
def listening() -> Iterator[tuple[str, socket.socket]]:
    """An address, and the socket that whoever asks for it reaches."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.tif", server


def was_reached(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def process(*words: str, lines: str = "", folder: Path) -> str:
    # this process has what satae told GDAL, which others find out for themselves
    own = {key: value for key, value in os.environ.items() if not key.startswith(("GDAL_", "CPL_"))}
    env = own | {"NO_PROXY": "127.0.0.1", "GDAL_HTTP_TIMEOUT": "1", "GDAL_HTTP_MAX_RETRY": "0"}
    done = subprocess.run(
        [sys.executable, *words], input=lines, capture_output=True, text=True, cwd=folder, env=env
    )
    return done.stdout


def products(folder: Path, url: str) -> tuple[list[Path | str], list[Path | str]]:
    """Products that are whole, and those that lead to a server."""
    whole: list[Path | str] = [
        sentinel2(folder / "whole", IMAGES),
        sentinel1(folder / "whole", {"vv": IMAGES["B02_10"]}, **MAP),
        tarred(landsat(folder / "whole", {2: IMAGES["B02_10"]}, np.zeros((96, 120), int))),
    ]
    leading: list[Path | str] = [url, f"/vsicurl/{url}"]
    for number, place in enumerate((f"/vsicurl/{url}", url, f"/vsizip//vsicurl/{url}")):
        vrt = folder / f"{number}.vrt"
        vrt.write_text(VRT.format(place))
        led = sentinel2(folder / str(number), IMAGES)
        said = led / "MTD_MSIL2A.xml"
        said.write_text(said.read_text().replace("<IMAGE_FILE>", f"<IMAGE_FILE>{place}", 1))
        radar = sentinel1(folder / str(number), {"vv": IMAGES["B02_10"]}, **MAP)
        manifest = radar / "manifest.safe"
        manifest.write_text(f"<!DOCTYPE x SYSTEM '{url}'>" + manifest.read_text())
        leading += [vrt, led, radar]
    item = earth_search(folder / "stac", {"red": IMAGES["B04_10"]})
    stated = json.loads(item.read_text())
    for asset in stated["assets"].values():
        asset["href"] = url.replace("http:", "https:") if asset["href"].endswith("red.tif") else url
    item.write_text(json.dumps(stated))
    return whole, [*leading, item]


def test_no_product_makes_a_command_connect(tmp_path: Path) -> None:
    (tmp_path / "stac").mkdir()
    with listening() as (url, server):
        whole, leading = products(tmp_path, url)
        lines = [
            f"{command} '{of}'" for of in whole + leading for command in ("tile --out t --overwrite", "info")
        ]
        said = process("-c", WATCHED, lines="\n".join(lines), folder=tmp_path).splitlines()
        assert not was_reached(server)
    assert said[-1] == "seen"
    codes = {line.split(" ", 1)[1]: int(line.split()[0]) for line in said[:-1]}
    assert list(codes) == lines
    assert {
        line: code for line, code in codes.items() if code != (0 if f"{tmp_path}/whole/" in line else 2)
    } == {}


def test_a_connection_would_be_noticed(tmp_path: Path) -> None:
    with listening() as (url, server):
        process("-c", GDAL_ALONE, url, folder=tmp_path)
        assert was_reached(server)
        program = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        # before the commands, so that nothing of satae is in the way
        told = process("-c", WATCHED.replace("from typer", f"{program}\nfrom typer", 1), folder=tmp_path)
    assert told.split()[:2] == ["seen", "socket.getaddrinfo"] and "socket.connect" in told
