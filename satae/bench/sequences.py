"""Autoencoders over time in `satae bench series`: trained on the history of the place, asked about its new dates.

A new date is expected from all of the history, on the same day of the latest year that the history holds: a network
knows nothing of years that it was not trained in. What it leaves is whitened, set beside the pixel's own spread and
compared over dates by the functions of `satae series`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from satae.bench.place import Ground, Method
from satae.models import sequence
from satae.series import calibration, detector, persistence
from satae.training.sequence import fit

NAMES = "sequence_rnn", "sequence_transformer"
AT_ONCE = 2000  # pixels

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def method_of(place: Ground, name: str, *, steps: int, seed: int) -> tuple[Floats, Method]:
    """(agreement (date, pixel) of the history, each date from the others, and what is said of new dates)."""
    x, valid, days = place.history()
    torch.manual_seed(seed)
    model = sequence.build(name, x.shape[1], {})
    tensors = [torch.tensor(a, dtype=torch.float32) for a in (x * valid[:, None], valid, days, place.noise)]
    fit(model, *tensors, steps=steps, seed=seed)
    left = np.concatenate(list(_residuals(model, x, valid, days)), axis=2)
    whitening = detector.whitened(left.transpose(1, 0, 2)[:, valid])
    white = np.einsum("cb,tbp->tcp", whitening, left)
    square = (white**2).mean(axis=1)
    middle = max(float(np.median(square[valid])), 1e-9)
    # how much more than others each pixel varies, as `satae series` has it
    unit = np.sqrt(detector.scale_of(square, valid, middle))
    squares = (square / unit**2)[valid]
    calm = max(float(np.median(squares)), 1e-9)
    expected = _expectations(model, x, valid, days, place.new_days)

    def compared(residual: Floats, known: Bools, when: Floats) -> Floats:
        memory, out = persistence.empty(x.shape[1], place.rules.keep[1], x.shape[2]), []
        for now, good, day in zip(residual, known, when, strict=True):
            white = (whitening @ now) / unit
            wide = calibration.unrest((white**2).mean(axis=0), good, calm)
            white = white / np.sqrt(wide)
            memory, found = persistence.step(memory, white, now, good, float(day), place.rules.keep, np.inf)
            out.append(found)
        return np.array(out)

    def agreement(new: npt.NDArray[Any], good: Bools) -> Floats:
        return compared(new - expected, good, place.new_days)

    return compared(left, valid, days), agreement


def _residuals(model: torch.nn.Module, x: Floats, valid: Bools, days: Floats) -> Iterator[Floats]:
    """What is left of each date (date, B, pixel), from the others, a part of the pixels after the other."""
    for mean, part in _means(model, x, valid, days):
        yield np.where(valid[:, None, part], x[:, :, part] - mean, 0.0)


def _expectations(model: torch.nn.Module, x: Floats, valid: Bools, days: Floats, new: Floats) -> Floats:
    """What is expected of new days (date, B, pixel)."""
    out = np.empty((len(new), *x.shape[1:]))
    for i, day in enumerate(new):
        back = np.ceil(max(0.0, day - days[-1]) / calibration.YEAR)
        # the day is put among the others, where nothing is known of it
        at = day - back * calibration.YEAR
        place = int(np.searchsorted(days, at))
        with_it, known = np.insert(x, place, 0, axis=0), np.insert(valid, place, False, axis=0)
        when = np.insert(days, place, at)
        for mean, part in _means(model, with_it, known, when):
            out[i][:, part] = mean[place]
    return out


def _means(model: torch.nn.Module, x: Floats, valid: Bools, days: Floats) -> Iterator[tuple[Floats, slice]]:
    when = torch.tensor(days, dtype=torch.float32)[None]
    for start in range(0, x.shape[2], AT_ONCE):
        part = slice(start, start + AT_ONCE)
        good = torch.tensor(valid[:, part], dtype=torch.float32)[None, :, None, None]
        shown = torch.tensor(x[:, :, part] * valid[:, None, part], dtype=torch.float32)[None, :, :, None]
        with torch.no_grad():
            yield model(shown, good, when).mean[0, :, :, 0].double().numpy(), part
