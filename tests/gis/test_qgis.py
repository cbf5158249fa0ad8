"""Styles and projects: their XML and rows, and what a real QGIS makes of them where there is one."""

import io
import json
import shutil
import sqlite3
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
from inqgis import (
    EXTENT,
    LAEA,
    NORTH,
    SIDE,
    TOP,
    UPDATED,
    UTM,
    WEST,
    archive,
    crs_of,
    embed,
    frames,
    needs_qgis,
    probe,
    results,
    rows,
    write_layers,
)

from satae.gis import qgis, qgisproject
from satae.gis.columns import LAYERS, REVIEW_STATUSES
from satae.gis.qgisproject import Backdrop, Channel, Rasters


def document(content: bytes) -> ElementTree.Element:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        (member,) = opened.namelist()
        assert member.endswith(".qgs")  # QGIS looks for the suffix
        return ElementTree.fromstring(opened.read(member))


@pytest.mark.parametrize("style", qgis.STYLES)
def test_layer_style_is_well_formed_and_draws_something(style: str) -> None:
    root = ElementTree.fromstring(qgis.layer_style(style))
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
    scene = Backdrop("../north & south.tif", (Channel(1, 0, 1),))
    rasters = [Rasters("a", file, TOP, backdrop=scene) for file in ("a & b_heatmap.tif", "c_heatmap.tif")]
    root = document(archive(scenes=rasters))
    sources = [node.text for node in root.findall("projectlayers/maplayer/datasource")]
    assert [source for source in sources if source and not source.startswith("./")] == []
    assert "./anomalies.gpkg|layername=tiles" in sources and "./a & b_heatmap.tif" in sources
    assert sources[-1] == "./../north & south.tif"


def test_what_two_models_make_of_a_scene_lies_in_one_group_over_it() -> None:
    north, south = (Backdrop(f"../{name}.tif", (Channel(1, 0, 1),)) for name in ("north", "south"))
    rasters = [
        Rasters(name, f"{name}_heatmap.tif", TOP, backdrop=below)
        for name, below in (
            ("north", north),
            ("north-area", north),
            ("south", south),
            ("a", None),
            ("b", None),
        )
    ]
    root = document(archive(scenes=rasters))
    groups = {
        group.get("name"): [leaf.get("name") for leaf in group.findall("layer-tree-layer")]
        for group in root.findall("layer-tree-group/layer-tree-group")
    }
    assert groups == {
        "north": ["north_heatmap", "north-area_heatmap", "north.tif"], "south": ["south_heatmap", "south.tif"],
        "a": ["a_heatmap"], "b": ["b_heatmap"],
    }  # fmt: skip


def test_of_two_heatmaps_of_a_scene_one_is_shown_and_each_says_its_kind() -> None:
    """Those of `satae run` lie in folders of their own and are called alike."""
    below = Backdrop("../north.tif", (Channel(1, 0, 1),))
    rasters = [
        Rasters(kind, f"{kind}/heatmap.tif", TOP, backdrop=below, kind=kind) for kind in ("object", "area")
    ]
    (group,) = document(archive(scenes=rasters)).findall("layer-tree-group/layer-tree-group")
    assert {leaf.get("name"): leaf.get("checked") for leaf in group.findall("layer-tree-layer")} == {
        "heatmap (objects)": "Qt::Checked", "heatmap (areas)": "Qt::Unchecked", "north.tif": "Qt::Checked"
    }  # fmt: skip
    (group,) = document(archive(scenes=rasters[1:])).findall("layer-tree-group/layer-tree-group")
    assert group.find("layer-tree-layer").get("name") == "heatmap"  # type: ignore[union-attr]


def test_layer_ids_are_distinct_ascii_and_those_of_the_tree() -> None:
    rasters = [Rasters("a", file, TOP) for file in ("é_heatmap.tif", "è_heatmap.tif")]
    root = document(archive(scenes=rasters))
    ids = [node.text or "" for node in root.findall("projectlayers/maplayer/id")]
    assert len(set(ids)) == 5
    assert all(name.isascii() and len(name) > 37 for name in ids)
    assert sorted(ids) == sorted(node.attrib["id"] for node in root.iter("layer-tree-layer"))


def test_extent_of_numpy_numbers_is_written_as_plain_numbers() -> None:
    extent = tuple(np.array(EXTENT))
    root = document(qgisproject.project("p", gpkg="a.gpkg", scenes=[], crs=None, extent=extent))
    view = root.find("ProjectViewSettings/DefaultViewExtent")
    assert view is not None
    assert float(view.attrib["xmin"]) < WEST < float(view.attrib["xmax"])


