"""The GeoPackage, written by pyogrio and read back by geopandas and by plain SQLite."""

import io
import resource
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from pyproj import Transformer
from rows import COLUMNS, CREATED, changed, grid, layer
from scenes import UTM

from satae.errors import ConfigError, OutputError
from satae.formats import gpkg
from satae.gis import layers
from satae.gis.layers import SceneLayer


def written(folder: Path, *scenes: SceneLayer, name: str = "out.gpkg") -> Path:
    gpkg.write(folder / name, name, scenes, CREATED)
    return folder / name


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        return database.execute(sql).fetchall()


@pytest.mark.parametrize("name", list(COLUMNS))
@pytest.mark.parametrize("scores", [(4.0, 2.0), ()])
def test_columns_are_those_of_the_contract_in_order(
    tmp_path: Path, name: str, scores: tuple[float, ...]
) -> None:
    path = written(tmp_path, layer(grid(), scores=scores))
    assert list(pyogrio.read_info(path, layer=name)["fields"]) == COLUMNS[name].split()
    in_sql = [row[1] for row in query(path, f"PRAGMA table_info({name})")]
    assert in_sql == ["fid", "geom", *COLUMNS[name].split()]


def test_it_is_a_geopackage_of_version_1_3(tmp_path: Path) -> None:
    path = written(tmp_path, layer(grid()))
    assert query(path, "PRAGMA user_version") == [(10300,)]
    assert query(path, "PRAGMA application_id") == [(int.from_bytes(b"GPKG", "big"),)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "SELECT table_name, column_name, geometry_type_name FROM gpkg_geometry_columns") == [
        ("anomalies", "geom", "MULTIPOLYGON"), ("tiles", "geom", "POLYGON"), ("scenes", "geom", "POLYGON"),
    ]  # fmt: skip


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    given = layer(grid(), scores=(3.0, 5.0))
    frame = geopandas.read_file(written(tmp_path, given), layer="anomalies")
    assert frame["anomaly_id"].tolist() == ["north-1", "north-0"] and frame["rank"].tolist() == [1, 2]
    assert frame["score"].tolist() == [5, 3] and frame.crs == "EPSG:32632"
    assert all(shapely.equals_exact(g, given.regions[0].polygon, 0, normalize=True) for g in frame.geometry)
    assert frame.geometry[0].area == 1200


def test_ranks_run_over_all_scenes(tmp_path: Path) -> None:
    given = layer(grid(), "a", (3.0, 6.0)), layer(grid(), "b", (5.0, 4.0))
    frame = geopandas.read_file(written(tmp_path, *given), layer="anomalies")
    assert frame["rank"].tolist() == [1, 2, 3, 4]
    assert frame["anomaly_id"].tolist() == ["a-1", "b-0", "b-1", "a-0"]


def test_styles_and_project_are_inside(tmp_path: Path) -> None:
    path = written(tmp_path, layer(grid()))
    assert query(path, "SELECT f_table_name FROM layer_styles ORDER BY 1") == [
        ("anomalies",), ("anomalies",), ("scenes",), ("tiles",),
    ]  # fmt: skip
    ((name, content),) = query(path, "SELECT name, content FROM qgis_projects")
    assert name == "out" and bytes.fromhex(content).startswith(b"PK")


@pytest.mark.parametrize("crs", ["EPSG:32632", None, "EPSG:4326"])
def test_an_empty_result_has_its_layers_columns_and_crs(tmp_path: Path, crs: str | None) -> None:
    path = written(tmp_path, layer(grid(crs), scores=(), tiles=0))
    assert sorted(pyogrio.list_layers(path)[:, 0]) == ["anomalies", "layer_styles", "scenes", "tiles"]
    for name, columns in COLUMNS.items():
        frame = geopandas.read_file(path, layer=name)
        assert [*columns.split(), "geometry"] == list(frame.columns)
        assert frame.crs == crs and len(frame) == (name == "scenes")


def test_missing_numbers_are_null(tmp_path: Path) -> None:
    given = changed(layer(grid(None)), 0, area_m2=np.nan)
    given = replace(given, scene=replace(given.scene, gsd_m=np.nan, threshold=np.nan))
    path = written(tmp_path, given)
    assert query(path, "SELECT area_m2 FROM anomalies") == [(None,)]
    assert query(path, "SELECT gsd_m, threshold FROM scenes") == [(None, None)]


def test_what_was_not_asked_for_is_null_and_not_text(tmp_path: Path) -> None:
    told: dict[str, Any] = {"baseline": "rx", "baseline_score": 2.0, "baseline_p": 0.01}
    asked = changed(layer(grid(), scores=(4.0, 3.0)), 0, **told, chip="out_chips/é.png")
    path = written(tmp_path, asked)
    found = query(path, "SELECT baseline, baseline_score, baseline_p, chip FROM anomalies ORDER BY rank")
    assert found == [("rx", 2.0, 0.01, "out_chips/é.png"), (None, None, None, None)]
    assert query(path, "SELECT domain, domain_note FROM scenes") == [(None, "")]


