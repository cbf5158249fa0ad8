"""One anomaly in a real QGIS: the form saves what it is for and no more, the map tip shows text as text."""

import getpass
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

import cv2
import numpy as np
import pytest
from inqgis import UTM, needs_qgis, probe, results, rows

from satae.gis import qgisform
from satae.gis.columns import LAYERS

HOSTILE = "<img src='x' onerror='alert(1)'> & \"[% 1 + 1 %]\""
ODD = 'moved #1, 100% & "it\'s" <here>'

PROGRAM = r"""
import json, sys
from qgis.core import *
from qgis.gui import QgsAttributeForm, QgsGui
from qgis.PyQt.QtWidgets import QComboBox, QLabel

folder, picture = sys.argv[1:]
app = QgsApplication([], True)
app.initQgis()
QgsGui.editorWidgetRegistry().initEditors()
layer, seen = QgsVectorLayer(f"{folder}/anomalies.gpkg|layername=anomalies", "anomalies", "ogr"), {}
layer.loadDefaultStyle()
for name in ("review_status", "review_label", "review_note"):
    setup = layer.editorWidgetSetup(layer.fields().indexOf(name))
    seen[name] = [setup.type(), setup.config()]
settings = layer.editFormConfig()
seen["locked"] = [f.name() for i, f in enumerate(layer.fields()) if settings.readOnly(i)]
seen["groups"] = [
    [tab.name(), [field.name() for field in tab.children()]]
    for tab in settings.invisibleRootContainer().children()
]
context = QgsExpressionContext(QgsExpressionContextUtils.globalProjectLayerScopes(layer))
seen["tips"] = []
for feature in layer.getFeatures(QgsFeatureRequest().addOrderBy("rank")):
    context.setFeature(feature)
    seen["tips"].append(QgsExpression.replaceExpressionText(layer.mapTipTemplate(), context))
    seen["title"] = QgsExpression(layer.displayExpression()).evaluate(context)

layer.startEditing()
form = QgsAttributeForm(layer, next(layer.getFeatures("rank = 2")))
form.resize(600, 900)
form.show()
app.processEvents()
boxes = [box for box in form.findChildren(QComboBox) if box.isVisible()]
seen["choices"] = [[box.itemText(i) for i in range(box.count())] for box in boxes]
shown = [label.pixmap() for label in form.findChildren(QLabel) if label.isVisible() and label.pixmap()]
seen["pictures"] = [[p.width(), p.height()] for p in shown if not p.isNull()]
boxes[0].setCurrentText("accepted")
form.changeAttribute("review_label", "ship")
form.changeAttribute("review_note", "two <b>lines</b>\nit's")
form.grab().save(picture)
seen["saved"] = [form.save(), layer.commitChanges(), layer.commitErrors()]
print(json.dumps(seen))
"""


