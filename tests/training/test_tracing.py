"""What becomes of calls: constants, nodes, names. That the graph says the same as torch is in test_translation."""

from __future__ import annotations

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from traces import Module, image, traced

from satae.nn.surroundings import total


def kinds(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def test_what_does_not_depend_on_the_input_is_a_constant():
    weight = torch.tensor([2.0, 3.0])
    proto = traced(Module(lambda x: x * torch.exp(weight.cumsum(dim=0)).sum()), image(1, 8, 8))
    assert kinds(proto) == ["Mul"] and len(proto.graph.initializer) == 1
    assert (
        numpy_helper.to_array(proto.graph.initializer[0]) == torch.exp(torch.tensor([2.0, 5.0])).sum().numpy()
    )


def test_the_same_call_is_one_node_and_an_unused_one_is_none():
    def of(x: torch.Tensor) -> torch.Tensor:
        torch.sin(x)
        return torch.exp(x[:, :1]) + torch.exp(x[:, :1])

    assert kinds(traced(Module(of), image(1, 8, 8))) == ["Slice", "Exp", "Add"]


def test_equal_constants_are_stored_once_and_weights_have_their_names():
    module = nn.Sequential(nn.Conv2d(4, 4, 1), Module(lambda x: x.clamp(min=0.5) + torch.tensor(0.5)))
    assert [i.name for i in traced(module, image(1, 8, 8)).graph.initializer] == [
        "0.weight",
        "0.bias",
        "constant_2",
    ]


def test_a_tensor_of_one_number_is_that_number_where_another_sees_to_the_shape():
    module = Module(lambda x: torch.where(x > 0, x, torch.full_like(x, 2.0)))
    assert kinds(traced(module, image(1, 8, 8))) == ["Greater", "Where"]


def test_a_factor_goes_into_the_weights_of_a_box():
    module = Module(lambda x: total(x, 5) * 0.04)
    assert kinds(traced(module, image(1, 8, 8))) == ["Conv", "Conv"]


def test_outputs_that_are_the_input_or_each_other_are_passed_on():
    proto = traced(Module(lambda x: [x, torch.exp(x), torch.exp(x)]), image(1, 8, 8))
    assert kinds(proto) == ["Exp", "Identity", "Identity"]
    assert [o.name for o in proto.graph.output] == ["out0", "out1", "out2"]


def test_tiles_rows_and_columns_stay_free_and_channels_are_fixed():
    module = Module(lambda x: x.reshape(x.shape[0], 2, 2, x.shape[2], x.shape[3]))
    inputs = traced(module, image(1, 8, 8)).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in inputs] == ["N", 4, "H", "W"]
