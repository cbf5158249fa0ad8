"""Contests on scenes with known targets: which cases, which methods, which path, which figures."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from affine import Affine
from scenes import UTM, MakeScene

from satae import config
from satae.bench import contest as bench
from satae.bench import report
from satae.bench.contest import Contest, Result, mat_cases, raster_case, results, ship_cases, tile_size
from satae.bench.metrics import ranking_of
from satae.errors import ConfigError, OutputError, SceneError
from satae.grid import Grid

RX = config.load(None, ["model.name=rx"])
FAST = Contest(RX, "rx", device="cpu", classics=("rx", "rx_shrunk"))


def image(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(4, 48, 56) correlated noise with three targets of other colour, and where they are."""
    rng = np.random.default_rng(seed)
    pixels = np.einsum("ij,jrc->irc", rng.normal(0, 1, (4, 4)), rng.normal(0, 60, (4, 48, 56))) + 2000
    truth = np.zeros((48, 56), bool)
    for row, col in ((8, 10), (20, 40), (38, 22)):
        truth[row : row + 3, col : col + 3] = True
    pixels[:, truth] += np.array([[400], [-400], [400], [-400]])
    return pixels.astype(np.uint16), truth


def write_mats(folder: Path) -> Path:
    """A folder of two `.mat` scenes."""
    folder.mkdir()
    for name, seed in (("one", 0), ("two", 1)):
        cube, truth = image(seed)
        scipy.io.savemat(
            folder / f"{name}.mat", {"data": cube.transpose(1, 2, 0), "map": truth.astype("uint8")}
        )
    return folder


def write_ports(folder: Path, make_scene: MakeScene) -> Path:
    """A folder with one scene, its ship mask, and the water around."""
    folder.mkdir()
    cube, truth = image()
    water = np.zeros(truth.shape, "uint8")
    water[:, 5:45] = 1
    make_scene(cube, name="port.tif", folder=folder)
    make_scene(truth[None].astype("uint8"), name="port_shipmask.tif", folder=folder)
    make_scene(water[None], name="port_water.tif", folder=folder)
    return folder


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Result], Path]:
    """What two methods make of both scenes."""
    folder = tmp_path_factory.mktemp("work")
    mats = write_mats(folder / "mats")
    return list(results(mat_cases(mats, folder), FAST, folder)), folder


def test_every_method_scores_every_scene(held):
    found, _ = held
    assert [(r.case.name, r.method, r.seed) for r in found] == [
        ("one", "rx", 0), ("one", "rx_shrunk", 0), ("two", "rx", 0), ("two", "rx_shrunk", 0),
    ]  # fmt: skip
    assert all(np.isfinite(r.scores).all() and r.scores.shape == (48, 56) for r in found)


def test_rx_is_the_distance_that_the_literature_means(held):
    for result in (r for r in held[0] if r.method == "rx"):
        cube, truth = image(("one", "two").index(result.case.name))
        v = cube.reshape(4, -1).astype(float)
        v -= v.mean(axis=1, keepdims=True)
        distance = np.einsum("ij,ik,kj->j", v, np.linalg.inv(np.cov(v)), v)
        own, naive = ranking_of(result.scores, truth), ranking_of(distance, truth)
        assert own.auroc == pytest.approx(naive.auroc, abs=0.02)  # fitted to the training tiles alone
        assert np.corrcoef(np.log(result.scores.ravel()), np.log(distance))[0, 1] > 0.98


def test_a_library_has_one_model_and_needs_scenes_alike(tmp_path, held):
    mats = write_mats(tmp_path / "mats")
    cases = mat_cases(mats, tmp_path)
    found = list(results(cases, replace(FAST, library=True, classics=()), tmp_path))
    assert [r.case.name for r in found] == ["one", "two"]
    assert not np.allclose(found[0].scores, held[0][0].scores)
    odd = replace(cases[1], scene=replace(cases[1].scene, dtype="float32"))
    with pytest.raises(
        ConfigError, match=r"two has 4 bands of float32 and one 4 of uint16.*leave --library out"
    ):
        next(results([cases[0], odd], replace(FAST, library=True), tmp_path))


