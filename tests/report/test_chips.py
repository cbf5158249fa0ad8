"""Chips decoded and compared with the pixels they show, and folders that are never replaced by mistake."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from looks import fitted, look
from scored import heat, layer, run

from satae import composite
from satae.demo import synthetic
from satae.errors import OutputError
from satae.gis import qgis
from satae.inference import runtime
from satae.inference.card import Normalization
from satae.report import chips
from satae.report.reasons import Look
from satae.scene.describe import describe
from satae.scoring.rule import Top

RNG = np.random.default_rng(0)
PANELS = [slice(0, 192), slice(198, 390), slice(396, 588)]


def shown(value: float) -> int:
    """The grey of a DN, by hand."""
    return round(255 * min(max((float(value) - 100) / 1000, 0), 1) ** 0.7)


def hot(heat: float, top: float) -> list[int]:
    """The colour of a heat between two stops of the ramp of QGIS, by hand: blue, green, red."""
    stops = [bytes.fromhex(colour[1:]) for colour in qgis.HEAT]
    place = (min(max(float(heat), 1.5), top) - 1.5) / (top - 1.5) * (len(stops) - 1)
    first = min(int(place), len(stops) - 2)
    pairs = zip(stops[first], stops[first + 1], strict=True)
    return [round(a + (b - a) * (place - first)) for a, b in pairs][::-1]


def test_each_panel_shows_its_pixels_by_nearest_neighbour() -> None:
    image = RNG.integers(0, 1500, (4, 48, 48)).astype("uint16")
    inside = np.zeros((48, 48), bool)
    values = RNG.uniform(0, 8, (48, 48)).astype("float32")
    picture = chips.draw(chips.panels(look(image, 600, inside), values, fitted(4), 6.0))
    assert picture.shape == (192, 588, 3) and picture.dtype == np.uint8
    for row, col in RNG.integers(0, 48, (50, 2)):
        cell = slice(4 * row, 4 * row + 4), slice(4 * col, 4 * col + 4)
        blue, green, red = (shown(image[b, row, col]) for b in range(3))
        assert (picture[:, PANELS[0]][cell] == [blue, green, red]).all()
        assert (picture[:, PANELS[1]][cell] == shown(600)).all()
        assert (picture[:, PANELS[2]][cell] == hot(values[row, col], 6.0)).all()


def test_the_outline_runs_just_outside_the_region() -> None:
    inside = np.zeros((32, 32), bool)
    inside[10:14, 20:23] = True
    picture = chips.draw(
        chips.panels(look(np.zeros((3, 32, 32)), 0, inside), np.zeros((32, 32), "float32"), fitted(3), 5)
    )
    for panel in PANELS:
        drawn = (picture[:, panel] == chips.OUTLINE).all(axis=2)
        rows, cols = np.nonzero(drawn)
        assert (rows.min(), rows.max(), cols.min(), cols.max()) == (59, 84, 119, 138)
        assert drawn.sum() == 2 * (26 + 20) - 4


def test_pixels_that_do_not_count_are_grey() -> None:
    one = look(np.full((1, 64, 64), np.nan), 500)
    valid = RNG.random((64, 64)) > 0.5
    one = Look(
        one.window, np.where(valid, one.expected, np.nan), valid, one.expected, one.error, ~valid & False
    )
    picture = chips.draw(chips.panels(one, np.where(valid, 2.0, np.nan).astype("float32"), fitted(1), 4))
    for panel in PANELS:
        small = picture[:, panel][::3, ::3]
        assert (small[~valid] == 128).all()
    assert (picture[:, PANELS[0]][::3, ::3][valid] == shown(500)).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 200])
def test_any_number_of_bands_gives_a_picture(bands: int) -> None:
    image = np.full((bands, 32, 32), 350.0)
    picture = chips.draw(chips.panels(look(image), np.zeros((32, 32), "float32"), fitted(bands), 5))
    assert picture.shape == (192, 588, 3) and (picture[:, PANELS[0]] == shown(350)).all()


def test_names_are_safe_and_stay_apart() -> None:
    ids = [
        "land-r1-c2",
        "a/b-r1-c2",
        "a:b-r1-c2",
        "é-r1-c2",
        "è-r1-c2",
        "../x-r0-c0",
        ".x-r0-c0",
        "l" * 250 + "-r9-c9",
    ]
    ids.append("l" * 250 + "-r9-c8")
    names = [chips.file_name(i) for i in ids]
    assert names[0] == "land-r1-c2.png" and len(set(names)) == len(ids)
    assert all(n.isascii() and "/" not in n and ":" not in n and n[0] != "." and len(n) < 150 for n in names)


def test_chips_of_a_result_show_the_scene_at_the_place_of_each_region(
    scene_path: Path, model: runtime.Model, tmp_path: Path, landscape: synthetic.Synthetic
) -> None:
    result = run(tmp_path, model, describe([scene_path]), rule=Top(4), chips=3)
    frame = layer(result).sort_values("rank")
    assert frame["chip"].notna().tolist() == [True, True, True, False] and result.drawn == 3
    listed = json.loads((tmp_path / "out_chips" / "chips.json").read_text())["chips"]
    assert sorted(frame["chip"].dropna()) == [f"out_chips/{n}" for n in sorted(listed)]
    normal, values = model.card.normalization, heat(result)
    for at, anomaly_id in zip(frame["chip"][:3], frame["anomaly_id"][:3], strict=True):
        picture = cv2.imread(str(tmp_path / at))
        assert picture is not None and picture.shape == (192, 588, 3)
        row, col = map(int, anomaly_id.removeprefix("land-r").split("-c"))
        assert shows(picture, landscape.image, normal, (row, col))
        assert brightest(picture) and values[row, col] >= frame["score"].min() - 9


def shows(picture: np.ndarray, image: np.ndarray, normal: Normalization, peak: tuple[int, int]) -> bool:
    """Whether the first panel holds the scene's own pixels around a peak, wherever the window begins."""
    whole = composite.bgr(image, normal.low, normal.high).astype(int)
    for scale in (6, 4, 3, 2, 1):
        side, small = 192 // scale, picture[:, PANELS[0]][::scale, ::scale].astype(int)
        for row in range(max(0, peak[0] - side), min(whole.shape[0] - side, peak[0]) + 1):
            for col in range(max(0, peak[1] - side), min(whole.shape[1] - side, peak[1]) + 1):
                part = whole[row : row + side, col : col + side]
                if (np.abs(part - small).max(axis=2) == 0).mean() > 0.7:  # but for outline and nodata
                    return True
    return False


