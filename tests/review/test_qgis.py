"""Decisions beside a real QGIS that has the same layer open, with unsaved edits of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from inqgis import PYTHON, needs_qgis
from results import opinions

from satae.review.store import ConflictError, Opinion, Review

PROGRAM = """
import sys
from qgis.core import QgsApplication, QgsVectorLayer
app = QgsApplication([], False)
app.initQgis()
layer = QgsVectorLayer(sys.argv[1] + "|layername=anomalies", "anomalies", "ogr")

def told():
    print([f["review_status"] for f in sorted(layer.getFeatures(), key=lambda f: f["rank"])], flush=True)

told()
input()
layer.startEditing()
layer.changeAttributeValue(2, layer.fields().indexOf("review_status"), "rejected")
print("edited", flush=True)
input()
print(layer.commitChanges(), flush=True)
input()
layer.reload()
told()
del layer
app.exitQgis()
"""


@pytest.mark.slow
@needs_qgis
def test_qgis_and_the_review_work_on_one_file(gpkg: Path, tmp_path: Path) -> None:
    environment = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    command = [PYTHON, "-c", PROGRAM, gpkg]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    opened = Review(gpkg)
    with subprocess.Popen(command, env=environment, **pipes) as program:  # type: ignore[call-overload]

        def answer(line: str = "\n") -> str:
            program.stdin.write(line)
            program.stdin.flush()
            return str(program.stdout.readline().strip())

        assert program.stdout.readline().strip() == str(["unreviewed"] * 6)
        revision, seen = opened.changes(0)
        opened.decide(1, Opinion("accepted"), seen=seen[1].revision)
        assert answer() == "edited"
        opened.decide(3, Opinion("accepted"), seen=seen[3].revision)
        assert answer() == "True"
        assert opened.changes(revision)[1][2].opinion.status == "rejected"
        with pytest.raises(ConflictError):
            opened.decide(2, Opinion("accepted"), seen=seen[2].revision)
        assert answer() == str(["accepted", "rejected", "accepted", *["unreviewed"] * 3])
    opened.close()
    assert [status for status, _, _ in opinions(gpkg)] == [
        "accepted",
        "rejected",
        "accepted",
        *["unreviewed"] * 3,
    ]
    assert list(gpkg.parent.glob("anomalies.gpkg?*")) == []
