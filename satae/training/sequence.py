"""Training of a sequence model on one place, and a sequence detector as an ONNX file: dates of any number."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from satae.models.sequence import OUTPUTS, SequenceDetector
from satae.training.export import IR_VERSION, OPSET
from satae.training.tracing import Trace
from satae.training.translation import TRANSLATIONS

PIXELS = 256  # of a step
LEARNING_RATE = 3e-3
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


def fit(
    model: nn.Module, sequence: Tensor, valid: Tensor, days: Tensor, noise: Tensor, *, steps: int, seed: int
) -> list[float]:
    """Train a model on the pixels of one place; the losses of its steps come back.

    sequence (T, B, P) in DN, `valid` (T, P), `days` (T), `noise` (B) deviations of one date. Each step hides some dates
    of some pixels at random, and every date that is known is asked for, hidden or not: gaps are what it is used to.
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    known = valid > 0
    marked = sequence.permute(1, 0, 2)[:, known]
    kept = dict(model.named_buffers())
    kept["centre"].copy_(marked.mean(dim=1))
    kept["spread"].copy_(marked.std(dim=1).clamp(min=1e-6))
    rate = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    slow = torch.optim.lr_scheduler.CosineAnnealingLR(rate, steps)
    losses = []
    for _ in range(steps):
        taken = torch.randint(sequence.shape[2], (min(PIXELS, sequence.shape[2]),), generator=rng)
        # (1, T, B, 1, P): pixels side by side, all of one place and so of the same days
        x, good = sequence[:, :, taken][None, :, :, None], valid[:, taken][None, :, None, None].float()
        share = 0.4 + 0.6 * torch.rand(1, generator=rng)
        shown = good * (torch.rand(good.shape, generator=rng) < share)
        found = model(x * shown, shown, days[None])
        # of clouds that the masks missed the size counts, not the square
        apart = (x - found.mean) / noise[:, None, None]
        loss = (F.smooth_l1_loss(apart, torch.zeros_like(apart), reduction="none") * good).sum()
        loss = loss / (good.sum() * len(noise)).clamp(min=1)
        rate.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate.step()
        slow.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses
