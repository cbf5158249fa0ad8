"""Options at their ends, what is said of damage, and refusals that come before the work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import refused, typed
from scenes import MakeScene

from satae.cli import door
from satae.cli.output import exit_if_damaged
from satae.errors import OutputError
from satae.grid import Window
from satae.training import run as training

RNG = np.random.default_rng(2)


def noise(dtype: str = "uint16", side: int = 96) -> np.ndarray:
    return RNG.integers(1, 100, (2, side, side)).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "nodata", "span"),
    [("uint16", 70000, "0 to 65535"), ("uint16", -1, "0 to 65535"), ("uint8", 255.5, "0 to 255"),
     ("int16", 40000, "-32768 to 32767"), ("uint16", "nan", "0 to 65535")],
)  # fmt: skip
def test_a_nodata_that_no_pixel_can_be_is_refused(
    here: Path, make_scene: MakeScene, dtype: str, nodata: float, span: str
) -> None:
    line = refused(2, "tile", make_scene(noise(dtype)), "--nodata", nodata)
    assert f"holds {dtype}, of which no pixel is" in line and f"a whole number from {span} here" in line


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint16", 65535), ("int16", -32768), ("float32", 1e30), ("float32", "nan")]
)
def test_a_nodata_that_a_pixel_can_be_is_taken(
    here: Path, make_scene: MakeScene, dtype: str, nodata: float
) -> None:
    assert typed("tile", make_scene(noise(dtype)), "--size", 32, "--nodata", nodata).exit_code == 0


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--fdr", "2.0", "a share above 0 and below 1"),
        ("--far", "0", "a number above 0"),
        ("--top", "0", "a whole number from 1 on"),
        ("--threshold", "-1", "a number above 0"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(option: str, value: str, allowed: str) -> None:
    assert (
        f"{option} {float(value) if option != '--top' else value} is out of range: it takes {allowed}"
        in refused(2, "score", "a.tif", option, value)
    )


@pytest.mark.parametrize("command", ["tile", "score", "train", "export"])
def test_no_default_is_shown_that_is_none(command: str) -> None:
    text = typed(command, "--help").stdout
    assert "()" not in text and "(nothing)" not in text


def test_damage_of_all_scenes_is_one_note_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    windows = [Window(row, 0, 32, 64) for row in (96, 0, 32, 160)]
    with pytest.raises(Exception, match="4"):
        exit_if_damaged([("a.tif", windows), ("b.tif", []), ("c.tif", [Window(8, 16, 8, 8)])])
    assert capsys.readouterr().err == (
        "note: a.tif: rows 0 to 64, columns 0 to 64; rows 96 to 128, columns 0 to 64; rows 160 to 192, "
        "columns 0 to 64; c.tif: rows 8 to 16, columns 16 to 24 could not be decoded and were masked\n"
    )


@pytest.mark.parametrize("compress", ["deflate", "none"])
def test_a_truncated_scene_is_told_in_rows_and_plain_words(
    here: Path, make_scene: MakeScene, compress: str
) -> None:
    path = make_scene(noise(side=256), compress=compress, blockysize=64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    line = refused(2, "tile", path, "--size", 32)
    assert (
        "is damaged between rows 192 and 256" in line and "the file ends before what is stored there" in line
    )
    assert "scanline" not in line and "4294967295" not in line and "TIFF" not in line


def test_a_run_that_could_not_be_written_leaves_nothing(
    here: Path, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert typed("tile", make_scene(noise(side=128)), "--size", 16).exit_code == 0

    def full(*_: object, **__: object) -> None:
        raise OutputError("runs/model/checkpoint.pt could not be written: No space left on device")

    monkeypatch.setattr(training, "fit", full)
    assert "No space left" in refused(3, "train", "--epochs", 1, "--device", "cpu")
    assert {p.name for p in here.iterdir()} == {"tiles"}


def test_a_run_that_is_in_the_way_stays_when_a_disk_is_full(
    here: Path, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert typed("tile", make_scene(noise(side=128)), "--size", 16).exit_code == 0
    (here / "runs" / "other").mkdir(parents=True)
    monkeypatch.setattr(training, "write_bytes", lambda *_: (_ for _ in ()).throw(OutputError("full")))
    refused(3, "train", "--epochs", 1, "--device", "cpu")
    assert [p.name for p in (here / "runs").iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "there.gpkg"), "there.gpkg exists; pass --overwrite"),
        (("--heatmap", "there.tif"), "there.tif exists; pass --overwrite"),
        (("--out", "a.shp"), "a.shp"),
    ],
)
def test_outputs_in_the_way_are_refused_before_a_baseline_is_fitted(
    here: Path,
    scene_path: Path,
    model_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, str],
    said: str,
) -> None:
    (here / "there.gpkg").touch()
    (here / "there.tif").touch()
    monkeypatch.setattr("satae.cli.score._baseline", lambda *_: pytest.fail("it was fitted"))
    code = 3 if "exists" in said else 2
    assert said in refused(
        code, "score", scene_path, "--model", model_path, "--baseline", "rx_shrunk", *words
    )


def test_an_output_in_the_way_is_refused_before_a_scene_is_looked_at(here: Path, model_path: Path) -> None:
    (here / "anomalies.gpkg").touch()
    (here / "broken.tif").write_text("no image")
    assert "anomalies.gpkg exists" in refused(3, "score", "broken.tif", "--model", model_path)


@pytest.mark.parametrize(
    "words", [("train", "--out", "b.onnx"), ("models",), ("demo",), ("export", "m.onnx")]
)
def test_in_an_environment_for_scoring_other_commands_are_refused_in_one_sentence(
    here: Path, tile_set: Path, model_path: Path, words: tuple[str, ...]
) -> None:
    shutil.copytree(tile_set, here / "tiles" / "land")
    shutil.copy(model_path, here / "m.onnx")
    program = (
        f"import sys; sys.modules |= dict.fromkeys({door.TRAINING}); from satae.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and not (here / "b.onnx").exists()
    assert re.fullmatch(
        r"error: (\w+) is not installed: what is here can tile, score and run; .*\n", done.stderr
    )