def brightest(picture: np.ndarray) -> bool:
    """Whether the third panel is brightest within its outline's box."""
    panel = picture[:, PANELS[2]].astype(int)
    drawn = (panel == chips.OUTLINE).all(axis=2)
    rows, cols = np.nonzero(drawn)
    light = np.where(drawn, 0, panel.sum(axis=2))
    return bool(light[rows.min() : rows.max(), cols.min() : cols.max()].max() >= 0.8 * light.max())


def test_ranks_run_over_all_scenes_when_few_chips_are_asked_for(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    twice = describe([scene_path]), describe([scene_path])
    frame = layer(run(tmp_path, model, *twice, rule=Top(3), chips=3))
    assert frame.sort_values("rank")["chip"].notna().tolist() == [True] * 3 + [False] * 3


def test_chips_0_draws_none_and_removes_those_of_the_result_it_replaces(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    scene, rule = describe([scene_path]), Top(2)
    assert run(tmp_path, model, scene, rule=rule).chips == tmp_path / "out_chips"
    result = run(tmp_path, model, scene, rule=rule, chips=0, overwrite=True)
    assert result.chips is None and layer(result)["chip"].isna().all()
    assert {p.name for p in tmp_path.iterdir()} == {
        "out.gpkg",
        "out.html",
        "out_heatmap.tif",
        "out_heatmap.qml",
    }


def test_an_older_folder_of_ours_is_replaced_only_with_overwrite(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    scene = describe([scene_path])
    run(tmp_path, model, scene, rule=Top(3))
    for path in tmp_path.glob("out*.*"):
        path.unlink()
    before = {p.name for p in (tmp_path / "out_chips").iterdir()}
    with pytest.raises(OutputError, match="out_chips exists; pass --overwrite"):
        run(tmp_path, model, scene, rule=Top(1))
    assert {p.name for p in (tmp_path / "out_chips").iterdir()} == before
    first = next((tmp_path / "out_chips").glob("*.png"))
    first.with_name(first.name + ".aux.xml").write_text("what QGIS leaves")
    run(tmp_path, model, scene, rule=Top(1), overwrite=True)
    assert len(list((tmp_path / "out_chips").iterdir())) == 2
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", ["a file more", "a folder more", "another folder", "a file", "a link"])
def test_what_satae_did_not_write_is_never_replaced(
    kind: str, scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    scene, target = describe([scene_path]), tmp_path / "out_chips"
    if "more" in kind:
        run(tmp_path, model, scene, rule=Top(1))
    else:
        (tmp_path / "mine").mkdir()
    own = {"a file more": target / "note.txt", "a folder more": target / "sub" / "note.txt"}
    own |= {"another folder": target / "note.txt", "a file": target, "a link": tmp_path / "mine" / "note.txt"}
    own[kind].parent.mkdir(parents=True, exist_ok=True)
    own[kind].write_text("mine")
    if kind == "a link":
        target.symlink_to(tmp_path / "mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(OutputError, match=r"out_chips.*, which satae did not write; move it away"):
        run(tmp_path, model, scene, rule=Top(1), overwrite=True)
    run(tmp_path, model, scene, rule=Top(1), overwrite=True, chips=0)
    assert before[own[kind]] == own[kind].read_bytes() == b"mine"


def test_a_failure_publishes_no_chips(
    scene_path: Path, model: runtime.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, picture: np.ndarray) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(chips, "write", fail)
    with pytest.raises(OutputError, match="could not be written: No space left"):
        run(tmp_path, model, describe([scene_path]), rule=Top(2))
    assert list(tmp_path.iterdir()) == []


def test_the_ramp_of_a_chip_is_that_of_the_heatmap() -> None:
    assert [qgis.ramp_top(v) for v in (1.0, 5.0, 99.0, float("nan"))] == [4.0, 5.0, 10.0, 4.0]
