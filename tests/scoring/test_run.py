"""Scene in, layers and heatmap out: what they say is recomputed here from the pixels."""

import hashlib
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import onnxruntime
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from floods import floods
from inqgis import needs_qgis, probe
from rio_cogeo import cog_validate
from scenes import UTM, MakeScene
from scored import heat, layer, pixels, run

from satae.demo import synthetic
from satae.errors import ConfigError
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scene.scene import Limits
from satae.scoring import run as scoring
from satae.scoring import selection
from satae.scoring.outputs import Options
from satae.scoring.rule import Far, Fdr, Rule, Threshold, Top
from satae.scoring.run import Result


def flooded(result: Result, model: runtime.Model, threshold: float, smallest: int = 4) -> set[bytes]:
    """The floods of the heatmap that hold nothing higher, of so many pixels, each as the bytes of its mask."""
    known = model.card.calibration
    assert known is not None

    def share(peak: float) -> float:
        """0.6 of the raw score, as heat."""
        return float(known.pixel.exponent(0.6 * known.pixel.score_at(peak)))

    found = floods(heat(result), threshold, float(known.pixel.exponent(known.candidate)), share)
    return {mask.tobytes() for _, _, mask in found if mask.sum() >= smallest}


def regions(result: Result, transform: Affine = UTM) -> set[bytes]:
    shape = heat(result).shape
    return {pixels(p, transform, shape).tobytes() for p in layer(result).geometry}


