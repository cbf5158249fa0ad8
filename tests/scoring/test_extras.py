"""What is scored is kept, whatever its decoration does: each part of it fails once, and the layers are as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import pytest
from commands import typed
from shared import Shared

from satae.formats import gpkg
from satae.gis import qgis
from satae.report import chips, overview, page, stac

LINE = "score {scene} --model {model} --out out.gpkg --threshold 2.5 --workers 1 --stac"
# What fails, and what is not there then.
PARTS: dict[str, tuple[Any, str, str]] = {
    "the page": (page, "write", "out.html"),
    "a place in it": (page, "_place", "out.html"),
    "the Items": (stac, "model_item", "out_stac.json"),
    "the panels of a chip": (chips, "panels", "out_chips"),
    "a chip": (chips, "draw", "out_chips"),
    "the overview while it is read": (overview.Overview, "_sample", ""),
    "the overview while it is scored": (overview.Maxima, "add", ""),
    "the overview when it is drawn": (overview, "_png", ""),
    "the style of the heatmap": (qgis, "heatmap_style", "out_heatmap.qml"),
    "the project": (gpkg, "project", ""),
}


def raising(*args: Any, **options: Any) -> Any:
    return next(iter(()))


def table(path: Path) -> Any:
    """The regions of a result without what is decoration of them."""
    return geopandas.read_file(path, layer="anomalies").drop(columns="chip")


def scored(folder: Path, scene: Path, model: Path, *more: str) -> Any:
    """What a command line says that scores into a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return typed(*LINE.format(scene=scene, model=model).split(), *more)


@pytest.mark.parametrize("part", PARTS)
def test_a_fault_of_decoration_is_a_warning_and_the_layers_are_published(
    part: str,
    scene_path: Path,
    model_path: Path,
    shared: Shared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = shared.made("whole", lambda folder: scored(folder, scene_path, model_path))
    owner, name, missing = PARTS[part]
    # of the overview alone: the peaks of tiles are kept in the same way
    if owner is overview.Maxima:
        monkeypatch.setattr(overview, "Maxima", type("Broken", (overview.Maxima,), {"add": raising}))
    else:
        monkeypatch.setattr(owner, name, raising)
    ended = scored(tmp_path, scene_path, model_path)
    warnings = [line for line in ended.stderr.splitlines() if line.startswith("warning: ")]
    assert ended.exit_code == 4 and "Traceback" not in ended.stderr
    assert len(warnings) == 1 and "could not be made: StopIteration at " in warnings[0]
    assert len(table(tmp_path / "out.gpkg")) > 0 and table(tmp_path / "out.gpkg").equals(
        table(whole / "out.gpkg")
    )
    assert not missing or ((whole / missing).exists() and not (tmp_path / missing).exists())
    assert not list(tmp_path.glob(".satae-*"))


def test_an_older_report_does_not_stay_beside_layers_that_it_says_nothing_of(
    scene_path: Path, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(tmp_path, scene_path, model_path)
    monkeypatch.setattr(page, "write", raising)
    assert scored(tmp_path, scene_path, model_path, "--overwrite", "--json").exit_code == 4
    assert not (tmp_path / "out.html").exists() and (tmp_path / "out.gpkg").exists()