@pytest.mark.parametrize("code", ["EPSG:32633", "EPSG:3035", "EPSG:4326", "EPSG:3857"])
def test_scenes_of_other_crs_meet_in_wgs84_on_their_own_pixels(tmp_path: Path, code: str) -> None:
    x, y = Transformer.from_crs("EPSG:4326", code, always_xy=True).transform(15.0, 47.0)
    size = 1e-4 if code == "EPSG:4326" else 10
    other = grid(code, Affine(size, 0, x, 0, -size, y))
    frame = geopandas.read_file(
        written(tmp_path, layer(grid(), "a"), layer(other, "b", (3.0,))), layer="anomalies"
    )
    assert frame.crs == "EPSG:4326" and frame["scene"].tolist() == ["a", "b"]
    for at, home in zip(frame.geometry, (grid(), other), strict=True):
        move = Transformer.from_crs("EPSG:4326", home.crs, always_xy=True)
        back = shapely.transform(at, move.transform, interleaved=False)
        burnt = rasterio.features.rasterize([back], (64, 64), transform=home.transform)
        assert burnt.sum() == 12 and burnt[6:9, 4:8].all()


def test_scenes_of_one_crs_keep_it(tmp_path: Path) -> None:
    moved = grid("EPSG:32632", Affine(10, 0, 600_000, 0, -10, 5_300_000))
    frame = geopandas.read_file(written(tmp_path, layer(grid(), "a"), layer(moved, "b")), layer="scenes")
    assert frame.crs == "EPSG:32632" and frame.total_bounds.tolist() == [
        500_000,
        5_199_360,
        600_640,
        5_300_000,
    ]


def test_scenes_with_and_without_crs_do_not_mix() -> None:
    with pytest.raises(ConfigError, match="with and without a CRS cannot share one result"):
        layers.common_crs([grid(), grid(None)])


@pytest.mark.parametrize(
    "shape",
    [
        shapely.MultiPolygon([shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])]),
        shapely.MultiPolygon([shapely.Polygon([(0, 0), (np.inf, 2), (2, 0)])]),
        shapely.MultiPolygon(),
    ],
    ids=["bow tie", "infinite", "empty"],
)
def test_what_is_no_polygon_is_not_written(tmp_path: Path, shape: Any) -> None:
    given = changed(layer(grid()), 0, polygon=shape)
    with pytest.raises(OutputError, match="layer anomalies would hold geometries"):
        written(tmp_path, given)


@pytest.mark.parametrize("limit", [0, 5_000, 60_000, 100_000, 130_000])
def test_a_database_that_cannot_grow_is_an_error(tmp_path: Path, limit: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OutputError, match=r"out\.gpkg could not be written"):
            written(tmp_path, layer(grid()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_tile_rows_come_in_chunks_without_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "CHUNK", 3)
    frame = geopandas.read_file(written(tmp_path, layer(grid(), tiles=8)), layer="tiles")
    assert frame["row"].tolist() == list(range(0, 64, 8)) and frame.geometry.area.eq(6400).all()


def test_the_same_layers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, other = (written(tmp_path / name, layer(grid()), layer(grid(), "b")) for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()
    assert query(one, "SELECT DISTINCT last_change FROM gpkg_contents") == [("2026-01-02T03:04:05.000Z",)]


def first_view(path: Path) -> list[float]:
    """The middle of what the project in a file first shows."""
    archive = zipfile.ZipFile(
        io.BytesIO(bytes.fromhex(query(path, "SELECT content FROM qgis_projects")[0][0]))
    )
    view = ElementTree.fromstring(archive.read(archive.namelist()[0])).find(".//DefaultViewExtent")
    assert view is not None
    return [
        (float(view.attrib[a]) + float(view.attrib[b])) / 2 for a, b in (("xmin", "xmax"), ("ymin", "ymax"))
    ]


def test_scenes_far_apart_are_first_seen_at_the_one_with_the_highest_region(tmp_path: Path) -> None:
    side, middle = 64 * UTM.a, np.array([UTM.c, UTM.f]) + 32 * np.array([UTM.a, UTM.e])
    near, far = (
        grid(transform=Affine(UTM.a, 0, UTM.c + east, 0, UTM.e, UTM.f)) for east in (2 * side, 200 * side)
    )
    here = layer(grid(), scores=(4.0,))
    for other, wanted in ((near, middle + np.array([side, 0])), (far, middle + np.array([200 * side, 0]))):
        scenes = layers.with_ranks([here, layer(other, "south", scores=(5.0,))])
        np.testing.assert_allclose(first_view(written(tmp_path, *scenes)), wanted)
        (tmp_path / "out.gpkg").unlink()
    empty = [layer(g, name, scores=()) for g, name in ((grid(), "north"), (far, "south"))]
    np.testing.assert_allclose(first_view(written(tmp_path, *empty)), middle)
