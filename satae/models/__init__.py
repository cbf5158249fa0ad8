"""Autoencoder architectures, one file each; classics that learn nothing by gradients are among them.

A file `NAME.py` here is the architecture NAME. It has

- `Params`, a frozen dataclass: its own settings, with defaults that suit most scenes. A field `target_px` is
  filled from the recipe's target size where that is given;
- `SUITS`, optional: the recipe's settings that go with it, taken where the recipe leaves them to it;
- `build(channels, params)`: a torch module that maps x (N, channels, H, W) and `valid` (N, 1, H, W, 1.0 =
  good; x is filled where it is not) to an `Output`. Its attributes: `stride` (its output moves with its input
  by multiples of this, in pixels) and `code_size` (numbers in the code of a stride x stride patch); optional
  are `context` (pixels around a tile that it wants to see while it learns, 0 without), `cells` (numbers a
  pixel that one step of it keeps in memory at once, where those are many), `frame` (pixels a side of what it
  sees at once, where each number follows from all of that: see `blend`) and `idle` (weights of no effect on the
  reconstruction in training, which stay as they begin unless a loss looks at the code).

A module with a method `fit(pixels)` is fitted in closed form before any gradient step, `pixels` being a
`Sample`; without weights to learn there is no gradient step at all.

A module whose output at a pixel follows from x there and from fixed numbers about its surroundings may have
`surroundings(x, valid)` (N, D, H, W) and `predict(x, seen)`, with forward(x, valid) = predict(x,
surroundings(x, valid)): it is then trained on single pixels, many times faster.

Nothing else has to be edited to add one, unless it calls a function of torch that no other does: then
training/translation.py says what that is in ONNX, and `satae train` refuses to begin without. The receptive field is
measured (`graph.reach`), not declared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from satae.choices import Choices

MODELS = Choices.of(__name__, __path__, "model", "architecture")
NAMES = MODELS.names

Sample = Callable[[], Iterator[tuple[Tensor, Tensor, Tensor]]]
"""Starts a pass over tiles of the training sample: x (N, K, H, W), `valid` and `chosen` (N, 1, H, W).

`chosen` marks the pixels to fit to; those around them are there to be seen. Every pass is the same.
"""


class Output(NamedTuple):
    """What an architecture makes of x: its reconstruction of the same shape, and more where it has it.

    `code` is (N, code_size, H, W), or smaller by the stride and then rounded up. `surprise` (N, 1, H, W), never
    negative, is how unlikely x is to a model that predicts a distribution: its negative log density over the
    least that there can be. `log_variance`, of the same shape as `code`, is that of the distribution of the
    code in a variational model: `code` is then its mean, always; the decoder is fed a draw from it in training
    and the mean in evaluation.
    """

    reconstruction: Tensor
    code: Tensor | None = None
    surprise: Tensor | None = None
    log_variance: Tensor | None = None


@dataclass(frozen=True)
class Traits:
    """What an architecture says of itself, read once; the top of this file says what each means."""

    stride: int = 1
    code_size: int = 0
    context: int = 0
    frame: int = 0
    cells: int = 0

    @classmethod
    def of(cls, module: nn.Module) -> Traits:
        """What a module says of itself in attributes of these names; the rest has its default."""
        # an architecture is a plain torch module: what it does not declare keeps the default
        names = (field.name for field in dataclasses.fields(cls))
        return cls(**{name: int(getattr(module, name)) for name in names if hasattr(module, name)})


@runtime_checkable
class Architecture(Protocol):
    """A torch module that maps x (N, C, H, W) and `valid` (N, 1, H, W) to an `Output`."""

    stride: int
    code_size: int

    def __call__(self, x: Tensor, valid: Tensor) -> Output:
        """What it makes of x."""
        ...


@runtime_checkable
class BlindSpot(Protocol):
    """What is learned from single pixels: forward(x, valid) = predict(x, surroundings(x, valid))."""

    def surroundings(self, x: Tensor, valid: Tensor) -> Tensor:
        """Fixed numbers (N, D, H, W) about what surrounds each pixel."""
        ...

    def predict(self, x: Tensor, seen: Tensor) -> Output:
        """What it makes of pixels, from those numbers."""
        ...


@runtime_checkable
class ClosedForm(Protocol):
    """What is fitted in closed form before any gradient step."""

    def fit(self, pixels: Sample) -> None:
        """Settle what does not come from gradients."""
        ...


def all_params(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of an architecture, the defaults included; ConfigError as `build`."""
    return dataclasses.asdict(MODELS.params(name, params))


def suits(name: str) -> dict[str, Any]:
    """The settings of a recipe that go with an architecture; ConfigError where there is none of that name."""
    return dict(getattr(MODELS.module(name), "SUITS", {}))


def build(name: str, channels: int, params: Mapping[str, Any]) -> nn.Module:
    """The architecture `name` for `channels` input channels; ConfigError lists what there is."""
    # weights are drawn here: the caller has set the seed, so that the first weights follow from it
    built: nn.Module = MODELS.build(name, params, lambda found, checked: found.build(channels, checked))
    return built
