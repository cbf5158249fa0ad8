"""Score heads, one file each: from what an autoencoder made of its input to an error a pixel, in the graph.

A file `NAME.py` here is the head NAME. It has

- `Params`, a frozen dataclass: its own settings;
- `build(normalizer, params)`: a torch module that maps a `View` to the contribution of each band to the error
  (N, B, H, W). Their sum is the error, never negative but for rounding; a single band's may be.

A module with a method `fit(views)` is fitted to the training sample after the autoencoder, `views` being
`Views`. The attribute `cells` is as in `models`. Nothing else has to be edited to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import wrap_torch_function

from satae.choices import Choices
from satae.config import HeadSettings
from satae.errors import ConfigError
from satae.nn.normalize import Normalizer, Vector

SCORES = Choices.of(__name__, __path__, "score", "score")
NAMES = SCORES.names


class View(NamedTuple):
    """What a head may look at.

    `x` and `reconstruction` (N, K, H, W) in the space of the autoencoder, `valid` (N, 1, H, W, 1.0 = good),
    `code` and `surprise` as in `models.Output`, but the code at every pixel (N, D, H, W), whatever its stride.
    """

    x: Tensor
    valid: Tensor
    reconstruction: Tensor
    code: Tensor | None = None
    surprise: Tensor | None = None

    def code_for(self, setting: str) -> Tensor:
        """The code; ConfigError where the architecture has none and so `setting` cannot be."""
        if self.code is None:
            raise ConfigError(f"{setting}: the architecture has no code; conv, pca, ring and others have")
        return self.code


Views = Callable[[], Iterator[tuple[View, Tensor]]]
"""Starts a pass over the training sample: views, and which pixels (N, 1, H, W) are to be fitted to."""


@runtime_checkable
class FittedHead(Protocol):
    """A head that is fitted to the training sample after the autoencoder."""

    def fit(self, views: Views) -> None:
        """Fit its numbers to the training sample."""
        ...


def cells(head: nn.Module) -> int:
    """Numbers a pixel that one step of a head keeps in memory at once; 0 where those are not many."""
    return int(getattr(head, "cells", 0))


class Linear(nn.Module):
    """A fixed matrix (out, in) applied to the channels of every pixel."""

    weight: Tensor

    def __init__(self, matrix: Vector) -> None:
        super().__init__()
        # (out, in, 1, 1): a matrix product at each pixel, as the convolution that ONNX Runtime is fast at
        self.register_buffer("weight", torch.tensor(matrix, dtype=torch.float32)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


class ToBands(Linear):
    """From the space of the autoencoder to bands, each in its own standard deviations over the sample."""

    def __init__(self, normalizer: Normalizer) -> None:
        # (B, K): the pseudo-inverse takes x back to v, as far as the components that were kept span it
        matrix = np.linalg.pinv(normalizer.affine) / normalizer.spread[:, None]
        super().__init__(np.asarray(matrix, np.float64))


@wrap_torch_function(lambda parts, whole: (parts, whole))
def with_sum(parts: Tensor, whole: Tensor) -> Tensor:
    """Parts (N, B, H, W), of which the sum over bands is `whole` (N, 1, H, W) but for rounding.

    A graph takes it from there (`training.translation`): where only the sum is asked for, parts are not computed.
    """
    return parts


def apportion(error: Tensor, squares: Tensor) -> Tensor:
    """An error (N, 1, H, W) shared out among the bands in proportion to `squares` (N, B, H, W)."""
    # (N, 1, H, W); where a pixel differs in no band all share alike, so that parts sum to the error everywhere
    total = squares.sum(dim=1, keepdim=True)
    share = torch.where(total > 0, error / total.clamp(min=1e-30), torch.zeros_like(total))
    even = torch.where(total > 0, torch.zeros_like(total), error / squares.shape[1])
    return with_sum(squares * share + even, error)


def head(settings: HeadSettings, normalizer: Normalizer) -> nn.Module:
    """The head of a recipe's entry; ConfigError lists what there is."""
    # numbers of the normaliser enter as buffers, so that the ONNX file holds them and nothing else has to
    built: nn.Module = SCORES.build(
        settings.name, settings.params, lambda found, params: found.build(normalizer, params)
    )
    return built
