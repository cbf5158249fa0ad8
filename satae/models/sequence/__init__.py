"""Architectures over the dates of one place, one file each: every date is expected from the other dates of its pixel.

A file `NAME.py` here has `Params`, a frozen dataclass, and `build(bands, params)`: a torch module that maps `sequence`
(N, T, B, H, W) in DN, `valid` (N, T, 1, H, W, 1.0 = good) and `days` (N, T) to an `Expectation`. What a date holds has
no part in what is expected of it. T may be any number, dates lie any number of days apart, and what is not valid may
hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from satae.choices import Choices

SEQUENCES = Choices.of(__name__, __path__, "model", "sequence model")
NAMES = SEQUENCES.names
OUTPUTS = ("anomaly_map", "band_error", "reconstruction")


class Expectation(NamedTuple):
    """What is expected of each date: `mean` (N, T, B, H, W) in DN, and its `variance` (N, T, 1, H, W).

    The variance is in units of that of one observation: 0 where the other dates leave no doubt.
    """

    mean: Tensor
    variance: Tensor


class SequenceDetector(nn.Module):
    """Sequences to (anomaly_map (N, T, 1, H, W), band_error (N, T, B, H, W), reconstruction (N, T, B, H, W)).

    The map is the mean square of the whitened residual: whitening (B, B) makes what is left of a date deviations.
    """

    whitening: Tensor

    def __init__(self, model: nn.Module, whitening: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("whitening", whitening)

    def forward(self, sequence: Tensor, valid: Tensor, days: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # what invalid pixels hold never enters: 0 times NaN would be NaN
        clean = torch.where(valid > 0, sequence, torch.zeros_like(sequence))
        found = self.model(clean, valid, days)
        # (N, T, B, H, W); nothing is left of what is not valid
        residual = (clean - found.mean) * valid
        white = torch.einsum("cb,ntbhw->ntchw", self.whitening, residual)
        # each band's share of the square: r_b (W' W r)_b sums over bands to |W r|^2
        shares = residual * torch.einsum("cb,ntchw->ntbhw", self.whitening, white)
        scale = (1 + found.variance) * self.whitening.shape[0]
        error = shares / scale
        return error.sum(dim=2, keepdim=True), error, found.mean


def build(name: str, bands: int, params: Mapping[str, Any]) -> nn.Module:
    """The sequence model `name`; ConfigError lists what there is."""
    built: nn.Module = SEQUENCES.build(name, params, lambda found, checked: found.build(bands, checked))
    return built
