"""What a real QGIS makes of the layers and the project of a series, where there is one."""

import geopandas
import numpy as np
import places
import pytest
import rasterio
from inqgis import needs_qgis, probe

from satae.composite import GAMMA
from satae.scene.describe import describe
from satae.series import dates, run

WHEN = places.days(50)
PAST = 36

PROBE = r"""
import json, sys
from qgis.core import *
from qgis.gui import QgsTemporalControllerWidget
from qgis.PyQt.QtCore import QDateTime, QSize, Qt

folder, picture = sys.argv[1:]
app = QgsApplication([], True)
app.initQgis()
gpkg, seen = f"{folder}/changes.gpkg", {"layers": {}, "drawn": {}}

def temporal(layer):
    t = layer.temporalProperties()
    return {"valid": layer.isValid(), "active": t.isActive(), "mode": int(t.mode()), "begin": t.startField(),
            "end": t.endField(), "crs": layer.crs().authid(), "features": layer.featureCount()}

for name in ("changes", "dates"):
    layer = QgsVectorLayer(f"{gpkg}|layername={name}", name, "ogr")
    seen["layers"][name] = {"style": layer.loadDefaultStyle()[1], **temporal(layer)}
project = QgsProject.instance()
controller = QgsTemporalControllerWidget()  # as in the window, it is there before the project is opened
seen["read"] = project.read(f"geopackage:{gpkg}?projectName=changes")
seen["project"] = {l.name(): temporal(l) if isinstance(l, QgsVectorLayer) else {"valid": l.isValid()}
                   for l in project.mapLayers().values()}
span = project.timeSettings().temporalRange()
seen["span"] = [span.begin().toString("yyyy-MM-dd"), span.end().toString("yyyy-MM-dd")]
extents = controller.temporalController().temporalExtents()
seen["controller"] = [extents.begin().toString("yyyy-MM-dd"), extents.end().toString("yyyy-MM-dd")]
changes = [l for l in project.mapLayers().values() if l.name() == "changes"][0]
seen["names"] = {f.name(): f.displayName() for f in changes.fields()}
seen["hidden"] = [c.name for c in changes.attributeTableConfig().columns() if c.hidden and c.name]
seen["form"] = [field.name() for tab in changes.editFormConfig().tabs() for field in tab.children()]
seen["tip"] = changes.mapTipTemplate()
manager = changes.styleManager()
seen["styles"] = [manager.currentStyle(), *sorted(manager.styles())]
(group,) = project.layerTreeRoot().findGroups()
seen["group"] = [group.name(), *(node.name() for node in group.findLayers())]
seen["kinds"] = {f.name(): f.typeName() for f in changes.fields() if f.name().endswith("_date")}
(layer,) = [l for l in project.mapLayers().values() if l.name() == "changes"]

def drawn(day):
    # pixels of the outline's colour in a map of one day, as the temporal controller draws it
    begin = QDateTime.fromString(day + "T00:00:00Z", Qt.ISODate)
    settings = QgsMapSettings()
    settings.setOutputSize(QSize(200, 200))
    settings.setDestinationCrs(project.crs())
    settings.setLayers([layer])
    settings.setExtent(layer.extent().buffered(50))
    settings.setIsTemporal(True)
    settings.setTemporalRange(QgsDateTimeRange(begin, begin.addDays(1)))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    return sum(image.pixelColor(x, y).getRgb()[:3] != (255, 255, 255) for x in range(200) for y in range(200))

seen["drawn"] = {day: drawn(day) for day in DAYS}
print(json.dumps(seen))
"""