def test_classics_share_map_steps_split_and_target(held):
    recipe = config.load(None, ["map.blur=0.7", "train.validation=0.3", "target.size_px=5", "train.epochs=2"])
    contest = Contest(recipe, "mine")
    found = contest.recipes(held[0][0].case.scene, seed=7)
    assert list(found) == ["mine", *bench.CLASSICS] == list(contest.methods)
    for name, other in found.items():
        assert other.map == found["mine"].map and other.map.blur == 0.7
        assert (other.train.seed, other.train.validation, other.target.size_px) == (7, 0.3, 5)
        assert name == "mine" or other.model.name == name


@pytest.mark.parametrize(
    ("shape", "size"), [((100, 100), 20), ((80, 100), 16), ((40, 40), 16), ((150, 150), 28), ((900, 900), 64)]
)
def test_small_scenes_have_small_tiles(shape, size):
    assert tile_size(Grid(*shape, UTM, None)) == size


def test_a_mask_limits_the_scene_and_a_zone_what_is_measured(tmp_path, make_scene):
    ports = write_ports(tmp_path / "ports", make_scene)
    (whole,) = ship_cases(ports, None, None, None)
    (zone,) = ship_cases(ports, None, None, "_water.tif")
    (water,) = ship_cases(ports, [1, 2, 3], "_water.tif", None)
    assert whole.counted.all() and zone.counted.sum() == water.counted.sum() == 48 * 40
    assert zone.scene.limits.mask is None and water.scene.limits.mask == ports / "port_water.tif"
    assert len(water.scene.names) == 3
    (result,) = results([water], replace(FAST, classics=()), tmp_path)
    assert (np.isfinite(result.scores) == water.counted).all()


def test_unknown_truth_is_not_measured(tmp_path, make_scene):
    ports = write_ports(tmp_path / "ports", make_scene)
    truth = image()[1].astype("uint8")
    truth[:, :10] = 255
    case = raster_case(ports / "port.tif", make_scene(truth[None], name="t.tif", nodata=255))
    assert case.counted.sum() == 48 * 46 and not case.truth[:, :10].any()
    truth[truth == 255] = 0
    assert raster_case(ports / "port.tif", make_scene(truth[None], name="z.tif", nodata=0)).counted.all()


def test_truth_without_a_position_lies_where_the_scene_does(tmp_path, make_scene):
    ports = write_ports(tmp_path / "ports", make_scene)
    truth = make_scene(image()[1][None].astype("uint8"), name="t.tif", crs=None)
    assert raster_case(ports / "port.tif", truth).truth.sum() == 27


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image": np.ones((1, 48, 55), "uint8")},
            r"t.tif \(48 x 55 pixels\) is not on the grid of .*port.tif",
        ),
        ({"transform": Affine(10, 0, 500_005, 0, -10, 5_200_000)}, "is not on the grid"),
        ({"image": np.zeros((1, 48, 56), "uint8")}, "t.tif has no target"),
        ({"image": np.ones((1, 48, 56), "uint8")}, "t.tif has nothing but targets"),
    ],
)
def test_truth_that_does_not_fit_is_refused(tmp_path, make_scene, change, message):
    ports = write_ports(tmp_path / "ports", make_scene)
    pixels = change.pop("image", image()[1][None].astype("uint8"))
    with pytest.raises(SceneError, match=message):
        raster_case(ports / "port.tif", make_scene(pixels, name="t.tif", **change))


