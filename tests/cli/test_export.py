"""What `satae export` prints."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from satae.cli.app import app


def exporting(model_path, tmp_path, monkeypatch):
    """Run the command on a copy of the model."""
    shutil.copy(model_path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["export", "model.onnx", *words])


def test_one_line_says_what_was_written_and_one_what_its_values_mean(model_path, tmp_path, monkeypatch):
    exported = exporting(model_path, tmp_path, monkeypatch)
    done = exported("--flavor", "deepness")
    first, second = done.stdout.splitlines()
    assert first.startswith("model_deepness.onnx: conv as fp32, ")
    assert second.endswith("overlap; a layer value of 255 is -log10 p = 10") and done.exit_code == 0


def test_json_says_the_same(model_path, tmp_path, monkeypatch):
    exported = exporting(model_path, tmp_path, monkeypatch)
    said = json.loads(exported("--flavor", "deepness", "--out", "d.onnx", "--json").stdout)
    assert (said["out"], said["source"], said["flavor"], said["precision"]) == (
        "d.onnx", "model.onnx", "deepness", "fp32",
    )  # fmt: skip
    assert said["fidelity"] is None and said["tile_size"] > 256 and 0 < said["tiles_overlap"] < 50


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "as it is trained"),
        (["--flavor", "deepness", "--out", "d.tif"], "must end in .onnx"),
        (["--precision", "int8"], "no tile set of land in tiles"),
    ],
)
def test_faults_are_one_sentence(model_path, tmp_path, monkeypatch, words, fault):
    exported = exporting(model_path, tmp_path, monkeypatch)
    done = exported(*words)
    assert done.exit_code == 2 and fault in done.stderr and done.stderr.count("\n") == 1
