"""`satae bench` as a user types it: what it prints, writes and refuses."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import scipy.io
from scenes import MakeScene
from typer.testing import CliRunner

from satae.bench import contest
from satae.cli import app

KINDS = ("had", "ships", "masks", "inject")
RX = ("--set", "model.name=rx", "--device", "cpu")


def typed(*words: object) -> Any:
    """The result of a command line; a bug keeps its traceback."""
    result = CliRunner().invoke(app.app, ["bench", *(str(w) for w in words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rx_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One fast method."""
    monkeypatch.setattr(contest, "Contest", functools.partial(contest.Contest, classics=()))


def inputs_of(make_scene: MakeScene) -> Path:
    """A scene as `.mat` and as GeoTIFF, with truth."""
    cube, truth = np.random.default_rng(0).random((3, 48, 48)), np.zeros((48, 48), "uint8")
    truth[20:23, 20:23] = 1
    folder = make_scene(cube, name="a.tif").parent
    scipy.io.savemat(folder / "a.mat", {"data": cube.transpose(1, 2, 0), "map": truth})
    make_scene(truth[None], name="a_shipmask.tif", folder=folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_help_with_an_example_and_is_documented(kind: str) -> None:
    text = click.unstyle(typed(kind, "-h").stdout)
    assert f"satae bench {kind}" in " ".join(text.split("Options")[0].split())
    for document in ("docs/benchmarks.md", "CHANGELOG.md"):
        assert re.search(rf"\bsatae bench {kind}\b", (Path(__file__).parents[2] / document).read_text())


def test_table_goes_to_stdout_and_names_the_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, make_scene: MakeScene
) -> None:
    rx_alone(monkeypatch)
    inputs = inputs_of(make_scene)
    result = typed("ships", inputs, *RX, "--out", "b")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["AUROC", "/", "AP", "rx"] and lines[1].split()[0] == "a"
    assert lines[-1] == "written to b" and Path("b/roc.png").is_file()
    assert "exists; pass --overwrite" in typed("ships", inputs, *RX, "--out", "b").stderr


def test_json_is_the_one_thing_on_stdout(
    here: Path, monkeypatch: pytest.MonkeyPatch, make_scene: MakeScene
) -> None:
    rx_alone(monkeypatch)
    inputs = inputs_of(make_scene)
    words = ("masks", inputs / "a.tif", "--truth", inputs / "a_shipmask.tif", *RX, "--bands", "1-2", "--json")
    said = json.loads(typed(*words).stdout)
    assert (said["kind"], said["methods"], said["out"]) == ("masks", ["rx"], "bench")
    assert said["scenes"][0]["targets"] == 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["had", "nowhere"], "nowhere does not exist"),
        (["had", "."], "holds no scene (.mat with data and map)"),
        (["ships", "."], "holds no NAME_shipmask.tif"),
        (["ships", "{0}", "--mask-suffix", "_w.tif"], "a_w.tif does not exist"),
        (["masks", "{0}/a.tif", "--truth", "x", "--truth", "y"], "1 scenes and 2 truth rasters are named"),
        (["masks", "{0}/a.tif", "--truth", "x"], "x does not exist"),
        (["had", "{0}", "--seeds", "1,1"], "--seeds 1,1 is not a list of different whole numbers"),
        (["had", "{0}", "--seeds", "a"], "--seeds a is not a list of numbers"),
        (["had", "{0}", "--far", "0"], "--far 0 is out of range"),
        (["had", "{0}", "--device", "tpu"], "--device tpu"),
        (["had", "{0}", "--set", "train.epoch=1"], "there is no setting train.epoch"),
        (["inject", "nowhere.tif"], "nowhere.tif does not exist"),
        (["inject", "{0}/a.tif", "--sizes", "1.5"], "--sizes 1.5 is not a list of whole numbers"),
        (["inject", "{0}/a.tif", "--shares", "2"], "--shares 2 must lie between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    here: Path, monkeypatch: pytest.MonkeyPatch, make_scene: MakeScene, words: list[str], message: str
) -> None:
    rx_alone(monkeypatch)
    inputs = inputs_of(make_scene)
    result = typed(*(word.format(inputs) for word in words))
    assert (result.exit_code, result.stdout) == (2, "")
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert list(Path().iterdir()) == []
