"""A sequence detector as an ONNX file: inputs `sequence`, `valid` and `days`, dates of any number."""

from __future__ import annotations

import onnx
import torch

from satae.models.sequence import OUTPUTS, SequenceDetector
from satae.training.export import IR_VERSION, OPSET
from satae.training.tracing import Trace
from satae.training.translation import TRANSLATIONS

EXAMPLE = 2, 7, 9, 11  # sequences, dates, rows and columns that the detector is run on to be written down


def to_onnx(detector: SequenceDetector, bands: int) -> onnx.ModelProto:
    """The graph of a detector; N, T, H and W are dynamic. Raises ModelError where a call has no translation."""
    n, dates, rows, cols = EXAMPLE
    # values that are all alike would make what follows from them constants of no account
    sequence = torch.rand(n, dates, bands, rows, cols)
    valid = torch.ones(n, dates, 1, rows, cols)
    days = torch.arange(dates).float()[None] * 20 + torch.zeros(n, 1)
    trace = Trace(detector.eval(), TRANSLATIONS)
    for name, value in (("sequence", sequence), ("valid", valid), ("days", days)):
        trace.bind(value, name)
    with torch.no_grad(), trace:
        outputs = detector(sequence, valid, days)
    proto = trace.model(
        {"sequence": ("N", "T", bands, "H", "W"), "valid": ("N", "T", 1, "H", "W"), "days": ("N", "T")},
        {
            name: (made, ("N", "T", made.shape[2], "H", "W"))
            for name, made in zip(OUTPUTS, outputs, strict=True)
        },
        OPSET,
    )
    proto.ir_version = IR_VERSION
    onnx.checker.check_model(proto)
    return proto
