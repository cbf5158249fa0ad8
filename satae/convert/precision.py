"""Converts the network of a model to fewer bits: all between its first layer of weights and its last.

What stands before and behind it stays float32: DN and their logarithm reach beyond what half precision holds, and a
score is a small difference of large numbers. How much the model loses is measured in `fidelity`, not here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxscript import ir, rewriter
from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule

from satae.errors import ModelError

PRECISIONS = ("fp32", "fp16", "int8")
OWN = "model."  # how the exporter's names of an architecture's weights begin, see `graph.Detector`
LAYERS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
PREPARED = {
    "onnx.quant.pre_process": "onnxruntime.quant"
}  # what else the quantiser advises to do has been done
Feed = dict[str, npt.NDArray[np.float32]]


def reduce(proto: onnx.ModelProto, precision: str, sample: Iterable[Feed], name: str) -> onnx.ModelProto:
    """The model with its network in 'fp16' or 'int8'; inputs and outputs are as they were.

    `sample`: inputs from which the ranges of int8 activations are taken. int8 is symmetric in the weights, channel
    by channel (Jacob et al. 2018), and uses 7 of their bits, so that no sum saturates on a CPU without VNNI; the
    first and the last layer stay float32, whose errors would go straight into the score. Raises ModelError where
    there is no network, as in models that are fitted in closed form.
    """
    folded: onnx.ModelProto = rewriter.rewrite(proto, pattern_rewrite_rules=[fuse_batchnorm_into_conv_rule])
    layers, network = _network(folded.graph)
    if not layers:
        raise ModelError(f"{name} has no layers of weights that could be {precision}; leave --precision out")
    if precision == "fp16":
        return _halved(folded, network)
    inner = [n.name for n in layers[1:-1] if n.op_type == "Conv"]
    if not inner:
        raise ModelError(f"{name} has no layers between its first and its last that could be int8; try fp16")
    return _quantized(folded, inner, sample)


def _network(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The layers that hold the architecture's weights, and all nodes on the ways between them, in order."""
    made = {output: node.name for node in graph.node for output in node.output}
    weights = {i.name for i in graph.initializer if i.name.startswith(OWN)}
    layers = [n for n in graph.node if n.op_type in LAYERS and weights.intersection(n.input)]
    behind = {n.name for n in layers}
    for node in graph.node:
        if any(made.get(i) in behind for i in node.input):
            behind.add(node.name)
    before = {n.name for n in layers}
    for node in reversed(graph.node):
        if node.name in before:
            before.update(made[i] for i in node.input if i in made)
    return layers, [n for n in graph.node if n.name in behind & before]


def _halved(proto: onnx.ModelProto, network: list[onnx.NodeProto]) -> onnx.ModelProto:
    """The network cut out, converted and put back.

    The converter alone would send all that it is told to leave, DN among it, through half precision on the way.
    """
    known = {v.name: v for v in onnx.shape_inference.infer_shapes(proto).graph.value_info}
    known |= {v.name: v for v in (*proto.graph.input, *proto.graph.output)}
    constants = {i.name: i for i in proto.graph.initializer}
    inside = {o for n in network for o in n.output}
    read = {i for n in network for i in n.input if i}
    outside = [n for n in proto.graph.node if not inside.intersection(n.output)]
    wanted = {i for n in outside for i in n.input} | {o.name for o in proto.graph.output}
    part = onnx.helper.make_graph(
        network,
        "network",
        [known[i] for i in sorted(read - inside - constants.keys())],
        [known[o] for o in sorted(inside & wanted)],
        [constants[i] for i in sorted(read & constants.keys())],
    )
    cut = onnx.helper.make_model(part, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    half = convert_float_to_float16(cut, keep_io_types=True, op_block_list=[])
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    for field in (out.graph.node, out.graph.initializer, out.graph.value_info):
        del field[:]
    out.graph.node.extend([*outside, *half.graph.node])
    kept = {i.name: i for i in proto.graph.initializer if i.name in wanted}
    out.graph.initializer.extend((kept | {i.name: i for i in half.graph.initializer}).values())
    return _sorted(out)


def _sorted(proto: onnx.ModelProto) -> onnx.ModelProto:
    model = ir.from_proto(proto)
    model.graph.sort()
    return ir.to_proto(model)


class _Sample(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Any:
        return next(self.feeds, None)


def _quantized(proto: onnx.ModelProto, layers: list[str], sample: Iterable[Feed]) -> onnx.ModelProto:
    onnx.helper.set_model_props(proto, PREPARED)
    with tempfile.TemporaryDirectory(prefix="satae-") as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            proto, target, _Sample(sample), op_types_to_quantize=["Conv"], nodes_to_quantize=layers,
            per_channel=True, reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return onnx.load(target)
