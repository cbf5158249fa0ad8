"""What tests of the export share: functions as modules, and their graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from satae.training.tracing import Trace
from satae.training.translation import TRANSLATIONS

CHANNELS = 4


class Module(nn.Module):
    """One function."""

    def __init__(self, of: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> list[Tensor]:
        found = self.of(x)
        return [found] if isinstance(found, Tensor) else [*found]


def traced(module: nn.Module, x: Tensor) -> onnx.ModelProto:
    trace = Trace(module, TRANSLATIONS)
    trace.bind(x, "x")
    with trace:
        outs = module(x)
    free = {f"out{i}": (out, [f"d{i}_{j}" for j in range(out.dim())]) for i, out in enumerate(outs)}
    proto = trace.model({"x": ["N", CHANNELS, "H", "W"]}, free, 18)
    proto.ir_version = 9
    onnx.checker.check_model(proto, full_check=True)
    return proto


def image(count: int, height: int, width: int) -> Tensor:
    return torch.randn(count, CHANNELS, height, width, generator=torch.Generator().manual_seed(height))