def test_each_layer_has_one_default_style_with_an_empty_schema(tmp_path: Path) -> None:
    gpkg = embed(write_layers(tmp_path / "anomalies.gpkg"))
    columns = "f_table_catalog, f_table_schema, f_table_name, f_geometry_column, useAsDefault, update_time"
    found = rows(gpkg, f"SELECT {columns} FROM layer_styles ORDER BY id")
    stamp = "2026-01-02T03:04:05.000Z"
    wanted = [(layer, int(layer == style)) for style, (layer, _, _) in qgis.STYLES.items()]
    assert found == [("", "", layer, "geom", first, stamp) for layer, first in wanted]
    registered = rows(
        gpkg, "SELECT data_type, identifier, srs_id FROM gpkg_contents WHERE data_type <> 'features'"
    )
    assert registered == [("attributes", "layer_styles", 0)]
    assert rows(gpkg, "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'layer_styles'") == [
        (4,)
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
        (4,)
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


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    odd = Rasters("Zürich & co", "anomalies_Zürich & co_heatmap.tif", TOP, crs_of("EPSG:32632"))
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
        ["anomalies scenes", False, True, UTM, "QgsSingleSymbolRenderer"],
        ["anomalies tiles", False, True, UTM, "QgsGraduatedSymbolRenderer"],
        ["anomalies_heatmap", True, True, UTM, "QgsSingleBandPseudoColorRenderer"],
        ["north.tif", True, True, UTM, "QgsMultiBandColorRenderer"],
        ["anomalies_Zürich & co_heatmap", True, True, "EPSG:32632", "QgsSingleBandPseudoColorRenderer"],
    ]
    assert seen["crs"] == [True, UTM, False]
    assert seen["archived"] and seen["archived_layers"] == [True] * 6
    assert seen["groups"] == ["", "", "", "north", "north", "Zürich & co"]


@needs_qgis
def test_qgis_first_shows_the_whole_extent_and_draws_it(seen: dict[str, Any]) -> None:
    west, north = seen["canvas"]
    assert WEST - SIDE / 10 < west < WEST and NORTH < north < NORTH + SIDE / 10
    assert seen["errors"] == []
    assert seen["outline"] > 20
    assert seen["ground"] < 0.2 * 300**2  # white is what lies around the scene, and no more


@needs_qgis
def test_qgis_draws_the_scene_in_its_colours_below_the_heatmap(seen: dict[str, Any]) -> None:
    """At object scale: the third band is red and the first blue; the hottest pixel shows the ground through."""
    for row in seen["scene"]:
        (red, middle, blue) = row
        assert red == [255, 0, 0] and blue == [0, 0, 255], middle
    hot = bytes.fromhex(qgis.HEAT[-1][1:])
    share = qgisproject.UNDER * qgis.OPACITY[-1] / 255
    wanted = [share * c + (1 - share) * g for c, g in zip(hot, (255, 0, 0), strict=True)]
    assert np.allclose(seen["spot"][1][1], wanted, atol=4)
    assert seen["beside"][1][1] == [255, 0, 0]  # what is not hot is not dimmed


@needs_qgis
def test_qgis_names_columns_with_units_and_hides_what_is_technical(seen: dict[str, Any]) -> None:
    names = seen["names"]
    assert names["area_m2"] == "area, m²" and names["score"] == "score, −log10 p" and names["rank"] == "rank"
    assert set(names) == {"fid", *LAYERS["anomalies"]} - {"signature"}  # which these rows lack
    assert sorted(seen["hidden"]) == ["band_shares", "chip", "fid", "signature"]
    assert seen["titles"] == ["'#' || \"rank\" || '  ' || \"scene\"", '"scene"', *seen["titles"][2:]]
    assert all(text and text == again for text, again in seen["abstracts"])


@needs_qgis
def test_qgis_can_colour_by_review_status(seen: dict[str, Any]) -> None:
    assert seen["current"] == "anomalies" and seen["others"] == ["anomalies", "by review"]
    assert seen["switched"] == [True, "categorizedSymbol"]
    colours = {s: "#" + bytes(map(int, rgb.split(","))).hex() for s, rgb in qgis.REVIEWED.items()}
    assert dict(seen["review"]) == colours and list(colours) == list(REVIEW_STATUSES)
    assert seen["form"][:3] == ["review_status", "review_label", "review_note"]  # the form stays


@needs_qgis
def test_qgis_opens_an_empty_result_without_crs(tmp_path: Path) -> None:
    seen = probe(results(tmp_path, None, count=0))
    assert seen["read"] and seen["crs"] == [False, "", False]
    assert [valid for _, _, valid, *_ in seen["tree"]] == [True] * 5
    assert seen["errors"] == [] and seen["canvas"][0] < WEST


@needs_qgis
def test_qgis_opens_a_crs_that_has_no_code(tmp_path: Path) -> None:
    seen = probe(results(tmp_path, LAEA))
    assert seen["read"] and seen["crs"] == [True, "", False]
    assert [valid for _, _, valid, *_ in seen["tree"]] == [True] * 5
    assert seen["outline"] > 20
