"""No command connects to anything, whatever files say: the system calls of a process are watched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scenes import MakeScene

STRACE = shutil.which("strace")
RUN = """
import shlex, sys
from typer.testing import CliRunner
from satae.cli.app import app
for line in sys.stdin.read().splitlines():
    print(CliRunner().invoke(app, shlex.split(line)).exit_code, line)
"""
CALLS = ["-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", "calls"]
URL = "http://127.0.0.1:9/a.tif"
VRT = f"""<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>/vsicurl/{URL}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""
WMS = f"<GDAL_WMS><Service name='TMS'><ServerUrl>{URL}</ServerUrl></Service></GDAL_WMS>"
RING = [[[9.0, 46.9], [9.01, 46.9], [9.01, 46.95], [9.0, 46.9]]]


def corpus(folder: Path, make_scene: MakeScene, scene: Path, model: Path) -> list[str]:
    """Command lines on files that name servers, and on an ordinary scene."""
    image = np.ones((1, 64, 64), "uint8")
    for i, place in enumerate((f"/vsicurl/{URL}", URL, "/vsis3/bucket/a.tif", f"&#47;vsicurl&#47;{URL}")):
        path = make_scene(image, name=f"linked{i}.tif", folder=folder)
        subprocess.run(
            [sys.executable, "-c", "import sys, rasterio\nwith rasterio.open(sys.argv[1], 'r+') as d:\n"
             " d.update_tags(ns='OVERVIEWS', OVERVIEW_FILE=sys.argv[2])", path, place], check=True,
        )  # fmt: skip
    texts = {
        "a.vrt": VRT, "a.xml": WMS, "a.tif": VRT, "url.txt": URL,
        "item.json": json.dumps({"type": "Feature", "stac_version": "1.0.0", "assets": {"a": {"href": URL}}}),
        "aoi.geojson": json.dumps({"type": "FeatureCollection", "features": [
            {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": RING}}
        ], "crs": {"type": "link", "properties": {"href": URL, "type": "proj4"}}}),
        "named.geojson": json.dumps({"type": "FeatureCollection", "features": [],
                                     "crs": {"type": "name", "properties": {"name": URL}}}),
        "escaped.geojson": '{"type": "FeatureCollection", "features": [], "\\u0063rs": {"properties": {"href": "'
                           + URL + '"}, "type": "LIN\\u004b"}}',
        "wfs.xml": f"<OGRWFSDataSource><URL>{URL}</URL></OGRWFSDataSource>",
        "a.gml": f'<gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml" xsi:schemaLocation="{URL} {URL}" '
                 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"/>',
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    names = [f"linked{i}.tif" for i in range(4)] + [*texts, URL, f"/vsicurl/{URL}", f"WMS:{URL}"]
    lines = [f"{command} {name}" for name in names for command in ("tile --out t --overwrite", "info")]
    lines += [
        f"tile {scene} --out t{i} --aoi {name}"
        for i, name in enumerate(("aoi.geojson", "wfs.xml", "a.gml", URL))
    ]
    return [*lines, f"tile {scene} --out plain", f"score {scene} --model {model} --out a.gpkg", "info a.gpkg"]


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.slow
def test_no_file_makes_a_command_connect(
    tmp_path: Path, make_scene: MakeScene, scene_path: Path, model_path: Path
) -> None:
    assert STRACE is not None
    if subprocess.run([STRACE, "-qq", "-o", tmp_path / "tried", "true"], capture_output=True).returncode:
        pytest.skip("no process may be watched here")
    lines = corpus(tmp_path, make_scene, scene_path, model_path)
    watch = [STRACE, *CALLS, sys.executable]
    server = "import socket; socket.create_connection(('127.0.0.1', 9))"
    subprocess.run([*watch, "-c", server], cwd=tmp_path, capture_output=True)
    assert re.search(r"connect\(.*sin_port=htons\(9\)", (tmp_path / "calls").read_text())  # it would be seen
    done = subprocess.run(
        [*watch, "-c", RUN], cwd=tmp_path, input="\n".join(lines), capture_output=True, text=True,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
    )  # fmt: skip
    codes = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert len(codes) == len(lines) and codes[-3:] == [0, 0, 0] and set(codes) <= {0, 2}, done.stdout
    calls = (tmp_path / "calls").read_text()
    assert [line for line in calls.splitlines() if "AF_INET" in line] == []
