"""A product with a file for each band, as QGIS draws it below the heatmap: in the colours of one picture."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from cubes import emit, netcdf
from deliveries import landsat, planet, raster, sentinel2, tarred, zipped
from inqgis import EXTENT, crs_of, needs_qgis, probe, write_layers

from satae.composite import GAMMA
from satae.gis import qgisproject
from satae.gis.qgisproject import Backdrop, Channel, Rasters
from satae.report import backdrop
from satae.report.overview import Overview
from satae.scene.describe import describe

SIDE = 64
UTM = "EPSG:32632"
FINE = {  # columns, rows and both, so that no band can stand for another; 10 m a pixel
    "B02_10": np.add.outer(np.zeros(SIDE, int), np.arange(SIDE) * 20) + 300,
    "B03_10": np.add.outer(np.arange(SIDE) * 10, np.zeros(SIDE, int)) + 500,
    "B04_10": np.add.outer(np.arange(SIDE), np.arange(SIDE)) * 15 + 200,
    "B08_10": np.full((SIDE, SIDE), 3000),
}


def overview_of(path: Path) -> Overview:
    """The overview of a product that was read once through."""
    scene = describe([path])
    overview = Overview(scene, SIDE)
    with overview.open() as reader:
        reader.read(scene.grid.window)
    return overview


def drawn(path: Path) -> Backdrop | None:
    """How QGIS draws a product."""
    overview = overview_of(path)
    return backdrop.of(overview.scene, overview.bands, overview.contrast())


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


def scaled(folder: Path) -> Path:
    """A GeoTIFF whose DN stand for a quantity, which QGIS shows and stretches."""
    path = raster(folder / "north.tif", np.stack([*FINE.values()]).astype(np.uint16), 10)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (2e-4,) * 4, (-0.1,) * 4
    return path


def cube(folder: Path, *, named: bool = True) -> Path:
    """A netCDF of two dates, the first of which is shown."""
    dates = {name.split("_")[0]: np.stack([image, image[::-1]]).astype("<i2") for name, image in FINE.items()}
    return netcdf(folder / "cube.nc", [0, 30], dates, named=named)


def landsat_tar(folder: Path) -> Path:
    folder_of = landsat(
        folder, {int(name[2]): image for name, image in FINE.items()}, np.full((SIDE, SIDE), 21824)
    )
    path = tarred(folder_of)
    shutil.rmtree(folder_of)
    return path


def sentinel2_zip(folder: Path) -> Path:
    folder_of = sentinel2(folder, FINE)
    path = zipped(folder_of)
    shutil.rmtree(folder_of)
    return path


@needs_qgis
@pytest.mark.parametrize(
    "product, names",
    [
        (lambda folder: sentinel2(folder, FINE), "B02 B03 B04"),
        (sentinel2_zip, "B02 B03 B04"),
        (landsat_tar, "B2 B3 B4"),
        (cube, "B02 B03 B04"),
        (scaled, ""),
    ],
    ids=["folder", "zip", "tar", "netcdf", "scaled"],
)
def test_qgis_draws_a_moved_product_in_the_colours_of_one_picture(
    product: Callable[[Path], Path], names: str, tmp_path: Path
) -> None:
    """Each colour by numpy: between the quantiles, to the power of satae's gamma."""
    home, results = tmp_path, tmp_path / "written" / "results"
    results.mkdir(parents=True)
    found = backdrop.beside(drawn(product(home / "written")), results / "anomalies.gpkg")
    rasters = [Rasters("north", "missing_heatmap.tif", 5.0, crs_of(UTM), found)]
    write_layers(results / "anomalies.gpkg")
    content = qgisproject.project("a", gpkg="anomalies.gpkg", scenes=rasters, crs=crs_of(UTM), extent=EXTENT)
    (results / "a.qgz").write_bytes(content)
    (home / "written").rename(home / "moved away")
    seen = probe(home / "moved away" / "results", DRAWN)
    wanted_names = names.split()
    assert seen["read"] and seen["valid"] == [True] * max(1, len(wanted_names))
    assert seen["group"] == ([qgisproject.COMPOSITE] if wanted_names else [])
    assert all(one in name for one, name in zip(wanted_names, seen["names"], strict=bool(wanted_names)))
    colours = np.array(seen["colours"], float)
    for place, band in enumerate(("B04_10", "B03_10", "B02_10")):
        low, high = np.quantile(FINE[band], [0.005, 0.995])
        wanted = 255 * np.clip((FINE[band] - low) / (high - low), 0, 1) ** GAMMA
        # steep in the dark, where one DN is several levels
        assert np.abs(colours[..., place] - wanted)[wanted > 60].max() < 6, band


def test_what_of_a_file_is_drawn(tmp_path: Path) -> None:
    images = {int(name[2]): image for name, image in FINE.items()}
    path = landsat(tmp_path, images, np.full((SIDE, SIDE), 21824))
    found = drawn(path)
    assert found is not None and [c.file[-6:] for c in found.channels] == ["B4.TIF", "B3.TIF", "B2.TIF"]
    packed = drawn(tarred(path))
    assert packed is not None and packed.file.endswith(".tar")
    assert [c.member[-6:] for c in packed.channels] == ["B4.TIF", "B3.TIF", "B2.TIF"]
    of_dates = drawn(cube(tmp_path))
    assert of_dates is not None
    assert [(c.member, c.band) for c in of_dates.channels] == [("B04", 1), ("B03", 1), ("B02", 1)]


def test_what_gdal_would_put_elsewhere_is_not_drawn(tmp_path: Path) -> None:
    assert drawn(cube(tmp_path, named=False)) is None
    table = np.stack(np.meshgrid(np.arange(1, SIDE + 1), np.arange(1, SIDE + 1)))
    path = emit(tmp_path / "emit.nc", np.random.default_rng(0).random((SIDE, SIDE, 4)), table)
    below, (said,) = backdrop.below("north", overview_of(path))
    assert below is None and "QGIS will not show north below its heatmap" in said and "emit.nc" in said
    assert backdrop.below("north", overview_of(landsat_tar(tmp_path)))[1] == ()


def test_channels_of_older_results_are_those_of_one_file() -> None:
    said = {"band": 3, "low": 1.0, "high": 2.0}
    assert Channel(**said).file == ""  # type: ignore[arg-type]
