"""Loss terms over the valid pixels of a batch.

A term takes the reconstruction, the input (both N, C, H, W) and `valid` (N, 1, H, W, 1.0 = good) and gives a
scalar; invalid pixels have no weight. A new term is a function here and a line in OBJECTIVES.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from satae.errors import ConfigError

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]


def mse(reconstruction: Tensor, x: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error over valid pixels and all channels; 0 where no pixel is valid."""
    error = ((reconstruction - x) ** 2 * valid).sum()
    return error / (valid.sum() * x.shape[1]).clamp(min=1)


OBJECTIVES: dict[str, Objective] = {"mse": mse}


def objective(name: str) -> Objective:
    """The term `name`; ConfigError lists what there is."""
    if name not in OBJECTIVES:
        raise ConfigError(f"objective = {name!r}: there is no such loss; there are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
