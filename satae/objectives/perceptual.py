"""Input and reconstruction are compared by their codes under an encoder that satae trained (Johnson et al. 2016).

The encoder is that of an earlier run, with its best weights; it does not learn here. Invalid pixels are 0 in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from satae import config, models
from satae.errors import ConfigError, SataeError
from satae.models import Output
from satae.nn.checkpoint import CHECKPOINT
from satae.objectives import Batch, Term, code_of

WHOLE = True


@dataclass(frozen=True)
class Params:
    """The settings of perceptual.

    `run`: the folder of an earlier run, whose tiles had as many channels and whose architecture has a code.
    """

    run: str = ""


class Perceptual:
    """The squared distance of the codes over their variance, at each pixel of a cell (N, 1, H, W)."""

    def __init__(self, run: str) -> None:
        if not run:
            raise ConfigError(
                "objective.params.perceptual.run: name the folder of an earlier run, such as runs/model, whose "
                "encoder says what looks alike"
            )
        self.run, self.recipe, self.weights = run, *_kept(Path(run))
        self.models: dict[tuple[int, torch.device], nn.Module] = {}

    def __call__(self, out: Output, batch: Batch) -> Tensor:
        good = batch.valid > 0.5
        model = self._model(batch.x.shape[1], batch.x.device)
        one, other = (torch.where(good, z, 0.0) for z in (batch.x, out.reconstruction.float()))
        # no gradient through the code of the input, which is fixed
        with torch.no_grad():
            goal = code_of(model(one, batch.valid), "perceptual")
        found = code_of(model(other, batch.valid), "perceptual")
        # (N, 1, h, w) in units of the variance of codes, then at each pixel of its cell
        apart = ((found - goal) ** 2).mean(dim=1, keepdim=True) / goal.var(unbiased=False).clamp(min=1e-6)
        stride = models.Traits.of(model).stride
        spread = apart.repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
        return spread[..., : batch.x.shape[2], : batch.x.shape[3]]

    def _model(self, channels: int, device: torch.device) -> nn.Module:
        """The frozen model on a device."""
        if (channels, device) not in self.models:
            made = models.build(self.recipe.model.name, channels, self.recipe.model.params)
            try:
                made.load_state_dict(self.weights)
            except RuntimeError as error:
                raise ConfigError(
                    f"objective.params.perceptual.run = {self.run!r}: that run learned from inputs of another "
                    f"number of channels than {channels}"
                ) from error
            self.models[channels, device] = made.to(device).eval().requires_grad_(False)
        return self.models[channels, device]


def _kept(run: Path) -> tuple[config.Recipe, dict[str, Any]]:
    """The recipe and the best weights of a run; ConfigError where they cannot be read."""
    try:
        recipe = config.load(run / "config.yaml")
        content = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)
        return recipe, dict(content["best_weights"])
    except SataeError:
        raise
    except Exception as error:  # torch.load raises many types on damaged files
        raise ConfigError(
            f"objective.params.perceptual.run = {str(run)!r}: it holds no finished run"
        ) from error


def build(params: Params, code_size: int) -> Term:
    """The term as a function of output and batch."""
    return Perceptual(params.run)