def test_folders_without_scenes_are_refused(tmp_path, make_scene):
    ports = write_ports(tmp_path / "ports", make_scene)
    mats = write_mats(tmp_path / "mats")
    with pytest.raises(SceneError, match="no_such does not exist"):
        mat_cases(tmp_path / "no_such", tmp_path)
    with pytest.raises(SceneError, match=r"port.tif is not a folder"):
        ship_cases(ports / "port.tif", None, None, None)
    with pytest.raises(SceneError, match=r"holds no scene \(.mat with data and map\)"):
        mat_cases(ports, tmp_path)
    with pytest.raises(SceneError, match=r"holds no NAME_shipmask\.tif"):
        ship_cases(mats, None, None, None)
    with pytest.raises(SceneError, match=r"port_no\.tif does not exist"):
        ship_cases(ports, None, None, "_no.tif")


def test_mat_scenes_cause_no_warning_of_their_missing_place(tmp_path, caplog):
    mats = write_mats(tmp_path / "mats")
    mat_cases(mats, tmp_path)
    assert caplog.text == ""


def test_two_scenes_of_one_name_are_refused(held):
    case = held[0][0].case
    with pytest.raises(ConfigError, match="two scenes are named one"):
        bench.check_names([case, case])


def test_figures_of_a_perfect_and_of_a_blind_map(held):
    case = held[0][0].case
    perfect = report.measurement(Result(case, "m", 0, case.truth.astype(np.float32)))
    assert perfect.figures == report.Figures(1, 1, 1, 1, 1, 0)
    blind = report.measurement(Result(case, "m", 0, np.zeros(case.truth.shape, np.float32))).figures
    assert (blind.auroc, blind.recall, blind.false_alarms) == (0.5, 0, math.inf)


def test_scores_that_miss_all_targets_are_refused(held):
    case = held[0][0].case
    scores = np.where(case.truth, np.nan, 1).astype(np.float32)
    with pytest.raises(SceneError, match="one cannot be measured: 0 of"):
        report.measurement(Result(case, "m", 0, scores))


def test_areas_are_in_hundreds_of_square_kilometres_or_tens_of_megapixels():
    assert report.units_of(1_000_000, 100.0) == 1.0
    assert report.units_of(1_000_000, None) == pytest.approx(0.1)


def test_a_run_publishes_table_json_and_pictures(tmp_path):
    mats = write_mats(tmp_path / "mats")
    seen = []
    out = tmp_path / "out"
    contest = replace(FAST, seeds=(0, 1), library=True)
    said, table, _ = report.run(
        "had", lambda work: mat_cases(mats, work), contest, out, progress=lambda *a: seen.append(a)
    )
    names = {"bench.json", "table.txt", "config.yaml", "roc.png", "maps_one.png", "maps_two.png"}
    assert {p.name for p in out.iterdir()} == names and {p.name for p in tmp_path.iterdir()} == {
        "mats",
        "out",
    }
    assert said == {"out": str(out)} | json.loads((out / "bench.json").read_text())
    assert (out / "table.txt").read_text().splitlines() == table
    assert {"kind", "recipe", "seeds", "methods", "scenes", "mean"} <= set(said)
    for method in said["methods"]:
        rows = [row for scene in said["scenes"] for row in scene["figures"][method]]
        assert [row["seed"] for row in rows] == [0, 1, 0, 1]
        assert said["mean"][method]["auroc"] == pytest.approx(np.mean([row["auroc"] for row in rows]))
        assert any(line.startswith(f"{method}, seed 1") for line in table)
    assert said["scenes"][0]["path"] == str(mats / "one.mat") and said["scenes"][0]["objects"] == 3
    assert seen[-1][:2] == (8, 8) and [a[0] for a in seen] == sorted(a[0] for a in seen)
    with pytest.raises(OutputError, match="exists; pass --overwrite"):
        report.run("had", lambda work: [], contest, out)
    assert config.load(out / "config.yaml").model.name == "rx"


def test_a_failure_leaves_nothing_behind(tmp_path):
    mats = write_mats(tmp_path / "mats")
    broken = replace(FAST, recipe=config.load(None, ["model.name=none"]))
    with pytest.raises(ConfigError):
        report.run("had", lambda work: mat_cases(mats, work), broken, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [mats]
