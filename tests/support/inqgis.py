"""Results as a real QGIS sees them, where there is one."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import warnings
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from shapely.geometry import MultiPolygon, box

from satae.gis import qgis, qgisproject
from satae.gis.qgisproject import Backdrop, Channel, Crs, Rasters

PYTHON = Path("/usr/bin/python3")  # the one that a distribution's QGIS binds to
UTM = "EPSG:32631"
LAEA = "+proj=laea +lat_0=10 +lon_0=20 +ellps=GRS80 +units=m"  # in no register, so without a code
WEST, NORTH, SIDE = 500_000.0, 5_400_000.0, 640.0
EXTENT = (WEST, NORTH - SIDE, WEST + SIDE, NORTH)
UPDATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOP = 7.5


def has_qgis() -> bool:
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True).returncode == 0


needs_qgis = pytest.mark.skipif(not has_qgis(), reason=f"{PYTHON} has no qgis.core")


def crs_of(name: str | None) -> Crs | None:
    if name is None:
        return None
    return Crs(rasterio.CRS.from_string(name).to_wkt(), name if name.startswith("EPSG") else "")


def frames(count: int, crs: str | None) -> dict[str, geopandas.GeoDataFrame]:
    squares = [box(WEST + 200 * k, NORTH - 200, WEST + 200 * k + 90, NORTH - 100) for k in range(count)]
    rank, score = np.arange(1, count + 1, dtype="int32"), np.linspace(TOP, 2.5, count)
    texts = {
        "scene": "north",
        "kind": "object",
        "top_band": "red",
        "review_status": "unreviewed",
        "review_label": "",
        "review_note": "",
        "review_by": "",
        "review_time": "",
    }
    texts |= {"baseline": None, "chip": "anomalies_chips/a1.png", "band_shares": '{"red": 0.9}'}
    anomalies = {"anomaly_id": [f"a{k}" for k in rank], "rank": rank, "score": score, "p_value": 10**-score}
    numbers = ("peak", "mean", "area_m2", "pixels", "baseline_score", "baseline_p", "feedback")
    anomalies |= {name: np.full(count, 81) for name in numbers}
    anomalies |= {name: [text] * count for name, text in texts.items()} | {"spectral_share": [0.75] * count}
    tiles = {"scene": ["north"], "row": [0], "col": [0], "score": [3.0], "p_value": [1e-3]}
    shapes, frame = [MultiPolygon([square]) for square in squares], [box(*EXTENT)]
    return {
        "anomalies": geopandas.GeoDataFrame(anomalies, geometry=shapes, crs=crs),
        "tiles": geopandas.GeoDataFrame(tiles, geometry=frame, crs=crs),
        "scenes": geopandas.GeoDataFrame({"scene": ["north"]}, geometry=frame, crs=crs),
    }


def write_layers(gpkg: Path, count: int = 3, crs: str | None = UTM) -> Path:
    for layer, frame in frames(count, crs).items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")
            kind = "MultiPolygon" if layer == "anomalies" else "Polygon"
            options = {"layer_options": {"GEOMETRY_NAME": "geom"}, "dataset_options": {"VERSION": "1.3"}}
            pyogrio.write_dataframe(frame, gpkg, layer=layer, driver="GPKG", geometry_type=kind, **options)
    return gpkg


def write_heatmap(path: Path, crs: str | None) -> None:
    values = np.zeros((64, 64), dtype="float32")
    values[10:19, 2:9], values[40:] = TOP, np.nan
    place = {"crs": crs, "transform": Affine(10, 0, WEST, 0, -10, NORTH)}
    shape = {"height": 64, "width": 64, "count": 1, "dtype": "float32", "nodata": float("nan")}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as raster:
        raster.write(values, 1)
    path.with_suffix(".qml").write_text(qgis.heatmap_style(TOP), encoding="utf-8")


# of the scene below: the band of each colour from its lowest to its highest value
BACKDROP = Backdrop(
    "../scenes/north.tif", (Channel(3, 100, 1100), Channel(2, 100, 900), Channel(1, 100, 500))
)


def write_scene(path: Path, crs: str | None) -> None:
    """Blue, green, red and near infrared: red land west of column 32, blue water east of it, black rows 40 to 47."""
    values = np.full((4, 64, 64), 100, "uint16")
    values[2, :40, :32], values[0, :40, 32:], values[3] = 1100, 500, 9000
    place = {"crs": crs, "transform": Affine(10, 0, WEST, 0, -10, NORTH)}
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=64, width=64, count=4, dtype="uint16", **place
    ) as raster:
        raster.write(values)


def archive(crs: str | None = UTM, scenes: Sequence[Rasters] = ()) -> bytes:
    return qgisproject.project(
        "anomalies", gpkg="anomalies.gpkg", scenes=scenes, crs=crs_of(crs), extent=EXTENT
    )


def embed(gpkg: Path, content: bytes | None = None) -> Path:
    qgis.embed(gpkg, name="anomalies", archive=content or archive(), updated=UPDATED)
    return gpkg


def rows(gpkg: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(gpkg)) as database:
        return database.execute(query).fetchall()


PROBE = r"""
import json, sys
from qgis.core import *
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QSize

folder, picture = sys.argv[1:]
app = QgsApplication([], True)
app.initQgis()
gpkg, seen = f"{folder}/anomalies.gpkg", {"styles": {}, "tree": [], "groups": [], "abstracts": []}

