"""What every format promises, read back by geopandas; and what the single standards ask for."""

import json
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import shapely
from affine import Affine
from pandas.testing import assert_frame_equal
from rows import COLUMNS, CREATED, SQUARE, changed, grid, layer

from satae import formats
from satae.cli import info
from satae.errors import ConfigError, OutputError, SceneError
from satae.formats import FORMATS, geojson
from satae.gis.columns import kinds, values
from satae.gis.layers import SceneLayer, polygons_of, with_ranks
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring import run as scoring
from satae.scoring.outputs import Options
from satae.scoring.rule import Top

SUFFIXES = list(FORMATS)
PLACED = {suffix for suffix in FORMATS if suffix == ".geojson"}  # those always in WGS 84
UNTYPED = {".geojson"}  # an empty collection has no columns
HOSTILE = '{"=1+1": "é"}, \'x\'\n<b>'


def write(folder: Path, suffix: str, *scenes: SceneLayer) -> Path:
    path = folder / f"out{suffix}"
    FORMATS[suffix].write(path, path.name, scenes, CREATED)
    return path


def read(path: Path) -> Any:
    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    how = {"layer": "anomalies"} if path.suffix == ".gpkg" else {}
    return geopandas.read_file(path, **how).sort_values("rank", ignore_index=True)


def rich() -> SceneLayer:
    """Three anomalies: full and empty columns, a hole, parts, text of all kinds, numbers of all sizes."""
    given = layer(grid(), scores=(3.0, 26.19213303859875, 5.0))
    full = {"baseline": "rx", "baseline_score": 2.5, "baseline_p": 1e-300, "chip": "out_chips/é.png"}
    full |= {"review_note": HOSTILE, "review_label": "Schiff", "scene": "Zürich & co"}
    full |= {"pixels": 2**40, "peak": 1 / 3, "review_status": "accepted"}
    given = changed(changed(given, 1, **full), 2, area_m2=np.nan)
    holed = shapely.Polygon([(0, 0), (0, 5), (5, 5), (5, 0)], [[(1, 1), (2, 1), (2, 2), (1, 2)]])
    shapes = [SQUARE, shapely.MultiPolygon([holed, shapely.box(5, 5, 6, 6)]), shapely.MultiPolygon([holed])]
    for number, polygon in enumerate(given.grid.polygons(np.array(shapes, dtype=object))):
        given = changed(given, number, polygon=polygon)
    return given


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_column_and_geometry_comes_back(tmp_path: Path, suffix: str) -> None:
    given = rich()
    found = read(write(tmp_path, suffix, given))
    order = [1, 2, 0]
    regions = with_ranks([given])[0].regions
    rows = pd.DataFrame([values(regions[i]) for i in order])
    assert rows["rank"].tolist() == [1, 2, 3]
    plain = pd.DataFrame(found.drop(columns="geometry"))
    assert_frame_equal(plain, rows, check_dtype=False, check_exact=True, check_column_type=False)
    expected = geopandas.GeoSeries(polygons_of(given.regions)[order], crs="EPSG:32632")
    exact = 0.0
    if suffix in PLACED:
        expected, exact = expected.to_crs("EPSG:4326"), 1e-9
    assert found.crs == expected.crs
    for ours, theirs in zip(found.geometry, expected, strict=True):
        assert shapely.equals_exact(shapely.normalize(ours), shapely.normalize(theirs), exact)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326"])
