"""Files of an AOI: what is taken, what is refused and in which words, whatever lies in them."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from satae.errors import SceneError
from satae.scene.describe import describe
from satae.scene.scene import Limits

PIXELS = np.random.default_rng(2).integers(1, 200, (2, 24, 32)).astype("uint16")
X, Y = 500_000, 5_200_000  # of the scene's first pixel; its pixels are 10 m
INSIDE = shapely.box(X + 50, Y - 100, X + 100, Y - 50)
EXPECTED = np.zeros((24, 32), bool)
EXPECTED[5:10, 5:10] = True
WORLD = [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]


def valid(scene: Path, aoi: Path, layer: str | None = None) -> np.ndarray:
    described = describe([scene], limits=Limits(aoi=aoi, aoi_layer=layer))
    with described.open() as reader:
        return reader.read(described.grid.window)[1]


def refused(scene: Path, aoi: Path, layer: str | None = None) -> str:
    with pytest.raises(SceneError) as info:
        describe([scene], limits=Limits(aoi=aoi, aoi_layer=layer))
    text = str(info.value)
    assert "\n" not in text and not text.endswith(".") and str(aoi) in text
    return text


def vector(
    path: Path, *shapes: shapely.Geometry | None, layer: str | None = None, crs: int | None = 32632
) -> Path:
    frame = geopandas.GeoDataFrame(geometry=list(shapes), crs=crs)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path, layer=layer)
    return path


def geojson(path: Path, geometry: object) -> Path:
    path.write_text(json.dumps(geometry))
    return path


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.fgb", "a.parquet"])
def test_polygons_of_any_format_count(make_scene, tmp_path: Path, name: str) -> None:
    assert (valid(make_scene(PIXELS), vector(tmp_path / name, INSIDE)) == EXPECTED).all()


def test_geoparquet_that_states_no_crs_is_in_degrees_and_null_is_none(make_scene, tmp_path: Path) -> None:
    scene = make_scene(PIXELS)
    degrees = geopandas.GeoSeries([INSIDE], crs=32632).to_crs("OGC:CRS84")[0]
    assert (valid(scene, vector(tmp_path / "a.parquet", degrees, crs="OGC:CRS84")) == EXPECTED).all()
    assert "states no CRS" in refused(scene, vector(tmp_path / "b.parquet", INSIDE, crs=None))


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
def test_an_aoi_and_a_scene_of_which_one_has_no_crs_are_refused(make_scene, tmp_path: Path) -> None:
    bare = vector(tmp_path / "bare.gpkg", INSIDE, crs=None)
    assert f"{bare} states no CRS, so it cannot" in refused(make_scene(PIXELS), bare)
    located = vector(tmp_path / "a.gpkg", INSIDE)
    assert "the scene states no CRS, so" in refused(make_scene(PIXELS, crs=None), located)


@pytest.mark.parametrize(
    ("crs", "name"), [('LOCAL_CS["site",UNIT["metre",1]]', "local"), ("IAU_2015:49900", "Mars")]
)
def test_an_aoi_on_another_body_is_refused(make_scene, tmp_path: Path, crs: str, name: str) -> None:
    aoi = geojson(tmp_path / "a.geojson", {"type": "Polygon", "coordinates": WORLD})
    assert "no transformation leads from the scene's CRS" in refused(make_scene(PIXELS, crs=crs), aoi)


def test_an_aoi_elsewhere_is_refused(make_scene, tmp_path: Path) -> None:
    aoi = vector(tmp_path / "a.gpkg", shapely.box(0, 0, 1, 1))
    assert "no polygon that touches the scene" in refused(make_scene(PIXELS), aoi)


@pytest.mark.parametrize("shape", [shapely.LineString(INSIDE.exterior.coords), INSIDE.centroid])
def test_lines_and_points_have_no_area(make_scene, tmp_path: Path, shape: shapely.Geometry) -> None:
    text = refused(make_scene(PIXELS), vector(tmp_path / "a.gpkg", shape, layer="tracks"))
    assert f"has no layer of polygons (tracks: {shape.geom_type})" in text


@pytest.mark.parametrize("shapes", [[None], [shapely.Polygon()], [None, shapely.Polygon()], []])
def test_an_aoi_without_a_geometry_is_refused(make_scene, tmp_path: Path, shapes: list) -> None:
    geometries = [None if s is None else json.loads(shapely.to_geojson(s)) for s in shapes]
    features = [{"type": "Feature", "properties": {}, "geometry": g} for g in geometries]
    aoi = geojson(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": features})
    assert "it has no polygon at all" in refused(make_scene(PIXELS), aoi)


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        (b"", "cannot be read as a vector file"),
        (b"\0" * 99, "cannot be read as a vector file"),
        (b"{}", "cannot be read as a vector file"),
        (b"<html></html>", "cannot be read as a vector file"),
        (b"[" * 200_000, "cannot be read as a vector file"),
        (b"a,b\n1,2\n", "no layer of polygons (a: no geometry)"),
        (b"II*\0" + bytes(60), "is a raster, not a vector file; pass it with --mask"),
        (b"PAR1" + bytes(60), "cannot be read as a vector file"),
        (b"SQLite format 3\0" + bytes(600), "cannot be read as a vector file"),
        (b'{"type": "Polygon", "coordinates": [[[8, 44], [10, 44], [10, 46]]]}', "closed"),
        (
            b'{"type": "Polygon", "coordinates": [[[1e999, 44], [10, 44], [10, 46], [1e999, 44]]]}',
            "are no numbers",
        ),
    ],
)
def test_what_is_no_vector_file_is_refused(
    make_scene, tmp_path: Path, content: bytes, meaning: str, recwarn
) -> None:
    path = tmp_path / ("a.csv" if content.startswith(b"a,b") else "a.geojson")
    path.write_bytes(content)
    assert meaning in refused(make_scene(PIXELS), path)
    assert [str(w.message) for w in recwarn] == []


def test_deeply_nested_geometries_are_refused(make_scene, tmp_path: Path) -> None:
    inner = '{"type": "GeometryCollection", "geometries": [' * 5000 + "]}" * 5000
    (tmp_path / "a.geojson").write_text(f'{{"type": "Feature", "properties": {{}}, "geometry": {inner}}}')
    assert "cannot be read as a vector file" in refused(make_scene(PIXELS), tmp_path / "a.geojson")


def test_polygons_in_collections_and_with_heights_count(make_scene, tmp_path: Path) -> None:
    ring = [[*point, 7.0] for point in WORLD[0]]
    inner = {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [ring]}]}
    outer = {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}, inner]}
    assert valid(make_scene(PIXELS), geojson(tmp_path / "a.geojson", outer)).all()


def test_a_crossed_polygon_counts_as_its_two_halves(make_scene, tmp_path: Path) -> None:
    bow = shapely.Polygon([(X, Y), (X + 320, Y - 240), (X + 320, Y), (X, Y - 240)])
    good = valid(make_scene(PIXELS), vector(tmp_path / "a.gpkg", bow))
    assert good[12, 2] and good[12, 29] and not good[2, 16] and not good[21, 16]


def test_metres_that_pass_for_degrees_are_refused(make_scene, tmp_path: Path) -> None:
    aoi = geojson(tmp_path / "a.geojson", json.loads(shapely.to_geojson(INSIDE)))
    assert "are no longitudes and latitudes as its CRS (WGS 84) says" in refused(make_scene(PIXELS), aoi)


def two_layers(path: Path) -> Path:
    vector(path, shapely.box(X, Y - 1000, X + 1000, Y), layer="country")
    return vector(path, INSIDE, layer="study_area")


def test_of_several_layers_with_polygons_one_must_be_chosen(make_scene, tmp_path: Path, recwarn) -> None:
    scene, aoi = make_scene(PIXELS), two_layers(tmp_path / "a.gpkg")
    text = refused(scene, aoi)
    assert "(country, study_area)" in text and "--aoi-layer" in text
    assert (valid(scene, aoi, "study_area") == EXPECTED).all() and valid(scene, aoi, "country").all()
    assert "no layer 'roads'; it has country, study_area" in refused(scene, aoi, "roads")
    assert [str(w.message) for w in recwarn] == []


def test_the_only_layer_with_polygons_is_taken(make_scene, tmp_path: Path) -> None:
    aoi = vector(tmp_path / "a.gpkg", INSIDE.centroid, layer="places")
    vector(aoi, INSIDE, layer="study_area")
    assert (valid(make_scene(PIXELS), aoi) == EXPECTED).all()


def test_a_folder_of_shapefiles_is_not_taken_by_chance(make_scene, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.shp", "a.shp"):
        vector(tmp_path / "in" / name, INSIDE)
    assert "is a folder; name the vector file in it: a.shp, b.shp" in refused(
        make_scene(PIXELS), tmp_path / "in"
    )


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS fid, geom FROM c, a"


def test_a_view_of_a_geopackage_is_not_run(make_scene, tmp_path: Path) -> None:
    aoi = vector(tmp_path / "a.gpkg", INSIDE, layer="a")
    with sqlite3.connect(aoi) as database:
        database.execute(f"CREATE VIEW evil AS {ENDLESS}")
        for table in ("gpkg_contents", "gpkg_geometry_columns"):
            names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            taken = ", ".join("'evil'" if n in ("table_name", "identifier") else n for n in names)
            database.execute(f"INSERT INTO {table} SELECT {taken} FROM {table}")
    assert "evil is no table but a view" in refused(make_scene(PIXELS), aoi, "evil")
    assert (valid(make_scene(PIXELS), aoi, "a") == EXPECTED).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coordinates_that_are_no_numbers_are_refused(
    make_scene, tmp_path: Path, value: float, recwarn
) -> None:
    aoi = vector(tmp_path / "a.gpkg", INSIDE, layer="a")
    with sqlite3.connect(aoi) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        (blob,) = database.execute("SELECT geom FROM a").fetchone()
        database.execute("UPDATE a SET geom = ?", [blob[:69] + struct.pack("<dd", X, value) + blob[85:]])
    assert "coordinates that are no numbers" in refused(make_scene(PIXELS), aoi)
    assert [str(w.message) for w in recwarn] == []


HOLDER = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA journal_mode = wal")
database.executescript(sys.stdin.readline())
database.commit()
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_geopackage_that_is_open_elsewhere_is_read_and_left_as_it_is(make_scene, tmp_path: Path) -> None:
    """QGIS writes ahead: what it has saved stands beside the file until it is closed."""
    aoi = vector(tmp_path / "a.gpkg", INSIDE, layer="a")
    vector(aoi, INSIDE.centroid, layer="b")
    change = "UPDATE gpkg_geometry_columns SET geometry_type_name = 'POINT' WHERE table_name = 'a'"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(aoi)], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        print(change, file=holder.stdin, flush=True)
        assert holder.stdout.readline() == "held\n"
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if not p.name.endswith("-shm")}
        assert "has no layer of polygons (a: Point, b: Point)" in refused(make_scene(PIXELS), aoi)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if not p.name.endswith("-shm")} == before
        holder.communicate("")


def test_a_file_larger_than_memory_should_be_is_refused(make_scene, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    with path.open("w") as file:
        file.write("{")
        os.truncate(file.fileno(), 2**28)
    with path.open("r+") as file:
        file.write("{")
    assert "is larger than 128 MiB; clip it" in refused(make_scene(PIXELS), path)


def test_a_missing_aoi_is_refused(make_scene, tmp_path: Path) -> None:
    assert "none.gpkg does not exist" in refused(make_scene(PIXELS), tmp_path / "none.gpkg")
