"""Styles and projects: their XML and rows, and what a real QGIS makes of them where there is one."""

import io
import json
import shutil
import sqlite3
import subprocess
import warnings
import zipfile
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from shapely.geometry import MultiPolygon, box

from satae.gis import qgis

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


def crs_of(name: str | None) -> qgis.Crs | None:
    if name is None:
        return None
    return qgis.Crs(rasterio.CRS.from_string(name).to_wkt(), name if name.startswith("EPSG") else "")


def frames(count: int, crs: str | None) -> dict[str, geopandas.GeoDataFrame]:
    squares = [box(WEST + 200 * k, NORTH - 200, WEST + 200 * k + 90, NORTH - 100) for k in range(count)]
    rank, score = np.arange(1, count + 1, dtype="int32"), np.linspace(TOP, 2.5, count)
    texts = {
        "scene": "north",
        "top_band": "red",
        "review_status": "unreviewed",
        "review_label": "",
        "review_note": "",
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


def archive(crs: str | None = UTM, heatmaps: Sequence[qgis.Heatmap] = ()) -> bytes:
    return qgis.project("anomalies", gpkg="anomalies.gpkg", heatmaps=heatmaps, crs=crs_of(crs), extent=EXTENT)


def embed(gpkg: Path, content: bytes | None = None) -> Path:
    qgis.embed(gpkg, name="anomalies", archive=content or archive(), updated=UPDATED)
    return gpkg


def rows(gpkg: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(gpkg)) as database:
        return database.execute(query).fetchall()


def document(content: bytes) -> ElementTree.Element:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        (member,) = opened.namelist()
        assert member.endswith(".qgs")  # QGIS looks for the suffix
        return ElementTree.fromstring(opened.read(member))


@pytest.mark.parametrize("layer", qgis.LAYERS)
def test_layer_style_is_well_formed_and_draws_something(layer: str) -> None:
    root = ElementTree.fromstring(qgis.layer_style(layer))
    assert root.tag == "qgis"
    assert root.findall("renderer-v2/symbols/symbol/layer")


def test_classes_of_score_leave_no_gap() -> None:
    uppers = [upper for _, upper, *_ in qgis.CLASSES]
    lowers = [lower for lower, *_ in qgis.CLASSES]
    assert lowers[0] == 0 and lowers[1:] == uppers[:-1]


@pytest.mark.parametrize(
    ("maximum", "end"),
    [(7.5, 7.5), (0.3, 4.0), (float("nan"), 4.0), (float("inf"), 10.0), (np.float32(8), 8.0)],
)
def test_heatmap_ramp_rises_to_the_maximum_within_bounds(maximum: float, end: float) -> None:
    items = ElementTree.fromstring(qgis.heatmap_style(maximum)).findall(".//colorrampshader/item")
    values = [float(item.attrib["value"]) for item in items]
    opacities = [int(item.attrib["alpha"]) for item in items]
    assert values == sorted(values) and values[0] == 0 and values[-1] == end
    assert opacities == sorted(opacities) and opacities[:2] == [0, 0]


def test_same_arguments_give_the_same_archive() -> None:
    assert archive() == archive()


def test_project_names_its_files_relative_to_itself() -> None:
    heatmaps = [qgis.Heatmap(file, TOP) for file in ("a & b_heatmap.tif", "c_heatmap.tif")]
    root = document(archive(heatmaps=heatmaps))
    sources = [node.text for node in root.findall("projectlayers/maplayer/datasource")]
    assert [source for source in sources if source and not source.startswith("./")] == []
    assert "./anomalies.gpkg|layername=tiles" in sources and "./a & b_heatmap.tif" in sources


def test_layer_ids_are_distinct_ascii_and_those_of_the_tree() -> None:
    heatmaps = [qgis.Heatmap(file, TOP) for file in ("é_heatmap.tif", "è_heatmap.tif")]
    root = document(archive(heatmaps=heatmaps))
    ids = [node.text or "" for node in root.findall("projectlayers/maplayer/id")]
    assert len(set(ids)) == 5
    assert all(name.isascii() and len(name) > 37 for name in ids)
    assert sorted(ids) == sorted(node.attrib["id"] for node in root.iter("layer-tree-layer"))


def test_extent_of_numpy_numbers_is_written_as_plain_numbers() -> None:
    extent = tuple(np.array(EXTENT))
    root = document(qgis.project("p", gpkg="a.gpkg", heatmaps=[], crs=None, extent=extent))
    view = root.find("ProjectViewSettings/DefaultViewExtent")
    assert view is not None
    assert float(view.attrib["xmin"]) < WEST < float(view.attrib["xmax"])


def test_each_layer_has_one_default_style_with_an_empty_schema(tmp_path: Path) -> None:
    gpkg = embed(write_layers(tmp_path / "anomalies.gpkg"))
    columns = "f_table_catalog, f_table_schema, f_table_name, f_geometry_column, useAsDefault, update_time"
    found = rows(gpkg, f"SELECT {columns} FROM layer_styles ORDER BY id")
    assert found == [("", "", layer, "geom", 1, "2026-01-02T03:04:05.000Z") for layer in qgis.LAYERS]
    registered = rows(
        gpkg, "SELECT data_type, identifier, srs_id FROM gpkg_contents WHERE data_type <> 'features'"
    )
    assert registered == [("attributes", "layer_styles", 0)]
    assert rows(gpkg, "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'layer_styles'") == [
        (3,)
    ]


def test_project_is_stored_as_hexadecimal_text(tmp_path: Path) -> None:
    gpkg = embed(write_layers(tmp_path / "anomalies.gpkg"))
    ((name, metadata, content),) = rows(gpkg, "SELECT name, metadata, content FROM qgis_projects")
    assert name == "anomalies"
    assert json.loads(metadata) == {
        "last_modified_time": "2026-01-02T03:04:05",
        "last_modified_user": "satae",
    }
    assert bytes.fromhex(content) == archive()


def test_embedding_twice_changes_nothing(tmp_path: Path) -> None:
    gpkg = embed(write_layers(tmp_path / "anomalies.gpkg"))
    query = "SELECT f_table_name, styleQML FROM layer_styles ORDER BY 1"
    before = rows(gpkg, query)
    assert rows(embed(gpkg), query) == before
    assert rows(gpkg, "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'layer_styles'") == [
        (3,)
    ]
    assert len(rows(gpkg, "SELECT name FROM qgis_projects")) == 1


def test_embedding_is_deterministic(tmp_path: Path) -> None:
    first = write_layers(tmp_path / "anomalies.gpkg")
    second = Path(shutil.copy(first, tmp_path / "copy.gpkg"))
    assert embed(first).read_bytes() == embed(second).read_bytes()


def test_database_stays_sound_and_leaves_no_side_files(tmp_path: Path) -> None:
    gpkg = write_layers(tmp_path / "anomalies.gpkg")
    before = rows(gpkg, "PRAGMA user_version") + rows(gpkg, "PRAGMA application_id")
    embed(gpkg)
    assert rows(gpkg, "PRAGMA integrity_check") == [("ok",)]
    assert rows(gpkg, "PRAGMA foreign_key_check") == []
    assert rows(gpkg, "PRAGMA journal_mode") == [("delete",)]
    assert rows(gpkg, "PRAGMA user_version") + rows(gpkg, "PRAGMA application_id") == before
    assert [path.name for path in tmp_path.iterdir()] == ["anomalies.gpkg"]


def test_pyogrio_still_reads_the_layers(tmp_path: Path) -> None:
    gpkg = embed(write_layers(tmp_path / "anomalies.gpkg"))
    assert sorted(pyogrio.list_layers(gpkg)[:, 0]) == ["anomalies", "layer_styles", "scenes", "tiles"]
    frame = pyogrio.read_dataframe(gpkg, layer="anomalies")
    assert len(frame) == 3 and frame.crs == UTM
    assert list(frame.columns) == list(frames(3, UTM)["anomalies"].columns)


def test_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    gpkg = write_layers(tmp_path / "anomalies.gpkg")
    before = gpkg.read_bytes()
    with pytest.raises(sqlite3.Error):
        qgis.embed(gpkg, name={}, archive=b"", updated=UPDATED)  # type: ignore[arg-type]
    assert gpkg.read_bytes() == before


PROBE = r"""
import json, sys
from qgis.core import *
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QSize

folder, picture = sys.argv[1:]
app = QgsApplication([], True)
app.initQgis()
gpkg, seen = f"{folder}/anomalies.gpkg", {"styles": {}, "tree": []}

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


def results(home: Path, crs: str | None, count: int = 3, extra: tuple[qgis.Heatmap, ...] = ()) -> Path:
    """A result folder as satae leaves it, moved after it was written."""
    folder = home / "written"
    folder.mkdir()
    write_heatmap(folder / "anomalies_heatmap.tif", crs)
    for heatmap in extra:
        write_heatmap(folder / heatmap.file, heatmap.crs.authid if heatmap.crs else None)
    rasters = [qgis.Heatmap("anomalies_heatmap.tif", TOP, crs_of(crs)), *extra]
    content = archive(crs, rasters)
    embed(write_layers(folder / "anomalies.gpkg", count, crs), content)
    (folder / "anomalies.qgz").write_bytes(content)
    return folder.rename(home / "moved away")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    odd = qgis.Heatmap("anomalies_Zürich & co_heatmap.tif", TOP, crs_of("EPSG:32632"))
    return probe(results(tmp_path_factory.mktemp("qgis"), UTM, extra=(odd,)))


@needs_qgis
def test_qgis_finds_the_default_style_of_each_layer(seen: dict[str, Any]) -> None:
    assert seen["styles"] == {
        "anomalies": [True, True, "graduatedSymbol", True],
        "tiles": [True, True, "graduatedSymbol", False],
        "scenes": [True, True, "singleSymbol", True],
    }
    assert seen["label"] == "rank"
    assert seen["legend"] == [label for *_, label in qgis.CLASSES]


@needs_qgis
def test_qgis_takes_the_heatmap_style_beside_the_raster(seen: dict[str, Any]) -> None:
    assert seen["heatmap"] == [True, "singlebandpseudocolor"]
    assert seen["opacity"] == [0, 0, 235, 235]
    assert seen["nan_drawn"] is False


@needs_qgis
def test_qgis_opens_the_embedded_project_in_a_moved_folder(seen: dict[str, Any]) -> None:
    assert seen["read"] and seen["title_of_project"] == "anomalies"
    assert seen["tree"] == [
        ["anomalies", True, True, UTM, "QgsGraduatedSymbolRenderer"],
        ["scenes", False, True, UTM, "QgsSingleSymbolRenderer"],
        ["tiles", False, True, UTM, "QgsGraduatedSymbolRenderer"],
        ["anomalies_heatmap", True, True, UTM, "QgsSingleBandPseudoColorRenderer"],
        ["anomalies_Zürich & co_heatmap", True, True, "EPSG:32632", "QgsSingleBandPseudoColorRenderer"],
    ]
    assert seen["crs"] == [True, UTM, False]
    assert seen["archived"] and seen["archived_layers"] == [True] * 5


@needs_qgis
def test_qgis_first_shows_the_whole_extent_and_draws_it(seen: dict[str, Any]) -> None:
    west, north = seen["canvas"]
    assert WEST - SIDE / 10 < west < WEST and NORTH < north < NORTH + SIDE / 10
    assert seen["errors"] == []
    assert seen["outline"] > 20 and seen["ground"] > 1000


@needs_qgis
def test_qgis_opens_an_empty_result_without_crs(tmp_path: Path) -> None:
    seen = probe(results(tmp_path, None, count=0))
    assert seen["read"] and seen["crs"] == [False, "", False]
    assert [valid for _, _, valid, *_ in seen["tree"]] == [True] * 4
    assert seen["errors"] == [] and seen["canvas"][0] < WEST


@needs_qgis
def test_qgis_opens_a_crs_that_has_no_code(tmp_path: Path) -> None:
    seen = probe(results(tmp_path, LAEA))
    assert seen["read"] and seen["crs"] == [True, "", False]
    assert [valid for _, _, valid, *_ in seen["tree"]] == [True] * 4
    assert seen["outline"] > 20