def test_an_empty_result_keeps_its_columns_and_crs(tmp_path: Path, suffix: str, crs: str) -> None:
    path = write(tmp_path, suffix, layer(grid(crs), scores=()))
    if suffix in UNTYPED:
        assert json.loads(path.read_text())["features"] == []
        return
    found = read(path)
    assert len(found) == 0 and found.crs == crs
    assert list(found.columns) == [*COLUMNS["anomalies"].split(), "geometry"]
    seen = {name: found[name].dtype.kind for name, kind in kinds("anomalies").items() if kind != "str"}
    assert seen == {name: np.dtype(kind).kind for name, kind in kinds("anomalies").items() if kind != "str"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_scenes_of_other_crs_meet_in_wgs84(tmp_path: Path, suffix: str) -> None:
    other = grid("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_200_000))
    found = read(write(tmp_path, suffix, layer(grid(), "a"), layer(other, "b", (3.0,))))
    assert found.crs == "EPSG:4326" and found["scene"].tolist() == ["a", "b"]
    assert found.bounds["minx"].round(2).tolist() == [9.0, 15.0]


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix not in PLACED])
def test_a_scene_without_crs_gets_none(tmp_path: Path, suffix: str) -> None:
    found = read(write(tmp_path, suffix, layer(grid(None))))
    assert found.crs is None and found.geometry[0].area == 1200


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_file_is_written_and_nothing_beside_it(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, suffix, layer(grid()))
    assert [p.name for p in tmp_path.iterdir()] == [f"out{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, other = (write(tmp_path / name, suffix, rich()) for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("limit", [0, 300])
def test_a_full_disk_is_an_error(tmp_path: Path, suffix: str, limit: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises((OutputError, OSError)):  # an OSError becomes an OutputError in `publish.staging`
            write(tmp_path, suffix, layer(grid()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_result_is_replaced_in_one_step_and_only_where_that_was_asked_for(
    tmp_path: Path, suffix: str, scene_path: Path, model: runtime.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, scene = tmp_path / f"out{suffix}", describe([scene_path])
    scoring.score([scene], model, out, Options(workers=1, chips=0))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(OutputError, match=r"exists; pass --overwrite"):
        scoring.score([scene], model, out, Options(workers=1, chips=0))

    def failing(path: Path, *rest: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setitem(FORMATS, suffix, replace(FORMATS[suffix], write=failing))
        with pytest.raises(OutputError, match="No space left"):
            scoring.score([scene], model, out, Options(workers=1, chips=0, overwrite=True))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    again = Options(rule=Top(3), workers=1, chips=0, overwrite=True, created="2026-01-02T03:04:05Z")
    scoring.score([scene], model, out, again)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(before) and len(read(out))


@pytest.mark.parametrize("name", ["a.shp", "a", "a.json"])
def test_unknown_suffixes_are_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no format has the suffix '.*'; there are .gpkg, .geojson, "):
        formats.format_of(Path(name), None)


def test_suffixes_in_capitals_are_known() -> None:
    assert formats.format_of(Path("A.GEOJSON"), grid().crs) is FORMATS[".geojson"]


MARS = "+proj=eqc +a=3396190 +b=3396190 +units=m"


@pytest.mark.parametrize(("crs", "why"), [(None, "no CRS"), (MARS, "cannot be transformed")])
def test_geojson_of_what_has_no_place_on_earth_is_refused_before_any_work(crs: str | None, why: str) -> None:
    wkt = grid(crs).crs
    with pytest.raises(ConfigError, match=rf"{why}.*choose --out with .gpkg"):
        formats.format_of(Path("a.geojson"), wkt)
    assert formats.format_of(Path("a.fgb"), wkt) is FORMATS[".fgb"]


def test_parquet_without_pyarrow_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("satae.formats.geoparquet.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'satae\[parquet\]'"):
        formats.format_of(Path("a.parquet"), grid().crs)


def test_geojson_is_as_rfc_7946_has_it(tmp_path: Path) -> None:
    content = json.loads(write(tmp_path, ".geojson", rich()).read_text())
    assert content["type"] == "FeatureCollection" and "crs" not in content
    for feature in content["features"]:
        for outer, *holes in feature["geometry"]["coordinates"]:
            assert shapely.LinearRing(outer).is_ccw
            assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        west, south, east, north = feature["bbox"]
        assert 8.9 < west < east < 9.1 and 46.9 < south < north < 47
    assert isinstance(content["features"][0]["properties"]["band_shares"], str)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "EPSG:3832", "EPSG:32660"])
def test_geojson_is_cut_at_the_antimeridian(tmp_path: Path, crs: str) -> None:
    places = {"EPSG:3857": (20037508.34, 1e6, 10), "EPSG:4326": (180, 10, 1e-4)}
    places |= {"EPSG:3832": (3339584.72, 1e6, 10), "EPSG:32660": (833978.5, 1000, 10)}
    x, y, size = places[crs]
    on = grid(crs, Affine(size, 0, x - 6 * size, 0, -size, y), 16)  # the region lies from column 4 to 8
    path = write(tmp_path, ".geojson", layer(on))
    (feature,) = json.loads(path.read_text())["features"]
    halves = shapely.get_parts(shapely.geometry.shape(feature["geometry"]))
    sides = sorted((half.bounds[0], half.bounds[2]) for half in halves)
    assert len(sides) == 2 and sides[0][0] == -180 and sides[1][1] == 180
    assert sum(half.area for half in halves) < 1e-6 and all(half.is_valid for half in halves)
    assert feature["bbox"][0] > 179 and feature["bbox"][2] < -179


def test_geojson_keeps_the_corners_of_small_pixels(tmp_path: Path) -> None:
    small = grid("EPSG:32632", Affine(0.02, 0, 500_000, 0, -0.02, 5_200_000))
    found = read(write(tmp_path, ".geojson", layer(small))).to_crs("EPSG:32632").geometry[0]
    assert shapely.hausdorff_distance(found, layer(small).regions[0].polygon) < 0.001


def test_geoparquet_says_where_its_rows_lie(tmp_path: Path) -> None:
    path = write(tmp_path, ".parquet", rich())
    content = json.loads(pyarrow.parquet.read_metadata(path).metadata[b"geo"])
    column = content["columns"]["geometry"]
    assert content["version"] == "1.1.0" and content["primary_column"] == "geometry"
    assert column["encoding"] == "WKB" and column["crs"]["id"] == {"authority": "EPSG", "code": 32632}
    sides = ("xmin", "ymin", "xmax", "ymax")
    assert column["covering"]["bbox"] == {side: ["bbox", side] for side in sides}
    boxes = pyarrow.parquet.read_table(path)["bbox"].to_pylist()
    assert [[b[side] for side in sides] for b in boxes] == read(path).bounds.to_numpy().tolist()
    part = geopandas.read_parquet(path, bbox=(500_062, 5_199_900, 500_100, 5_199_939))
    assert part["rank"].tolist() == [3]


@pytest.mark.parametrize("scores", [(4.0, 2.0), ()])
def test_geoparquet_is_valid(tmp_path: Path, scores: tuple[float, ...]) -> None:
    validator = pytest.importorskip("geoparquet_validator", reason="pip install geoparquet-validator")
    report = validator.check(str(write(tmp_path, ".parquet", layer(grid(), scores=scores))))
    passed = {o["id"].split("/")[2] for o in report["outcomes"] if o["status"] == "pass"}
    assert {"core", "covering"} <= passed
    assert validator.failed(report, "core") == validator.failed(report, "covering") == []


def test_flatgeobuf_has_an_index(tmp_path: Path) -> None:
    path = write(tmp_path, ".fgb", rich())
    assert path.read_bytes()[:4] == b"fgb\x03"
    assert read(path).cx[500_062:500_100, 5_199_900:5_199_939]["rank"].tolist() == [3]


def test_a_place_is_given_as_geometry_and_bbox() -> None:
    found = geojson.feature_geometry(
        shapely.box(*grid().footprint().min(0), *grid().footprint().max(0)), str(grid().crs)
    )
    assert found["geometry"]["type"] == "Polygon" and found["bbox"][0] == pytest.approx(9, abs=0.01)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("scores", [(4.0, 2.0), ()])
def test_info_tells_a_result_of_any_format(tmp_path: Path, suffix: str, scores: tuple[float, ...]) -> None:
    facts = info.about(write(tmp_path, suffix, layer(grid(), scores=scores)))
    assert (facts["kind"], facts["anomalies"]) == ("result", len(scores))
    assert facts["review"] == ({"unreviewed": 2} if scores else {})


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"half of a file", None])
def test_info_explains_what_is_no_result(tmp_path: Path, suffix: str, content: bytes | None) -> None:
    path = tmp_path / f"out{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SceneError, match=rf"out\{suffix} (is not a result|does not exist)"):
        info.about(path)


def test_info_explains_foreign_features(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame({"name": ["x"]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326")
    for suffix in UNTYPED | {".fgb"}:
        frame.to_file(tmp_path / f"a{suffix}")
        with pytest.raises(SceneError, match="no anomaly_id"):
            info.about(tmp_path / f"a{suffix}")


def test_the_suffix_that_is_meant_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no format has the suffix '.json'.*pass --out out.geojson$"):
        formats.format_of(Path("out.json"), None)
