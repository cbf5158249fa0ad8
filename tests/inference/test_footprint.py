"""Memory that a model would take is told before it is taken: cards that claim too much, graphs that hold too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import refused
from onnx import helper, numpy_helper

from satae.errors import ModelError
from satae.inference import footprint, runtime
from satae.inference.card import KEY
from satae.inference.part import nodes_of


def claiming(path: Path, out: Path, **claims: Any) -> Path:
    """A model whose card says other things."""
    proto = onnx.load(path)
    (entry,) = (p for p in proto.metadata_props if p.key == KEY)
    entry.value = json.dumps(json.loads(entry.value) | claims)
    out.write_bytes(proto.SerializeToString())
    return out


def with_nodes(path: Path, out: Path, nodes: list[Any], constants: dict[str, np.ndarray]) -> Path:
    """A model whose anomaly map follows from some more nodes, the last of which gives `bomb`."""
    proto = onnx.load(path)
    graph = proto.graph
    for node in graph.node:
        for i, name in enumerate(node.output):
            if name == "anomaly_map":
                node.output[i] = "plain"
    smallest = helper.make_node("ReduceMin", ["bomb"], ["least"], keepdims=0)
    graph.node.extend([*nodes, smallest, helper.make_node("Add", ["plain", "least"], ["anomaly_map"])])
    graph.initializer.extend([numpy_helper.from_array(v, k) for k, v in constants.items()])
    out.write_bytes(proto.SerializeToString())
    return out


@pytest.mark.parametrize(
    "claims", [{"core": 4096, "halo": 1024}, {"core": 4096, "halo": 0}, {"halo": 1024, "core": 2048},
     {"core": 4096, "frame": 2048, "stride": 1024, "halo": 1024}],
    ids=str,
)  # fmt: skip
def test_a_card_that_claims_large_windows_is_refused_before_anything_is_run(
    claims: dict[str, int],
    model_path: Path,
    scene_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = claiming(model_path, tmp_path / "large.onnx", **claims)
    monkeypatch.setattr(runtime.Model, "_run", lambda *a: pytest.fail("an inference was run"))
    said = refused(2, "score", scene_path, "--model", path, "--out", tmp_path / "a.gpkg")
    assert "an inference takes about" in said and f"core {claims['core']}, halo {claims['halo']}" in said


def test_bands_and_channels_count_too(model_path: Path, tmp_path: Path) -> None:
    """A convolution to 20,000 channels, on windows of an ordinary size."""
    weights = np.zeros((20_000, 1, 1, 1), np.float32)
    conv = helper.make_node("Conv", ["valid", "wide"], ["bomb"])
    path = with_nodes(model_path, tmp_path / "wide.onnx", [conv], {"wide": weights})
    with pytest.raises(ModelError, match="an inference takes about"):
        runtime.load(path, "cpu", 1)


def test_a_constant_of_any_size_is_refused_by_its_shape_alone(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = helper.make_node("ConstantOfShape", ["shape"], ["bomb"])
    path = with_nodes(model_path, tmp_path / "bomb.onnx", [fill], {"shape": np.array([200_000, 200_000])})
    monkeypatch.setattr(footprint, "_sizes", lambda *a: pytest.fail("the graph was run"))
    with pytest.raises(ModelError, match="an inference takes about 149"):
        runtime.load(path, "cpu", 1)


def test_a_size_that_is_computed_is_refused_when_it_is_tried(model_path: Path, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["valid"], ["here"]),
        helper.make_node("Mul", ["here", "many"], ["there"]),
        helper.make_node("ConstantOfShape", ["there"], ["bomb"]),
    ]
    path = with_nodes(model_path, tmp_path / "bomb.onnx", nodes, {"many": np.array([1, 1, 2_000, 2_000])})
    with pytest.raises(ModelError, match="cannot be run on small windows"):
        runtime.load(path, "cpu", 1)


def test_what_is_alive_together_is_added_up() -> None:
    """a of 1 and b of 10 make c of 100; b is let go, d is made of a and c."""
    nodes = [([], ["a"]), (["a"], ["b"]), (["a", "b"], ["c"]), (["a", "c"], ["d"])]
    sizes = {"a": 1, "b": 10, "c": 100, "d": 1000}
    assert footprint._peak(nodes, sizes) == 1 + 100 + 1000


def test_the_nodes_of_a_graph_are_those_that_onnx_reads(model_path: Path) -> None:
    read = [([i for i in n.input if i], list(n.output)) for n in onnx.load(model_path).graph.node]
    assert nodes_of(model_path.read_bytes()) == read


def test_an_ordinary_model_is_far_from_the_limit(model: runtime.Model, model_path: Path) -> None:
    session, nodes = runtime._session_of_all(model_path.read_bytes(), "model")
    side = model.card.core + 2 * model.card.halo
    needed = footprint._needed(session, nodes, model.card, side, "model")
    assert 4 * 4 * side**2 < needed < footprint.MOST / 8
    small = footprint._sizes(session, model.card, 64, "model")
    assert small["anomaly_map"] == 4 * 64**2 and small["reconstruction"] == 16 * 64**2
