"""A model cut down to one output: the package onnx says what is left, and ONNX Runtime that it is the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from detectors import BANDS, detector, image, mask

from satae.inference import runtime
from satae.inference.part import part
from satae.training import export

OUTPUTS = ["anomaly_map", "pred_score", "band_error", "reconstruction"]


@cache
def content_of() -> bytes:
    return export.to_onnx(detector("ring", ("whitened", {}), ("edges", {})), BANDS).SerializeToString()


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_one_output_needs_is_left_and_gives_the_same(output: str):
    content = content_of()
    cut, whole = part(content, output), onnx.load_from_string(content)
    left = onnx.load_from_string(cut)
    onnx.checker.check_model(left, full_check=True)
    assert [o.name for o in left.graph.output] == [output] and len(left.graph.node) < len(whole.graph.node)
    assert left.graph.initializer == whole.graph.initializer and left.opset_import == whole.opset_import
    read = {i for node in left.graph.node for i in node.input}
    assert all(read.intersection(node.output) or output in node.output for node in left.graph.node)
    feed = {"image": image(2, 30, 20).numpy(), "valid": mask(2, 30, 20).numpy()}
    one, other = (onnxruntime.InferenceSession(c).run([output], feed)[0] for c in (cut, content))
    assert np.allclose(one, other, rtol=1e-5, atol=1e-5 * np.ptp(other))


def test_a_model_with_a_graph_in_a_node_is_left_as_it_is():
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    branches = [
        helper.make_graph(
            [helper.make_node("Neg" if name == "no" else "Abs", ["x"], [name])],
            name, [], [helper.make_tensor_value_info(name, kind, [2])],
        )
        for name in ("yes", "no")
    ]  # fmt: skip
    nodes = [
        helper.make_node("Neg", ["x"], ["other"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    ends = [helper.make_tensor_value_info(n, kind, [2]) for n in ("x", "y", "other")]
    condition = helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
    made = helper.make_model(helper.make_graph(nodes, "g", [ends[0], condition], ends[1:]))
    assert part(made.SerializeToString(), "y") == made.SerializeToString()


def test_a_session_runs_what_it_is_pending_for():
    session = runtime.open_session(content_of(), "it")
    feed = {"image": image(1, 12, 14).numpy(), "valid": torch.ones(1, 1, 12, 14).numpy()}
    together = session.run(OUTPUTS, feed)
    for output, found in zip(OUTPUTS, together, strict=True):
        assert np.allclose(session.run([output], feed)[0], found, rtol=1e-5, atol=1e-5)
    assert [o.name for o in session.get_outputs()] == OUTPUTS