for name in ("anomalies", "tiles", "scenes"):
    layer = QgsVectorLayer(f"{gpkg}|layername={name}", name, "ogr")
    message, found = layer.loadDefaultStyle()
    seen["styles"][name] = [layer.isValid(), found, layer.renderer().type(), layer.labelsEnabled()]
    if name == "anomalies":
        seen["label"] = layer.labeling().settings().fieldName
        seen["legend"] = [item.label() for item in layer.renderer().legendSymbolItems()]

raster = QgsRasterLayer(f"{folder}/anomalies_heatmap.tif", "heatmap")
seen["heatmap"] = [raster.isValid(), raster.renderer().type()]
if raster.renderer().type() == "singlebandpseudocolor":
    shade = raster.renderer().shader().shade
    seen["opacity"] = [shade(value)[-1] for value in (0.0, 1.4, 7.5, 99.0)]
    seen["nan_drawn"] = shade(float("nan"))[0]

project, canvas = QgsProject.instance(), QgsMapCanvas()
canvas.resize(300, 300)
canvas.show()
seen["read"] = project.read(f"geopackage:{gpkg}?projectName=anomalies")
seen["crs"] = [project.crs().isValid(), project.crs().authid(), project.crs().isGeographic()]
seen["title_of_project"] = project.title()
seen["canvas"] = [canvas.extent().xMinimum(), canvas.extent().yMaximum()]
for node in project.layerTreeRoot().findLayers():
    layer = node.layer()
    kind = type(layer.renderer()).__name__
    seen["tree"].append([node.name(), node.isVisible(), layer.isValid(), layer.crs().authid(), kind])
    seen["groups"].append(node.parent().name())
    seen["abstracts"].append([layer.abstract(), layer.metadata().abstract()])

settings = QgsMapSettings()
settings.setOutputSize(QSize(300, 300))
settings.setDestinationCrs(project.crs())
settings.setLayers([node.layer() for node in project.layerTreeRoot().findLayers() if node.isVisible()])
settings.setExtent(canvas.extent())
job = QgsMapRendererSequentialJob(settings)
job.start()
job.waitForFinished()
image = job.renderedImage()
image.save(picture)
seen["errors"] = [error.message for error in job.errors()]
colours = [image.pixelColor(x, y).getRgb()[:3] for x in range(300) for y in range(300)]
seen["outline"] = colours.count((255, 45, 150))
seen["ground"] = colours.count((255, 255, 255))

def drawn(layers, x, y, half, name):
    # colours of a 30 x 30 picture around map coordinates
    settings = QgsMapSettings()
    settings.setOutputSize(QSize(30, 30))
    settings.setDestinationCrs(project.crs())
    settings.setLayers(layers)
    settings.setExtent(QgsRectangle(x - half, y - half, x + half, y + half))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    image.save(picture.replace(".png", f"-{name}.png"))
    return [[list(image.pixelColor(x, y).getRgb()[:3]) for x in (2, 15, 27)] for y in (2, 15, 27)]

layers = {node.name(): node.layer() for node in project.layerTreeRoot().findLayers()}
west, north = canvas.extent().center().x() - 320, canvas.extent().center().y() + 320
scene = layers.get("north.tif")
if scene and scene.isValid():
    seen["scene"] = drawn([scene], west + 320, north - 200, 30, "scene")
    seen["spot"] = drawn([layers["anomalies_heatmap"], scene], west + 55, north - 145, 10, "spot")
    seen["beside"] = drawn([layers["anomalies_heatmap"], scene], west + 200, north - 300, 10, "beside")
regions = layers["anomalies"]
seen["names"] = {f.name(): f.displayName() for f in regions.fields()}
seen["hidden"] = [c.name for c in regions.attributeTableConfig().columns() if c.hidden and c.name]
seen["titles"] = [layers[n].displayExpression() for n in ("anomalies", "anomalies scenes", "anomalies tiles")]
manager = regions.styleManager()
seen["current"], seen["others"] = manager.currentStyle(), sorted(manager.styles())
seen["switched"] = [manager.setCurrentStyle("by review"), regions.renderer().type()]
classes = regions.renderer().categories()
seen["review"] = [[c.value(), c.symbol().symbolLayers()[-1].strokeColor().name()] for c in classes]
seen["form"] = [field.name() for tab in regions.editFormConfig().tabs() for field in tab.children()]

archived = QgsProject()
seen["archived"] = archived.read(f"{folder}/anomalies.qgz")
seen["archived_layers"] = [layer.isValid() for layer in archived.mapLayers().values()]
print(json.dumps(seen))
"""


def probe(folder: Path, program: str = PROBE) -> dict[str, Any]:
    """What a program that is given the folder and a place for a picture prints as JSON, in QGIS's Python."""
    home = folder.parent
    environment = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    command = [str(PYTHON), "-c", program, str(folder), str(home / "map.png")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def results(home: Path, crs: str | None, count: int = 3, extra: tuple[Rasters, ...] = ()) -> Path:
    """A result folder as satae leaves it, moved after it was written."""
    folder = home / "written"
    folder.mkdir()
    write_heatmap(folder / "anomalies_heatmap.tif", crs)
    write_scene(home / "scenes" / "north.tif", crs)
    for scene in extra:
        write_heatmap(folder / scene.heatmap, scene.crs.authid if scene.crs else None)
    rasters = [Rasters("north", "anomalies_heatmap.tif", TOP, crs_of(crs), BACKDROP), *extra]
    content = archive(crs, rasters)
    embed(write_layers(folder / "anomalies.gpkg", count, crs), content)
    (folder / "anomalies.qgz").write_bytes(content)
    return folder.rename(home / "moved away")
