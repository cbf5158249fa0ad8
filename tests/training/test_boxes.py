"""Box sums in a graph: how many nodes they are together, and how exact; that they are sums is in test_translation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from traces import Module, image, traced

from satae.nn.surroundings import ring_total, total


def kinds(of: Callable[[Tensor], list[Tensor]]) -> Counter[str]:
    return Counter(node.op_type for node in traced(Module(of), image(1, 8, 8)).graph.node)


def test_boxes_of_several_sides_are_two_convolutions_together():
    made = kinds(lambda x: [total(x, 3), total(x, 5) / 25, total(2 * x, 9), total(x, 17)])
    assert made["Conv"] == 2 and made["BoxSum"] == 0 and made["Mul"] == 1


def test_what_waits_for_a_box_sum_is_in_another_convolution_than_that():
    assert kinds(lambda x: [total(total(x, 3), 3), total(x, 5)])["Conv"] == 4


def test_rings_are_a_convolution_more_and_more_than_16_planes_are_in_several():
    assert kinds(lambda x: [ring_total(x, 3)])["Conv"] == 3
    assert kinds(lambda x: [total(torch.cat([x, k * x, x, x], dim=1), 3) for k in (2, 3)])["Conv"] == 4


def test_a_plane_is_summed_from_its_first_row_and_column_on_once_for_all_sides():
    made = kinds(lambda x: [total(x[:, :1], 3), total(x[:, :1], 33), ring_total(x[:, :1], 3)])
    assert made["CumSum"] == 2 and made["Conv"] == 0


def found(of: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
    proto = traced(Module(of), image(1, 8, 8))
    return onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x.numpy()})[0]


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("of", [total, ring_total])
def test_a_calm_place_behind_a_bright_one_keeps_its_digits(
    channels: int, of: Callable[[Tensor, int], Tensor]
):
    x = image(1, 200, 200) * 1e-3
    x[..., :60, :60] = 1e4
    theirs = found(lambda z: of(z[:, :channels], 7), x)[..., 90:, 90:]
    ours = of(x[:, :channels].double(), 7)[..., 90:, 90:].numpy()
    assert np.abs(theirs - ours).max() < 2e-6 * np.abs(ours).max()


def test_counts_are_exact():
    valid = (torch.rand(1, 4, 300, 300, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    assert np.array_equal(
        found(lambda z: total(z[:, :1], 61), valid), total(valid[:, :1].double(), 61).numpy()
    )
