"""Losses, one file each: terms that are weighted and added, over the valid pixels of a batch.

A file `NAME.py` here is the term NAME. It has

- `Params`, a frozen dataclass: its own settings, which a recipe gives as `objective.params.NAME`;
- `build(params, code_size)`: a function of what the autoencoder gave (`models.Output`) and of a `Batch`. It
  gives the error of each pixel (N, 1, H, W), or a penalty, a scalar. Errors are averaged over valid pixels
  and can be trimmed, penalties are added. `code_size` is the number of channels of the code;
- `WHOLE = True`, optional: it needs whole tiles, and is refused where an architecture learns from single
  pixels;
- `NEEDS`, optional: the fields of the output that it looks at besides the reconstruction;
- `DIFFERENTIATES = True`, optional: it takes the gradient by what entered the model.

A term that learns itself is a `Rival`. Nothing else has to be edited to add one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from satae.choices import Choices
from satae.config import ObjectiveSettings
from satae.errors import ConfigError
from satae.models import Output
from satae.nn.checkpoint import Keeping

OBJECTIVES = dataclasses.replace(Choices.of(__name__, __path__, "objective", "loss"), keyed=True)
NAMES = OBJECTIVES.names


class Batch(NamedTuple):
    """What a term is told besides the output.

    `x` (N, C, H, W) is to be reconstructed. `valid` (N, 1, H, W): 1.0 where a pixel counts. `progress` is the
    share of the training that is behind. `entered` (N, C, H, W) is what the model was given, x or a corrupted
    copy of it; None where nothing is learned: on held-out tiles.
    """

    x: Tensor
    valid: Tensor
    progress: float = 1.0
    entered: Tensor | None = None


Term = Callable[[Output, Batch], Tensor]


@runtime_checkable
class Rival(Keeping, Protocol):
    """A term with weights of its own, which learn after each step of the model."""

    def __call__(self, out: Output, batch: Batch, /) -> Tensor: ...

    def to(self, device: torch.device) -> Any:
        """Move its weights."""
        ...

    def learn(self, out: Output, batch: Batch) -> None:
        """Take one step of its own."""
        ...

    def measures(self) -> dict[str, float]:
        """How it fared since it was asked last, by name."""
        ...


class Objective:
    """The loss of a recipe: terms by weight, over all valid pixels or without the worst of them.

    Trimming leaves out pixels whose error exceeds the quantile `trim` of the batch, once the share `warm` of
    the training is over: anomalies in the training sample are then not learned (least trimmed squares,
    Rousseeuw 1984). ConfigError where a term or a parameter is not known.
    """

    def __init__(self, settings: ObjectiveSettings, code_size: int = 0) -> None:
        for name in (*settings.terms, *settings.params):
            if name not in NAMES:
                raise ConfigError(
                    f"objective = {name!r}: there is no such loss; there are {', '.join(NAMES)}"
                )
        self.settings = settings
        self.terms: dict[str, Term] = {
            name: OBJECTIVES.build(
                name, settings.params.get(name, {}), lambda found, params: found.build(params, code_size)
            )
            for name in settings.terms
        }
        found = [OBJECTIVES.module(name) for name in settings.terms]
        self.whole = [n for n, m in zip(settings.terms, found, strict=True) if getattr(m, "WHOLE", False)]
        self.differentiates = any(getattr(module, "DIFFERENTIATES", False) for module in found)
        self.rivals: dict[str, Rival] = {n: t for n, t in self.terms.items() if isinstance(t, Rival)}

    @property
    def warm(self) -> float:
        """The progress from which on the loss does not change with it; 1 where it looks at each batch by itself."""
        if self.settings.trim < 1:
            return 1.0
        given = [OBJECTIVES.params(name, self.settings.params.get(name, {})) for name in self.terms]
        return max((float(getattr(params, "warm", 0.0)) for params in given), default=0.0)

    def __call__(
        self, out: Output, x: Tensor, valid: Tensor, progress: float = 1.0, entered: Tensor | None = None
    ) -> Tensor:
        """The loss, a scalar, 0 where no pixel is valid; see `Batch`."""
        batch, good = Batch(x, valid, progress, entered), valid > 0.5
        error, penalty = torch.zeros_like(valid), valid.new_zeros(())
        for name, weight in self.settings.terms.items():
            found = self.terms[name](out, batch)
            # (N, 1, H, W): averaged over pixels below, and trimmed; a scalar is added as it is
            if found.dim():
                error = error + weight * torch.where(good, found, 0.0)
            else:
                penalty = penalty + weight * found
        if self.settings.trim < 1 and progress > self.settings.warm and good.any():
            # a limit from the batch itself, without gradient: which pixels are left out is not learned
            limit = _quantile(error.detach()[good], self.settings.trim)
            good = good & (error.detach() <= limit)
        # 0 where no pixel is left, and its gradient too
        return (error * good).sum() / good.sum().clamp(min=1) + penalty

    def to(self, device: torch.device) -> Objective:
        """Move the weights of terms that have some."""
        for rival in self.rivals.values():
            rival.to(device)
        return self

    def measures(self) -> dict[str, float]:
        """How the terms that learn fared since this was asked last."""
        return {name: value for rival in self.rivals.values() for name, value in rival.measures().items()}


def reconstructs(names: Iterable[str]) -> bool:
    """Whether these terms look at the reconstruction alone."""
    return not any(getattr(OBJECTIVES.module(name), "NEEDS", ()) for name in names)


def code_of(out: Output, term: str) -> Tensor:
    """The code (N, D, h, w) in float32; ConfigError where the architecture has none."""
    if out.code is None:
        raise ConfigError(f"objective = {term!r}: the architecture has no code; conv has")
    return out.code.float()


def in_cells(values: Tensor, valid: Tensor) -> Tensor:
    """The mean over batch and cells of values (N, D, h, w) at the cells of a code, by their share of valid
    pixels: (D), 0 where there are none. `valid` (N, 1, H, W)."""
    # cells at an edge of nodata count for the share of them that was seen
    weight = shares(valid, values)
    return (values * weight).sum(dim=(0, 2, 3)) / weight.sum().clamp(min=1e-6)


def shares(valid: Tensor, code: Tensor) -> Tensor:
    """The share of valid pixels in each cell of a code: (N, 1, h, w)."""
    return F.adaptive_avg_pool2d(valid, (code.shape[-2], code.shape[-1]))


def _quantile(values: Tensor, share: float) -> Tensor:
    """The smallest value that at least `share` of the values do not exceed."""
    wanted = math.ceil(round(share * len(values), 6))  # 0.07 * 100 is a little more than 7
    return values.kthvalue(max(1, wanted)).values