def hostile(home: Path) -> Path:
    """A result whose first row holds hostile text and whose folder has an odd name."""
    made = results(home, UTM).rename(home / ODD)
    (made / "anomalies_chips").mkdir()
    cv2.imwrite(str(made / "chip.png"), np.full((64, 196, 3), 90, np.uint8))
    shutil.move(made / "chip.png", made / "anomalies_chips" / "a1.png")
    hostile = ", ".join(f"{name} = :text" for name in ("scene", "top_band", "review_label", "review_note"))
    with closing(sqlite3.connect(made / "anomalies.gpkg")) as database, database:
        for trigger, *_ in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            if trigger.startswith("rtree_anomalies"):  # they call functions that plain SQLite has not
                database.execute(f"DROP TRIGGER {trigger}")
        database.execute(f"UPDATE anomalies SET {hostile} WHERE rank = 1", {"text": HOSTILE})
        database.execute("UPDATE anomalies SET chip = NULL WHERE rank = 3")
    return made


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What QGIS saw and did, with the folder and the rows before."""
    folder = hostile(tmp_path_factory.mktemp("form"))
    before = rows(folder / "anomalies.gpkg", "SELECT * FROM anomalies ORDER BY rank")
    return {"folder": folder, "before": before} | probe(folder, PROGRAM)


def test_the_form_has_a_place_for_every_column_that_people_read() -> None:
    shown = " ".join(qgisform.FORM.values()).split()
    assert sorted([*shown, "signature"]) == sorted(LAYERS["anomalies"])


def test_every_column_has_a_plain_name_in_qgis() -> None:
    root = Element("qgis")
    qgisform.fill(root, qgisform.SHEETS["anomalies"])
    names = {a.get("field"): a.get("name") for a in root.iter("alias")}
    assert list(names) == list(LAYERS["anomalies"])
    assert names["area_m2"] == "area, m²" and not any("_" in str(name) for name in names.values())


@needs_qgis
def test_qgis_offers_the_review_as_a_form(seen: dict[str, Any]) -> None:
    assert seen["review_status"] == ["ValueMap", {"map": [{s: s} for s in qgisform.REVIEW_STATUSES]}]
    assert seen["choices"] == [["unreviewed", "accepted", "rejected", "unsure"]]
    assert seen["review_label"] == ["TextEdit", {"IsMultiline": False, "UseHtml": False}]
    assert seen["review_note"] == ["TextEdit", {"IsMultiline": True, "UseHtml": False}]
    assert [name for name, _ in seen["groups"]] == ["review", "anomaly"]
    fields = [field for _, group in seen["groups"] for field in group]
    assert sorted(set(fields) - set(seen["locked"])) == ["review_label", "review_note", "review_status"]


@needs_qgis
def test_the_form_shows_the_chip(seen: dict[str, Any]) -> None:
    ((width, height),) = seen["pictures"]
    assert height > 100 and width / height == pytest.approx(196 / 64, rel=0.02)


@needs_qgis
def test_saving_the_form_changes_the_review_and_nothing_else(seen: dict[str, Any]) -> None:
    folder, before = seen["folder"], seen["before"]
    assert seen["saved"][:2] == [True, True], seen["saved"]
    columns = [name for _, name, *_ in rows(folder / "anomalies.gpkg", "PRAGMA table_info(anomalies)")]
    changed = dict(zip(columns, before[1], strict=True))
    changed |= {"review_status": "accepted", "review_label": "ship", "review_note": "two <b>lines</b>\nit's"}
    changed |= {"review_by": getpass.getuser()}
    after = rows(folder / "anomalies.gpkg", "SELECT * FROM anomalies ORDER BY rank")
    time = after[1][columns.index("review_time")]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", time)
    assert after == [before[0], tuple((changed | {"review_time": time}).values()), before[2]]
    assert rows(folder / "anomalies.gpkg", "PRAGMA integrity_check") == [("ok",)]


@needs_qgis
def test_the_map_tip_says_what_was_found(seen: dict[str, Any]) -> None:
    parts = ["Anomaly 2", ", object", "score 5.00", "p 1e-5", "red, 75 % spectral", "unreviewed"]
    assert [part for part in parts if part not in seen["tips"][1]] == []
    assert seen["title"] == "#3  north"


@needs_qgis
def test_hostile_text_stays_text_in_the_map_tip(seen: dict[str, Any]) -> None:
    assert seen["tips"][0].count("<img") == 1 and "onerror" in seen["tips"][0]
    shown = HOSTILE.replace("&", "&amp;").replace("<", "&lt;")
    assert seen["tips"][0].count(shown) == 4


@needs_qgis
def test_the_map_tip_finds_the_chip_in_a_folder_with_an_odd_name(seen: dict[str, Any]) -> None:
    folder = seen["folder"]
    source = seen["tips"][1].split('<img src="')[1].split('"')[0]
    assert Path(unquote(urlsplit(source).path)) == folder / "anomalies_chips" / "a1.png"
    assert "<img" not in seen["tips"][2]
