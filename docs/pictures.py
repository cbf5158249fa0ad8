"""Renders the pictures of the documentation: python docs/pictures.py DEMO, the folder that `satae demo` left.

With REAL SCENE behind it, a folder with a result and the GeoTIFF that was scored, it renders real.jpg too. Report and
review are rendered by chromium, the layers by QGIS itself (python3 of the system with qgis.core); what is not installed
leaves its pictures as they are. Afterwards look at them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import geopandas
import pyogrio
import shapely.affinity

from satae import composite
from satae.grid import Grid
from satae.scene import readers
from satae.training import figures

PICTURES = Path(__file__).with_name("pictures")
WIDTH = 1200  # of pictures at most, in pixels
QUALITY = 82
QGIS = r"""
import sys
from qgis.core import *
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

folder, picture = sys.argv[1:]
app = QgsApplication([], True)
app.initQgis()
project = QgsProject.instance()
assert project.read(f"geopackage:{folder}/anomalies.gpkg?projectName=anomalies")
scene = QgsRasterLayer(f"{folder}/scene.tif", "scene")
stretch = QgsContrastEnhancement.StretchToMinimumMaximum
for setter, band in (("setRedBand", 3), ("setGreenBand", 2), ("setBlueBand", 1)):
    getattr(scene.renderer(), setter)(band)
scene.setContrastEnhancement(stretch, QgsRasterMinMaxOrigin.CumulativeCut)
shown = [n.layer() for n in project.layerTreeRoot().findLayers() if n.isVisible()]
settings = QgsMapSettings()
settings.setOutputSize(QSize(1200, 900))
settings.setDestinationCrs(project.crs())
settings.setBackgroundColor(QColor("white"))
settings.setLayers([*shown, scene])
extent = scene.extent()
settings.setExtent(extent)
job = QgsMapRendererSequentialJob(settings)
job.start()
job.waitForFinished()
job.renderedImage().save(picture)
"""


def write(name: str, picture: Any) -> None:
    """A JPEG of at most WIDTH pixels across."""
    if picture.shape[1] > WIDTH:
        height = round(picture.shape[0] * WIDTH / picture.shape[1])
        picture = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    path = PICTURES / f"{name}.jpg"
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    print(f"{path.name}: {picture.shape[1]} x {picture.shape[0]}, {path.stat().st_size / 1000:.0f} kB")


def shot(page: str, width: int, height: int, home: Path, *more: str) -> Any:
    """The page as chromium shows it, None where it is not installed."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    picture = home / "shot.png"
    words = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={home}/profile",
    ]
    words += [f"--window-size={width},{height}", f"--screenshot={picture}", *more, page]
    subprocess.run([chromium, *words], check=True, capture_output=True, timeout=120)
    return cv2.imread(str(picture))


def review(folder: Path, home: Path) -> Any:
    """The page of `satae review` over a copy of the layers, None where what it needs is not installed."""
    copy = home / "demo"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("tiles", "runs"))
    command = [sys.executable, "-m", "satae", "review", "anomalies.gpkg"]
    with subprocess.Popen(
        command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        link = server.stdout.readline().strip()
        try:
            return shot(link, 1366, 768, home, "--virtual-time-budget=20000") if link else None
        finally:
            server.terminate()


def qgis(folder: Path, home: Path) -> Any:
    """The layers over the scene as QGIS draws them, None where it is not installed."""
    python, picture = "/usr/bin/python3", home / "map.png"
    environment = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    if subprocess.run([python, "-c", "import qgis.core"], capture_output=True).returncode:
        return None
    done = subprocess.run(
        [python, "-c", QGIS, str(folder), str(picture)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if not picture.exists():
        sys.exit(done.stderr)
    return cv2.imread(str(picture))


def pixels(path: Path, bands: list[int]) -> tuple[Grid, Any]:
    """The grid of a file and all of some bands (band, row, col)."""
    source = readers.source(path)
    with readers.open_pixels(source) as opened:
        return source.grid, opened.read(bands, source.grid.window)


def real(folder: Path, scene: Path, home: Path) -> Any:
    """A scene in true colour (bands blue, green, red first) beside its heatmap, with the regions of a result."""
    grid, dn = pixels(scene, [1, 2, 3])
    heat = pixels(folder / "anomalies_heatmap.tif", [1])[1][0]
    rgb = composite.rgb(dn, *composite.contrast(dn.reshape(len(dn), -1)))
    regions = geopandas.read_file(folder / "anomalies.gpkg", layer="anomalies").sort_values("rank")
    to_pixels = (~grid.transform).to_shapely()
    outlines = [shapely.affinity.affine_transform(polygon, to_pixels) for polygon in regions.geometry]
    rings = [shapely.get_coordinates(shapely.get_parts(polygon)[0].exterior) for polygon in outlines]
    title = f"the {len(rings)} regions that satae ranks highest"
    figures.overview(home / "real.png", rgb, heat, rings, title)
    return cv2.imread(str(home / "real.png"))


def main(folder: Path, *result: Path) -> None:
    """All pictures; `result` is the folder of a real result and its scene, or nothing."""
    PICTURES.mkdir(exist_ok=True)
    write("reconstructions", cv2.imread(str(folder / "runs" / "model" / "reconstructions.png")))
    write("overview", cv2.imread(str(folder / "overview.png")))
    layers = pyogrio.read_dataframe(folder / "anomalies.gpkg", layer="anomalies", read_geometry=False)
    write("chip", cv2.imread(str(folder / layers.set_index("rank")["chip"][1])))
    with tempfile.TemporaryDirectory() as made:
        home, page = Path(made), (folder / "anomalies.html").as_uri()
        found = {
            "report": shot(page, 1000, 1085, home),
            "qgis": qgis(folder, home),
            "review": review(folder, home),
            "real": real(*result, home) if result else None,
        }
    for name, picture in found.items():
        if picture is None:
            print(f"{name}.jpg: not drawn, for what draws it is not installed")
        else:
            write(name, picture)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4) or not (Path(sys.argv[1]) / "anomalies.html").exists():
        sys.exit(
            "usage: python docs/pictures.py DEMO [REAL SCENE], DEMO being a folder that `satae demo` left"
        )
    os.environ.setdefault("NO_COLOR", "1")
    main(*(Path(word).resolve() for word in sys.argv[1:]))