@pytest.fixture(scope="module")
def scored(scene_path: Path, model: runtime.Model, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("scored")
    return run(folder, model, describe([scene_path]), rule=Threshold(2.5))


def test_heatmap_is_a_valid_cog_on_the_grid_of_the_scene(scored: Result, scene_path: Path) -> None:
    valid, errors, warned = cog_validate(scored.scenes[0].heatmap, strict=True)
    assert valid and not errors and not warned
    with rasterio.open(scored.scenes[0].heatmap) as ours, rasterio.open(scene_path) as theirs:
        assert (ours.shape, ours.transform, ours.crs) == (theirs.shape, theirs.transform, theirs.crs)
        assert ours.dtypes == ("float32",) and math.isnan(ours.nodata)


@pytest.mark.parametrize("dtype", ["int32", "int16"])
def test_the_same_numbers_in_another_type_give_the_same_heat(
    dtype: str, make_scene: MakeScene, scored: Result, landscape: synthetic.Synthetic, model: runtime.Model,
    tmp_path: Path,
) -> None:  # fmt: skip
    assert landscape.image.max() <= np.iinfo(dtype).max
    copy = make_scene(landscape.image.astype(dtype), nodata=0)
    assert np.array_equal(heat(run(tmp_path, model, describe([copy]))), heat(scored), equal_nan=True)


def test_heatmap_is_nan_exactly_where_a_pixel_is_not_valid(
    scored: Result, landscape: synthetic.Synthetic
) -> None:
    assert np.array_equal(np.isnan(heat(scored)), ~landscape.valid)
    assert scored.scenes[0].valid_fraction == landscape.valid.mean()


@pytest.mark.parametrize("rule", [Threshold(2.0), Far(2000.0)], ids=str)
def test_regions_are_floods_of_the_heatmap_from_peaks_over_the_threshold(
    scene_path: Path, model: runtime.Model, tmp_path: Path, rule: Rule
) -> None:
    result = run(tmp_path, model, describe([scene_path]), rule=rule)
    (threshold,) = layer(result, "scenes")["threshold"]
    assert threshold == result.scenes[0].threshold
    assert regions(result) == flooded(result, model, threshold) != set()


def test_score_is_the_exponent_of_p_and_ranks_fall_with_it(scored: Result) -> None:
    frame = layer(scored)
    assert np.allclose(frame["score"], -np.log10(frame["p_value"]), atol=1e-9)
    assert frame["rank"].tolist() == list(range(1, len(frame) + 1))
    assert frame["score"].is_monotonic_decreasing and frame["peak"].is_monotonic_decreasing
    tiles = layer(scored, "tiles")
    assert np.allclose(tiles["score"], -np.log10(tiles["p_value"]), atol=1e-9)


def raw_scores(model_path: Path, model: runtime.Model, landscape: synthetic.Synthetic) -> np.ndarray:
    """Scores of one inference over the whole scene by ONNX Runtime itself, NaN where not valid."""
    margin = 4 * model.card.halo
    image = np.pad(landscape.image, ((0, 0), (margin, margin), (margin, margin))).astype(np.float32)
    valid = np.pad(landscape.valid, margin).astype(np.float32)
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    found = session.run(["anomaly_map"], {"image": image[None], "valid": valid[None, None]})[0][0, 0]
    return np.where(landscape.valid, found[margin:-margin, margin:-margin], np.nan)


def test_peak_and_mean_are_raw_scores_of_an_independent_inference(
    scored: Result, model_path: Path, model: runtime.Model, landscape: synthetic.Synthetic
) -> None:
    raw = raw_scores(model_path, model, landscape)
    for row in layer(scored).itertuples():
        inside = raw[pixels(row.geometry, UTM, raw.shape)]
        assert row.peak == pytest.approx(inside.max(), rel=1e-3)
        assert row.mean == pytest.approx(inside.mean(), rel=1e-3)
        at = row.anomaly_id.removeprefix("land-r").split("-c")
        assert raw[int(at[0]), int(at[1])] == inside.max()


def test_tiles_hold_the_largest_score_and_the_valid_share(
    scored: Result, model_path: Path, landscape: synthetic.Synthetic, model: runtime.Model
) -> None:
    raw = raw_scores(model_path, model, landscape)
    size, frame = model.card.tile, layer(scored, "tiles")
    expected = {}
    for row in range(0, raw.shape[0], size):
        for col in range(0, raw.shape[1], size):
            part = raw[row : row + size, col : col + size]
            if np.isfinite(part).any():
                expected[row // size, col // size] = np.nanmax(part), np.isfinite(part).mean()
    assert set(zip(frame["row"], frame["col"], strict=True)) == set(expected)
    assert model.card.calibration is not None
    for tile in frame.itertuples():
        peak, share = expected[tile.row, tile.col]
        assert tile.score == pytest.approx(float(model.card.calibration.tile.exponent(peak)), abs=1e-3)
        assert tile.valid_fraction == share
        window = pixels(tile.geometry, UTM, raw.shape)
        assert window[tile.row * size, tile.col * size] and window.sum() == size * size


def test_columns_agree_with_the_polygons(scored: Result) -> None:
    frame, (scene,) = layer(scored), layer(scored, "scenes").itertuples()
    assert np.allclose(frame.geometry.area, frame["area_m2"]) and np.allclose(
        frame["pixels"] * 100, frame["area_m2"]
    )
    assert scene.anomalies == len(frame) > 0 and frame["anomaly_id"].is_unique
    assert set(frame["top_band"]) <= set(scene.bands.split(","))
    assert set(frame["review_status"]) == {"unreviewed"} and scene.rule == "threshold 2.5"


def test_top_gives_the_highest_peaks(scene_path: Path, model: runtime.Model, tmp_path: Path) -> None:
    scene = describe([scene_path])
    one, three = (run(tmp_path, model, scene, name=f"{n}.gpkg", rule=Top(n)) for n in (1, 3))
    assert (len(layer(one)), len(layer(three))) == (1, 3)
    assert layer(one)["anomaly_id"][0] == layer(three)["anomaly_id"][0]
    assert three.scenes[0].threshold == pytest.approx(np.nanmin(heat_peaks(three)))


def heat_peaks(result: Result) -> list[float]:
    values = heat(result)
    return [float(values[pixels(p, UTM, values.shape)].max()) for p in layer(result).geometry]


def test_a_stricter_fdr_reports_no_more(scene_path: Path, model: runtime.Model, tmp_path: Path) -> None:
    scene = describe([scene_path])
    found = [run(tmp_path, model, scene, name=f"{q}.gpkg", rule=Fdr(q)) for q in (0.9, 0.3, 1e-9)]
    ids = [set(layer(r)["anomaly_id"]) for r in found]
    assert ids[0] >= ids[1] >= ids[2] == set()
    assert found[2].scenes[0].threshold == math.inf
    assert layer(found[2], "scenes")["threshold"].isna().all()


def test_where_candidates_are_too_many_top_still_gives_the_highest(
    scene_path: Path, model: runtime.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = describe([scene_path])
    many = run(tmp_path, model, scene, name="many.gpkg", rule=Top(100))
    monkeypatch.setattr(selection, "MOST", len(layer(many)) - 1)
    few = run(tmp_path, model, scene, name="few.gpkg", rule=Top(1))
    assert layer(few)["peak"].tolist() == layer(many)["peak"].tolist()[:1]
    assert len(layer(run(tmp_path, model, scene, name="fdr.gpkg", rule=Fdr(1e-9)))) == 0
    with pytest.raises(ConfigError, match=r"gives over \d+ regions"):
        run(tmp_path, model, scene, name="low.gpkg", rule=Threshold(0.5))


def test_min_area_is_in_square_metres(scene_path: Path, model: runtime.Model, tmp_path: Path) -> None:
    result = run(tmp_path, model, describe([scene_path]), rule=Threshold(1.5), min_area_m2=1000)
    assert regions(result) == flooded(result, model, 1.5, smallest=10)
    assert layer(result)["area_m2"].min() >= 1000


def masked(scene_path: Path, make_scene: MakeScene, kind: str, folder: Path) -> tuple[Limits, np.ndarray]:
    """Limits of a kind, and where they let a pixel count."""
    usable = np.zeros((256, 320), bool)
    usable[32:200, 40:300] = True
    if kind == "aoi":
        frame = geopandas.GeoSeries([shapely.box(500_400, 5_198_000, 503_000, 5_199_680)], crs="EPSG:32632")
        frame.to_crs("EPSG:32631").to_file(folder / "aoi.gpkg")
        return Limits(aoi=folder / "aoi.gpkg"), usable
    if kind == "mask":
        return Limits(mask=make_scene(usable[None].astype("uint8"), name="mask.tif")), usable
    with rasterio.open(scene_path) as dataset:
        image = dataset.read()
    dn = int(np.bincount(image[1].ravel())[1:].argmax()) + 1
    return Limits(nodata=dn), (image != dn).all(axis=0)


@pytest.mark.parametrize("kind", ["aoi", "mask", "nodata"])
def test_limits_say_what_is_scored(
    kind: str, scene_path: Path, make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model,
    tmp_path: Path,
) -> None:  # fmt: skip
    limits, usable = masked(scene_path, make_scene, kind, tmp_path)
    result = run(tmp_path, model, describe([scene_path], limits=limits), rule=Threshold(2.0))
    assert np.array_equal(np.isfinite(heat(result)), usable & landscape.valid)
    assert 0 < result.scenes[0].valid_fraction < landscape.valid.mean()


def test_scoring_twice_gives_equal_pixels_and_rows_for_any_number_of_workers(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    def digests(workers: int) -> list[str]:
        folder = tmp_path / str(workers)
        folder.mkdir()
        options = Options(workers=workers, rule=Threshold(2.0))
        scoring.score([describe([scene_path])], model, folder / "out.gpkg", options)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return [p.name + hashlib.sha256(p.read_bytes()).hexdigest() for p in files]

    assert digests(1) == digests(4) and len(digests(2)) > 4


def test_several_scenes_share_one_result(
    scene_path: Path,
    make_scene: MakeScene,
    landscape: synthetic.Synthetic,
    model: runtime.Model,
    tmp_path: Path,
) -> None:
    north = Affine(10, 0, 600_000, 0, -10, 5_300_000)
    other = make_scene(landscape.image, name="land.tif", crs="EPSG:32633", transform=north, nodata=0)
    result = run(tmp_path, model, describe([scene_path]), describe([other]), rule=Threshold(2.5))
    assert [s.name for s in result.scenes] == ["land", "land-2"]
    assert [s.heatmap.name for s in result.scenes] == ["out_land_heatmap.tif", "out_land-2_heatmap.tif"]
    assert np.array_equal(heat(result, 0), heat(result, 1), equal_nan=True)
    frame = layer(result)
    assert frame.crs == "EPSG:4326" and frame.groupby("scene").size().nunique() == 1
    assert set(frame["anomaly_id"].str.replace("land-2", "land")) == set(
        frame[frame.scene == "land"]["anomaly_id"]
    )


def test_single_band_files_are_scored_as_one_scene(
    make_scene: MakeScene,
    landscape: synthetic.Synthetic,
    scene_path: Path,
    model: runtime.Model,
    tmp_path: Path,
) -> None:
    paths = [make_scene(b[None], name=f"b{i}.tif", nodata=0) for i, b in enumerate(landscape.image)]
    options = {"rule": Threshold(2.5)}
    stacked = run(tmp_path, model, describe(paths), name="stacked.gpkg", **options)
    whole = run(tmp_path, model, describe([scene_path]), name="whole.gpkg", **options)
    assert np.array_equal(heat(stacked), heat(whole), equal_nan=True)
    assert layer(stacked)["peak"].tolist() == layer(whole)["peak"].tolist()


def test_nothing_of_a_result_is_infinite_or_nan_where_it_should_not_be(scored: Result) -> None:
    unasked = {"baseline", "baseline_score", "baseline_p", "feedback"}
    with closing(sqlite3.connect(scored.out)) as database:
        database.row_factory = sqlite3.Row
        for table in ("anomalies", "tiles", "scenes"):
            for row in map(dict, database.execute(f"SELECT * FROM {table}")):
                assert {k for k, v in row.items() if v is None} == (unasked & set(row))
                assert all(math.isfinite(v) for v in row.values() if isinstance(v, float))


@needs_qgis
def test_qgis_opens_a_real_result_with_its_styles_and_project(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    (tmp_path / "result").mkdir()
    run(tmp_path / "result", model, describe([scene_path]), name="anomalies.gpkg", rule=Threshold(2.0))
    seen = probe(tmp_path / "result")
    assert seen["read"] and seen["crs"] == [True, "EPSG:32632", False] and seen["errors"] == []
    assert [(name, valid) for name, _, valid, *_ in seen["tree"]] == [
        ("anomalies", True), ("anomalies scenes", True), ("anomalies tiles", True), ("anomalies_heatmap", True),
        ("land.tif", True),
    ]  # fmt: skip
    assert [found[:2] for found in seen["styles"].values()] == [[True, True]] * 3
    assert seen["heatmap"] == [True, "singlebandpseudocolor"]
