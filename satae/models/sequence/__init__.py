"""Architectures over the dates of one place, one file each: every date is expected from the other dates of its pixel.

A file `NAME.py` here has `Params`, a frozen dataclass, and `build(bands, params)`: a torch module that maps `sequence`
(N, T, B, H, W), `valid` (N, T, 1, H, W, 1.0 = good) and `days` (N, T, from the first to the last) to an `Expectation`.
What a date holds has no part in what is expected of it. T may be any number, dates lie any number of days apart, and
what is not valid may hold anything.

`seasonal` takes DN. Those in `LEARNED` take what it leaves of each date, in deviations: they learn what a closed form
does not say, and add nothing where there is nothing to add.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from satae.choices import Choices

SEQUENCES = Choices.of(__name__, __path__, "model", "sequence model")
NAMES = SEQUENCES.names
LEARNED = tuple(name for name in NAMES if name.startswith("sequence_"))
OUTPUTS = ("anomaly_map", "band_error", "reconstruction", "variance")
SURE = 1.5  # logarithm of the factor by which a learned deviation differs from the usual one at the most


class Expectation(NamedTuple):
    """What is expected of each date: `mean` (N, T, B, H, W) in the unit of the sequence, `variance` (N, T, 1, H, W).

    The variance is what comes to that of one observation, in units of it: 0 where the other dates leave no doubt.
    """

    mean: Tensor
    variance: Tensor


class SequenceDetector(nn.Module):
    """Sequences to (anomaly_map (N, T, 1, H, W), band_error and reconstruction (N, T, B, H, W), variance as the map).

    The map is the mean square of the whitened residual: whitening (B, B) makes what is left of a date deviations.
    """

    whitening: Tensor

    def __init__(self, model: nn.Module, whitening: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("whitening", whitening)

    def forward(self, sequence: Tensor, valid: Tensor, days: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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
        return error.sum(dim=2, keepdim=True), error, found.mean, found.variance


def size_of(deviations: Tensor) -> Tensor:
    """How large dates (N, T, B, H, W) are: (N, T, 1, H, W), 0 of those that left nothing."""
    return (1 + (deviations**2).mean(dim=2, keepdim=True)).log()


def variance_of(doubt: Tensor) -> Tensor:
    """The variance of an expectation whose deviation is exp(doubt) times the usual, within bounds."""
    return (2 * SURE * (doubt / SURE).tanh()).exp() - 1


def build(name: str, bands: int, params: Mapping[str, Any]) -> nn.Module:
    """The sequence model `name`; ConfigError lists what there is."""
    built: nn.Module = SEQUENCES.build(name, params, lambda found, checked: found.build(bands, checked))
    return built
