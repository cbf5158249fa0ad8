"""The skeletons in CONTRIBUTING.md are code that works, and keep the contracts they stand for."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from detectors import BANDS, fitted, image, mask
from rows import CREATED, grid, layer

from satae import config, formats, models, objectives
from satae import heads as scores
from satae.config import HeadSettings, MapSettings, ObjectiveSettings
from satae.detector import graph
from satae.detector.fusion import Mapping
from satae.errors import SceneError
from satae.formats import Format
from satae.grid import Window
from satae.scene import readers
from satae.scene.describe import describe
from satae.tiles.cut import Cut, cut
from satae.training import export

TEXT = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text()


def block(heading: str, kind: str = "python") -> str:
    """The first block of code of a section."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"```{kind}\n(.*?)```", section, re.DOTALL)
    assert found, heading
    return found[1]


def added(monkeypatch: pytest.MonkeyPatch, package: Any, choices: str, name: str, code: str) -> None:
    """As if the code were the file NAME.py of a package."""
    full = f"{package.__name__}.{name}"
    module = ModuleType(full)
    monkeypatch.setitem(sys.modules, full, module)
    exec(compile(code, full, "exec", dont_inherit=True), module.__dict__)
    known = getattr(package, choices)
    monkeypatch.setattr(package, choices, dataclasses.replace(known, names=(*known.names, name)))


def test_the_skeletons_train_nothing_but_fit_score_and_export(monkeypatch):
    added(monkeypatch, models, "MODELS", "tiny", block("Add an autoencoder"))
    added(monkeypatch, scores, "SCORES", "largest", block("Add a score head"))
    made, net = fitted(), models.build("tiny", BANDS, {"code": 5})
    heads = [scores.head(HeadSettings(name="largest", params={"power": 2.0}), made)]
    found = graph.Detector(made, net, heads, Mapping(MapSettings(), 1)).eval()
    dn, valid = image(2, 33, 47), mask(2, 33, 47)
    out = net(torch.randn(2, BANDS, 33, 47), valid)
    assert out.code.shape == (2, net.code_size, 9, 12) and out.reconstruction.shape == (2, BANDS, 33, 47)
    assert 0 < graph.reach(found, BANDS, net.stride) < 16
    with torch.no_grad():
        heat, _, shares, _ = found(dn, valid)
    assert torch.allclose(shares.sum(dim=1, keepdim=True), heat, rtol=1e-4) and heat.min() >= 0
    content = export.to_onnx(found, BANDS).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    theirs = session.run(["anomaly_map"], {"image": dn.numpy(), "valid": valid.numpy()})[0]
    assert np.abs(theirs - heat.numpy()).max() <= export.PARITY * np.ptp(heat.numpy())
    assert config.recipe_of(models.suits("tiny")).objective.trim == 0.97


def test_the_recipe_of_the_skeleton_is_one(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(block("Add an autoencoder", "yaml"))
    recipe = config.load(path)
    assert recipe.model.name == "tiny" and recipe.model.params == {"code": 12}


def test_the_objective_of_the_skeleton_is_a_term(monkeypatch):
    added(monkeypatch, objectives, "OBJECTIVES", "power", block("Add an objective"))
    monkeypatch.setattr(objectives, "NAMES", objectives.OBJECTIVES.names)
    settings = ObjectiveSettings(terms={"power": 1.0}, params={"power": {"power": 3.0}})
    rebuilt, x = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    found = objectives.Objective(settings)(models.Output(rebuilt), x, torch.ones(2, 1, 8, 8))
    assert float(found) == pytest.approx(float(((rebuilt - x).abs() ** 3).mean()), rel=1e-5)


def test_the_reader_of_the_skeleton_gives_scenes_and_tiles(monkeypatch, tmp_path):
    added(monkeypatch, readers, "READERS", "arrays", block("Add a reader"))
    image = np.random.default_rng(0).normal(5, 1, (3, 40, 50)).astype(np.float32)
    image[1, 7, 9] = np.nan
    np.save(tmp_path / "scene.npy", image)
    scene = describe([tmp_path / "scene.npy"])
    with scene.open() as reader:
        pixels, valid = reader.read(scene.grid.window)
    assert scene.names == ("band1", "band2", "band3") and np.array_equal(pixels, image, equal_nan=True)
    assert not valid[7, 9] and valid.sum() == valid.size - 1
    assert cut(scene, tmp_path / "tiles", Cut(size=16)).record.valid_pixels == 40 * 50 - 1
    with readers.open_pixels(scene.files[0].source) as opened:
        assert opened.means([1, 3], Window(0, 0, 40, 50), (4, 5))[0].shape == (2, 4, 5)
    np.save(tmp_path / "flat.npy", image[0])
    with pytest.raises(SceneError, match="has 2 axes"):
        describe([tmp_path / "flat.npy"])


def test_the_format_of_the_skeleton_is_chosen_and_writes(monkeypatch, tmp_path):
    section = TEXT.split("## Add an output format\n")[1].split("\n## ")[0]
    table = ModuleType("satae.formats.table")
    exec(compile(block("Add an output format"), "table", "exec", dont_inherit=True), table.__dict__)
    line = re.search(r"The line: `(.*),`", section)
    assert line
    added = eval(f"{{{line[1]}}}", {"Format": Format, "table": table})
    monkeypatch.setattr(formats, "FORMATS", formats.FORMATS | added)
    chosen = formats.format_of(tmp_path / "out.csv", grid().crs)
    chosen.write(tmp_path / "out.csv", "out.csv", [layer(grid(), scores=(3.0, 5.0))], CREATED)
    first, *rows = (tmp_path / "out.csv").read_text().splitlines()
    assert first.startswith("rank,score,p_value") and [row[:4] for row in rows] == ["1,5.", "2,3."]
