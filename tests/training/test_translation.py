"""What torch functions are in ONNX: torch is the oracle, at the shapes of the tracing and at others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from traces import CHANNELS, Module, image, traced

from satae.errors import ModelError
from satae.heads import with_sum
from satae.nn.ground import median
from satae.nn.recurrent import gru
from satae.nn.surroundings import ring_total, total
from satae.training.translation import TRANSLATIONS

drawn = torch.Generator().manual_seed(0)
W = {side: torch.randn(6, CHANNELS, side, side, generator=drawn) for side in (1, 3)}
DEEP = torch.randn(CHANNELS, 1, 3, 3, generator=drawn)
BACK = torch.randn(CHANNELS, 3, 2, 2, generator=drawn)
MATRIX = torch.randn(5, CHANNELS, generator=drawn)
BANK = torch.randn(7, CHANNELS, generator=drawn)
ONE = torch.rand(CHANNELS, generator=drawn) + 0.5
# a recurrent unit of 3 states: of the input, of the states, and the bias of each
UNIT = [torch.randn(9, *more, generator=drawn) for more in ((CHANNELS,), (3,), (), ())]


def flat(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(-1, CHANNELS)


def dates(x: Tensor) -> Tensor:
    """Rows as dates, some of them absent: (H, N W, C + 1)."""
    lines = x.permute(2, 0, 3, 1).flatten(1, 2)
    return torch.cat([lines, (lines[..., :1] > 0.5).to(x.dtype)], dim=2)


FUNCTIONS: dict[str, Callable[[Tensor], Any]] = {
    "arithmetic": lambda x: (2 - x) * 3 / (x**2 + 1) + 1 / (x.abs() + 1) - x * x.shape[1],
    "comparisons": lambda x: [(x > 0).float(), (x < 0.1).float(), (x >= 0).float(), (x <= 0).float()],
    "equal": lambda x: (x == x[:, :1]).float() - (x != x[:1]).float() + (x**2 + 1).reciprocal(),
    "logic": lambda x: torch.where((x > 0) & ~(x > 1) | (x < -1), x, -x),
    "numbers in where": lambda x: [torch.where(x > 0, 1.0, x), torch.where(x[:, :1] > 0, x, torch.full_like(x, 7.0))],
    "like": lambda x: torch.cat([torch.zeros_like(x), torch.ones_like(x), torch.full_like(x, 3.0)], dim=1),
    "like beside what is narrower": lambda x: torch.maximum(torch.zeros_like(x), x[:, :1]),
    "clamp": lambda x: [x.clamp(min=0), x.clamp(max=0.5), x.clamp(-0.3, 0.3)],
    "exponentials": lambda x: [torch.exp(x), torch.log(x.abs() + 1), torch.sqrt(x.abs()), torch.rsqrt(x**2 + 1), x**3],
    "waves": lambda x: [torch.sin(x), torch.cos(x), x.floor(), x.ceil(), x.sign(), torch.erf(x), x.square()],
    "activations": lambda x: [F.relu(x), F.leaky_relu(x, 0.1), F.elu(x), F.gelu(x), F.silu(x), x.tanh(), x.sigmoid()],
    "softplus": lambda x: F.softplus(30 * x),
    "extremes": lambda x: [torch.maximum(x, -x), torch.minimum(x, x**2), x.amax(dim=(1, 2, 3)), x.amin(dim=1)],
    "sums": lambda x: [x.sum(dim=1, keepdim=True), x.sum(dim=(2, 3)), x.mean(dim=1), x.mean()],
    "shares": lambda x: [torch.logsumexp(x, dim=1), x.softmax(1), torch.log_softmax(x, dim=1), F.normalize(x, dim=1)],
    "topk": lambda x: [torch.topk(x, 2, dim=1, largest=False).values, *torch.topk(x, 3, dim=1)],
    "places of minima": lambda x: [x.argmin(dim=1), x.flatten(1, 2).argmin(dim=1)],
    "products": lambda x: [flat(x) @ BANK.T, F.linear(flat(x), MATRIX, MATRIX[:, 0])],
    "linear of more axes": lambda x: [F.linear(x.transpose(1, 3), MATRIX, offset) for offset in (None, MATRIX[:, 0])],
    "einsum": lambda x: torch.einsum("kc,nchw->nkhw", MATRIX, x),
    "bank": lambda x: BANK[torch.topk(flat(x) @ BANK.T, 1, dim=1).indices[:, -1]],
    "conv2d": lambda x: [F.conv2d(x, W[3], padding=1), F.conv2d(x, W[1], W[1][:, 0, 0, 0])],
    "conv2d of the same size": lambda x: F.conv2d(x, W[3], padding="same"),
    "conv2d with steps": lambda x: [F.conv2d(x, W[3], stride=2, padding=1), F.conv2d(x, W[3], padding=2, dilation=2)],
    "depthwise": lambda x: F.conv2d(x, DEEP, padding=1, groups=CHANNELS),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, BACK, stride=2),
    "batch_norm": lambda x: [F.batch_norm(x, ONE, ONE, 2 * ONE, ONE), F.batch_norm(x, ONE, ONE)],
    "box means": lambda x: [F.avg_pool2d(x, 9, 1, 4), F.avg_pool2d(x, (5, 1), 1, (2, 0)), F.avg_pool2d(x, 1, 1)],
    "box sums": lambda x: [total(x, 5) / 25, 3 * total(x, 7) / 7**2, 2 * total(x, 9) / 9**2, total(x, 1)],
    "box sums of few channels": lambda x: [total(x[:, :1], 5), 2 * total(x[:, 1:3], 9), total(x[:, :1], 33)],
    "ring sums": lambda x: [ring_total(x, 3) / 72, ring_total(x[:, :3], 3), ring_total(x[:, :1], 5), ring_total(x, 1)],
    "box sums of box sums": lambda x: total(total(x, 3) ** 2 - total(x, 5), 5) + total(total(x, 5)[:, :1], 3),
    "sums that are known": lambda x: with_sum(x**2, (x**2).sum(dim=1, keepdim=True)).sum(dim=1, keepdim=True) - x,
    "a choice of what was chosen": lambda x: torch.where(x > 0, torch.where(x > 0, x, x**2), 3.0),
    "few channels mixed": lambda x: [F.conv2d(x, MATRIX[:, :, None, None]), x.mean(dim=1, keepdim=True), x.sum(dim=1)],
    "parts of what was joined": lambda x: [*torch.cat([torch.cat([x, -x], dim=1), 2 * x], dim=1).split([4, 8], dim=1)],
    "other parts": lambda x: [*torch.cat([x, 2 * x], dim=1).split([3, 5], dim=1)],
    "means of what there is": lambda x: [F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), F.avg_pool2d(x, 2)],
    "max_pool2d": lambda x: [F.max_pool2d(x, 2), F.max_pool2d(x, (1, 5), 1, (0, 2))],
    "interpolate": lambda x: [F.interpolate(x, scale_factor=2.0), F.interpolate(x, size=(30, 50), mode="bilinear")],
    "resize to what is known when it runs": lambda x: F.interpolate(x[..., ::4, ::4], size=x.shape[-2:]),
    "pad": lambda x: [F.pad(x, (1, 2, 3, 0), value=5.0), F.pad(x, (2, 2, 2, 2), mode="reflect"), F.pad(x, (0, -1))],
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(F.interpolate(x, scale_factor=2.0), 2),
    "cuts": lambda x: [x[:, 1], x[:, -1:], x[..., 2:-3, ::2], x[:1, None, 2, :, None], x[..., -1]],
    "cuts to what is known when it runs": lambda x: [x[..., : x.shape[2] // 2, :], x[..., x.shape[-1] % 4 :]],
    "joins": lambda x: [torch.cat([x, -x], dim=1), torch.stack([x, 2 * x], dim=2), torch.stack([x], dim=-1)],
    "parts": lambda x: [*x.split([1, 3], dim=1), *x.chunk(2, dim=1), *x.tensor_split([3], dim=1), *x.split(4, dim=1)],
    "reshape": lambda x: [
        x.reshape(x.shape[0], 2, 2, *x.shape[2:]), x.flatten(1), x.flatten(1, 2), x.flatten(), x.reshape(-1),
        x.unflatten(1, (2, -1)), x.view(x.shape[0], -1),
    ],
    "turns": lambda x: [x.permute(0, 2, 3, 1), x.transpose(2, 3), flat(x).T],
    "axes": lambda x: [x.unsqueeze(1), x[:, :1].squeeze(1), x[:, :1].expand(-1, 3, -1, -1), x.repeat(1, 2, 1, 1)],
    "places": lambda x: (torch.arange(x.shape[-1]) % 3 < 1).to(x.dtype) + 2 * torch.arange(x.shape[-1])[None, :] + x,
    "the median of what is valid": lambda x: [median(x, x[:, :1], dim) for dim in (1, 2, 3)],
    "a recurrent unit, both ways": lambda x: [gru(dates(x), UNIT, backward) for backward in (False, True)],
    "sizes": lambda x: x[..., : -(-x.shape[-2] // 4) * 2 - 1, : 9 - (40 - x.shape[-1]) % 7],
}  # fmt: skip


def as_float(module: nn.Module) -> nn.Module:
    """The same with outputs in float32, as a detector has them."""
    return Module(lambda x: [out.float() for out in module(x)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_the_same_in_onnx_whatever_the_shape(name: str):
    module = as_float(Module(FUNCTIONS[name]))
    proto = traced(module, image(2, 12, 16))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((2, 12, 16), (1, 14, 11), (3, 21, 34)):
        x = image(*shape)
        for ours, theirs in zip(module(x), session.run(None, {"x": x.numpy()}), strict=True):
            assert ours.shape == theirs.shape
            assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["exponentials", "waves", "activations", "softplus", "shares", "conv2d"])
def test_no_bit_depends_on_the_number_of_threads(name: str):
    # (enough numbers for several threads, and no multiple of what a vector of a processor holds)
    x = image(1, 331, 333)
    proto = traced(as_float(Module(FUNCTIONS[name])), x).SerializeToString()
    found = []
    for threads in (1, 2, 3, 7):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
        found.append([out.tobytes() for out in session.run(None, {"x": x.numpy()})])
    assert found[1:] == found[:1] * 3


def test_every_translation_is_tried_here():
    class Names(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.add(func.__self__.__name__ if func.__name__ == "__get__" else func.__name__.strip("_"))
            return func(*args, **(kwargs or {}))

    seen: set[str] = set()
    with Names():
        for of in FUNCTIONS.values():
            Module(of)(image(2, 12, 16))
    spared = {"contiguous", "detach", "double", "dropout", "dropout2d", "truediv", "rtruediv"}
    assert not TRANSLATIONS.keys() - seen - spared


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (lambda x: torch.cumsum(x, dim=1), r"^cumsum of torch, as it is called here, has no translation to ONNX"),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"), "^pad of torch, as it is called here"),
        (lambda x: x if x.sum() > 0 else -x, "a graph cannot depend on values"),
        (lambda x: x * float(x.mean(dim=1)[0, 0, 0]), "a graph cannot depend on values"),
    ],
    ids=["unknown", "unknown in this way", "a branch", "a number"],
)  # fmt: skip
def test_what_has_no_translation_is_refused(of: Callable[[Tensor], Any], said: str):
    with pytest.raises(ModelError, match=said):
        traced(Module(of), image(1, 8, 8))
