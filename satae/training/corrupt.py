"""Spoils the input of a denoising autoencoder (Vincent et al. 2010); its target stays clean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from satae.config import CorruptSettings


def corrupt(x: Tensor, valid: Tensor, settings: CorruptSettings, key: Sequence[int]) -> Tensor:
    """x (N, C, H, W) with noise, then holes, then salt and pepper; the same `key` gives the same draws.

    Levels are in units of each channel: its deviation, least and largest value over the valid pixels of the
    batch. x itself comes back where nothing is to be done.
    """
    if not (settings.gaussian or settings.masking or settings.salt):
        return x
    # on the device itself: draws on a CPU would have to be copied at every step
    rng = torch.Generator(x.device).manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
    low, high, spread = _channels(x, valid)
    out = x
    if settings.gaussian:
        noise = torch.randn(x.shape, generator=rng, device=x.device)
        out = out + settings.gaussian * spread * noise
    if settings.masking:
        out = torch.where(_drawn(x, rng) < settings.masking, 0.0, out)
    if settings.salt:
        drawn = _drawn(x, rng)
        # one draw for both, so that salt and pepper never fall on the same number
        out = torch.where(drawn < settings.salt, high, out)
        out = torch.where(drawn < settings.salt / 2, low, out)
    return out


def _drawn(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=rng, device=like.device)


def _channels(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least, largest value and deviation of each channel (1, C, 1, 1); 0 where no pixel is valid."""
    good, over = valid > 0.5, (0, 2, 3)
    count = good.sum().clamp(min=1)
    mean = torch.where(good, x, 0.0).sum(dim=over, keepdim=True) / count
    spread = (torch.where(good, x - mean, 0.0) ** 2).sum(dim=over, keepdim=True).div(count).sqrt()
    # in units of the data: x may be whitened, in [0, 1] or stretched
    low = torch.where(good, x, torch.inf).amin(dim=over, keepdim=True)
    high = torch.where(good, x, -torch.inf).amax(dim=over, keepdim=True)
    return low.nan_to_num(posinf=0.0), high.nan_to_num(neginf=0.0), spread
