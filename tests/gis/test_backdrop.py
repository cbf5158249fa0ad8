"""A product with a file for each band, as QGIS draws it below the heatmap: in the colours of one picture."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deliveries import landsat, planet, sentinel2, tarred, zipped
from inqgis import EXTENT, crs_of, needs_qgis, probe, write_layers

from satae.composite import GAMMA
from satae.gis import qgisproject
from satae.gis.qgisproject import Backdrop, Channel, Rasters
from satae.report.overview import Overview
from satae.scene.describe import describe
from satae.scoring import backdrop

SIDE = 64
UTM = "EPSG:32632"
FINE = {  # columns, rows and both, so that no band can stand for another; 10 m a pixel
    "B02_10": np.add.outer(np.zeros(SIDE, int), np.arange(SIDE) * 20) + 300,
    "B03_10": np.add.outer(np.arange(SIDE) * 10, np.zeros(SIDE, int)) + 500,
    "B04_10": np.add.outer(np.arange(SIDE), np.arange(SIDE)) * 15 + 200,
    "B08_10": np.full((SIDE, SIDE), 3000),
}


def drawn(path: Path) -> Backdrop | None:
    """How QGIS draws a product that was read once through."""
    scene = describe([path])
    overview = Overview(scene, SIDE)
    with overview.open() as reader:
        reader.read(scene.grid.window)
    return backdrop.of(scene, overview)


def test_each_colour_has_its_file_and_the_stored_values_of_it(tmp_path: Path) -> None:
    path = sentinel2(tmp_path, FINE)  # of a baseline whose stored DN are 1000 larger
    found = drawn(path)
    assert found is not None
    assert [c.file.split("_")[-2] for c in found.channels] == ["B04", "B03", "B02"]
    for channel, band in zip(found.channels, ("B04_10", "B03_10", "B02_10"), strict=True):
        assert channel.band == 1 and Path(channel.file).is_relative_to(path)
        wanted = np.quantile(FINE[band] + 1000, [0.005, 0.995])
        assert np.allclose([channel.low, channel.high], wanted, rtol=0.02), band
    moved = backdrop.beside(found, path.parent / "results" / "a.gpkg")
    assert moved is not None and all(c.file.startswith("../S2A_") for c in moved.channels)


def test_a_product_with_one_image_is_one_layer(tmp_path: Path) -> None:
    image = np.stack([FINE[name] for name in FINE]).astype(np.uint16)
    path = planet(tmp_path, image, np.zeros((8, SIDE, SIDE), np.uint8))
    found = drawn(path)
    assert found is not None and [c.file for c in found.channels] == ["", "", ""]
    assert len({c.band for c in found.channels}) == 3


DRAWN = r"""
import json, sys
from qgis.core import *
from qgis.PyQt.QtCore import QSize

folder, picture = sys.argv[1:]
app = QgsApplication([], True)
app.initQgis()
project = QgsProject.instance()
seen = {"read": project.read(f"{folder}/a.qgz")}
root = project.layerTreeRoot()
layers = [n.layer() for n in root.findLayers() if n.isVisible() and n.layer().type() == QgsMapLayer.RasterLayer]
layers = [layer for layer in layers if "heatmap" not in layer.name()]
seen["valid"], seen["names"] = [layer.isValid() for layer in layers], [layer.name() for layer in layers]
seen["group"] = [n.name() for n in root.findGroup("north").findGroups()]
settings = QgsMapSettings()
settings.setOutputSize(QSize(64, 64))
settings.setLayers(layers)
settings.setDestinationCrs(layers[0].crs())
settings.setExtent(layers[0].extent())
job = QgsMapRendererSequentialJob(settings)
job.start()
job.waitForFinished()
image = job.renderedImage()
image.save(picture)
seen["colours"] = [[list(image.pixelColor(x, y).getRgb()[:3]) for x in range(64)] for y in range(64)]
print(json.dumps(seen))
"""


@needs_qgis
@pytest.mark.parametrize("packed", [None, zipped], ids=["folder", "zip"])
def test_qgis_adds_the_bands_of_a_moved_product_up_to_one_picture(
    packed: Callable[[Path], Path] | None, tmp_path: Path
) -> None:
    """Each colour by numpy: between the quantiles, to the power of satae's gamma."""
    home, results = tmp_path, tmp_path / "written" / "results"
    results.mkdir(parents=True)
    product = sentinel2(home / "written", FINE)
    if packed is not None:
        folder, product = product, packed(product)
        shutil.rmtree(folder)
    found = backdrop.beside(drawn(product), results / "anomalies.gpkg")
    rasters = [Rasters("north", "missing_heatmap.tif", 5.0, crs_of(UTM), found)]
    write_layers(results / "anomalies.gpkg")
    content = qgisproject.project("a", gpkg="anomalies.gpkg", scenes=rasters, crs=crs_of(UTM), extent=EXTENT)
    (results / "a.qgz").write_bytes(content)
    (home / "written").rename(home / "moved away")
    seen = probe(home / "moved away" / "results", DRAWN)
    assert seen["read"] and seen["valid"] == [True] * 3 and seen["group"] == [qgisproject.COMPOSITE]
    assert [name.split("_")[-2] for name in seen["names"]] == ["B02", "B03", "B04"]
    colours = np.array(seen["colours"], float)
    for place, band in enumerate(("B04_10", "B03_10", "B02_10")):
        low, high = np.quantile(FINE[band], [0.005, 0.995])
        wanted = 255 * np.clip((FINE[band] - low) / (high - low), 0, 1) ** GAMMA
        # steep in the dark, where one DN is several levels
        assert np.abs(colours[..., place] - wanted)[wanted > 60].max() < 6, band


def test_parts_of_a_file_that_have_no_name_in_it_are_not_drawn(tmp_path: Path) -> None:
    images = {int(name[2]): image for name, image in FINE.items()}
    path = landsat(tmp_path, images, np.full((SIDE, SIDE), 21824))
    found = drawn(path)
    assert found is not None and [c.file[-6:] for c in found.channels] == ["B4.TIF", "B3.TIF", "B2.TIF"]
    assert drawn(tarred(path)) is None


def test_channels_of_older_results_are_those_of_one_file() -> None:
    said = {"band": 3, "low": 1.0, "high": 2.0}
    assert Channel(**said).file == ""  # type: ignore[arg-type]
