"""Networks in fewer bits: what becomes of which tensors, and that what is outside of them stays as it was."""

import numpy as np
import onnx
import pytest
from detectors import detector
from onnx import TensorProto
from scipy import stats

from satae.convert import precision
from satae.errors import ModelError
from satae.inference import runtime
from satae.tiles import store
from satae.training import export


def sample_of(tile_set):
    """Tiles as the model takes them."""
    opened = store.load(tile_set)
    return [
        {"image": image[None].astype(np.float32), "valid": valid[None, None].astype(np.float32)}
        for image, valid in zip(opened.images[:16], opened.valid[:16], strict=True)
    ]


def scored(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = runtime.open_session(proto.SerializeToString(), "it")
    return session.run(["anomaly_map"], feed)[0]


def types(proto: onnx.ModelProto, start: str) -> set[int]:
    return {i.data_type for i in proto.graph.initializer if i.name.startswith(start)}


def test_half_precision_is_that_of_the_network_alone(model_path, tile_set):
    proto = onnx.load(model_path)
    sample = sample_of(tile_set)
    half = precision.reduce(proto, "fp16", [], "it")
    assert types(half, "model.") == {TensorProto.FLOAT16}
    assert types(half, "input.") == types(half, "heads.") == {TensorProto.FLOAT}
    for ours, theirs in ((proto.graph.input, half.graph.input), (proto.graph.output, half.graph.output)):
        assert [(v.name, v.type) for v in ours] == [(v.name, v.type) for v in theirs]
    onnx.checker.check_model(half, full_check=True)
    ours, theirs = (np.concatenate([scored(p, f) for f in sample]) for p in (proto, half))
    assert 0 < np.abs(ours - theirs).max() < 0.01 * ours.max()


def test_dn_beyond_half_precision_pass(model_path, tile_set):
    proto = onnx.load(model_path)
    sample = sample_of(tile_set)
    half = precision.reduce(proto, "fp16", [], "it")
    low = {k: v.copy() for k, v in sample[0].items()}
    low["image"][:, :, :8] = 60_000.0  # 60,001 would be the same in half precision, 70,000 infinite
    high = {k: v.copy() for k, v in low.items()}
    high["image"][:, :, :8] = 70_000.0  # both are clipped to the same
    assert np.array_equal(scored(half, low), scored(half, high))
    assert np.isfinite(scored(half, high)).all()
    apart = {k: v.copy() for k, v in sample[0].items()}
    apart["image"] += 1 / 64  # half precision could not tell these DN apart
    assert not np.array_equal(scored(half, sample[0]), scored(half, apart))


def test_integers_are_in_the_layers_between_the_first_and_the_last(model_path, tile_set):
    proto = onnx.load(model_path)
    sample = sample_of(tile_set)
    less = precision.reduce(proto, "int8", sample, "it")
    made = {o: n for n in less.graph.node for o in n.output}
    layers = [n for n in less.graph.node if n.op_type == "Conv" and n.input[1].startswith("model.")]
    integers = [
        made[n.input[1]].op_type == "DequantizeLinear" if n.input[1] in made else False for n in layers
    ]
    assert integers == [False] + [True] * (len(layers) - 2) + [False]
    assert TensorProto.INT8 in {i.data_type for i in less.graph.initializer}
    assert types(less, "input.") == types(less, "heads.") == {TensorProto.FLOAT}
    assert {o.domain: o.version for o in less.opset_import} == {"": 18}
    ours, theirs = (np.concatenate([scored(p, f) for f in sample]).ravel() for p in (proto, less))
    assert 0.95 < stats.spearmanr(ours, theirs).statistic < 1


def test_norms_are_folded_into_convolutions(model_path, tile_set):
    proto = onnx.load(model_path)
    sample = sample_of(tile_set)
    assert "BatchNormalization" in {n.op_type for n in proto.graph.node}
    for kind in ("fp16", "int8"):
        less = precision.reduce(proto, kind, sample, "it")
        assert "BatchNormalization" not in {n.op_type for n in less.graph.node}


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_a_closed_form_has_no_network(kind):
    with pytest.raises(ModelError, match=rf"toy has no layers of weights that could be {kind}"):
        precision.reduce(export.to_onnx(detector("rx"), 3), kind, [], "toy")