@needs_qgis
def test_qgis_opens_layers_and_project_and_plays_a_change_from_its_first_day_to_its_last(tmp_path):
    dn = places.cube(WHEN)
    dn[PAST + 4 : PAST + 9, :, 10:16, 20:27] += np.array([120, 120, -400])[:, None, None]
    paths = places.write(tmp_path / "d", WHEN, dn)
    scenes = [describe([p]) for p in paths]
    days = [dates.day_of(s) for s in scenes]
    folder = tmp_path / "made"
    folder.mkdir()
    options = run.Options(history=(-np.inf, float(days[PAST - 1])), far=0.1)
    result = run.series(scenes, days, folder / "changes.gpkg", options)
    assert len(result.changes) == 1
    folder = folder.rename(tmp_path / "moved away")
    wanted = [d.isoformat() for d in (WHEN[PAST], WHEN[PAST + 6], WHEN[-1])]
    seen = probe(folder, PROBE.replace("DAYS", repr(wanted)))
    fields = {"changes": ("first_date", "last_date"), "dates": ("date", "date")}
    for name, (begin, end) in fields.items():
        count = len(geopandas.read_file(folder / "changes.gpkg", layer=name))
        told = {"valid": True, "active": True, "mode": 2, "begin": begin, "end": end, "crs": "EPSG:32632"}
        assert seen["layers"][name] == {"style": True, **told, "features": count}
        title = "changes" if name == "changes" else "changes dates"
        assert seen["project"][title] == {**told, "features": count}
    assert seen["read"] and seen["project"]["changes_heatmap"]["valid"]
    assert seen["span"] == [WHEN[PAST].isoformat(), WHEN[-1].isoformat()]
    assert seen["controller"] == seen["span"]
    names = ("first_date", "confirmed_date", "peak_date", "last_date")
    assert seen["kinds"] == dict.fromkeys(names, "DateTime")
    before, during, after = (seen["drawn"][day] for day in wanted)
    assert before == after == 0 < during
    assert seen["styles"] == ["changes", "by review", "changes"]
    assert seen["names"]["area_m2"] == "area, m²" and seen["hidden"] == ["fid", "chip"]
    assert sorted(seen["form"]) == sorted(seen["names"].keys() - {"fid"})
    assert 'format_number("persistence", 2)' in seen["tip"]


PICTURE = r"""
import json, sys
from qgis.core import *
from qgis.PyQt.QtCore import QSize

folder, picture = sys.argv[1:]
app = QgsApplication([], True)
app.initQgis()
project = QgsProject.instance()
project.read(f"geopackage:{folder}/changes.gpkg?projectName=changes")
(group,) = project.layerTreeRoot().findGroups()
heat, scene = group.findLayers()
seen = {"names": [group.name(), heat.name(), scene.name()], "valid": scene.layer().isValid()}
seen["band"] = heat.layer().renderer().band()
settings = QgsMapSettings()
settings.setOutputSize(QSize(48, 48))
settings.setDestinationCrs(project.crs())
settings.setLayers([scene.layer()])
settings.setExtent(heat.layer().extent())
job = QgsMapRendererSequentialJob(settings)
job.start()
job.waitForFinished()
image = job.renderedImage()
image.save(picture)
seen["colours"] = [[list(image.pixelColor(x, y).getRgb()[:3]) for x in range(48)] for y in range(48)]
print(json.dumps(seen))
"""


@needs_qgis
@pytest.mark.parametrize("scales", [None, (1e-4, 2e-4)], ids=["DN", "two scales"])
def test_the_last_date_lies_below_its_heat(tmp_path, scales):
    """Where dates declare different scales all is scored in what DN stand for, which QGIS draws too."""
    when = places.days(8, every=365)
    dn = places.cube(when)
    dn[-1, :, 20:30, 5:15] += 2500
    paths = places.write(tmp_path / "dates", when, dn)
    for path in paths if scales else ():
        with rasterio.open(path, "r+") as file:
            file.scales = [scales[path == paths[0]]] * 3
            if path == paths[0]:
                file.write(np.rint(file.read() / 2).astype("uint16"))
    scenes = [describe([p]) for p in paths]
    days = [dates.day_of(s) for s in scenes]
    (tmp_path / "made").mkdir()
    run.series(
        scenes, days, tmp_path / "made" / "changes.gpkg", run.Options(history=(-np.inf, float(days[4])))
    )
    seen = probe(tmp_path / "made", PICTURE)
    assert seen["names"] == [paths[-1].stem, "changes_heatmap", paths[-1].name]
    assert seen["valid"] and seen["band"] == 3
    with rasterio.open(paths[-1]) as file:
        stored = file.read().astype(float)  # green, red, near infrared: drawn blue, green, red
    low, high = np.quantile(stored.reshape(3, -1), [0.005, 0.995], axis=1)
    wanted = 255 * np.clip((stored.T - low) / (high - low), 0, 1).T ** GAMMA
    colours = np.moveaxis(np.array(seen["colours"], float), -1, 0)[::-1]
    assert np.abs(colours - wanted)[wanted > 60].max() < 8
