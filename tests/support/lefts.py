"""Episodes made in code: what a season leaves of dates that remember one another, or do not."""

from __future__ import annotations

import numpy as np

from satae.inference.sequences import Episode, Place

PLACE = Place(("green", "red", "nir"), ("2016-01-05", "2018-01-05"), 40)
QUICK = ["train.epochs=6", "train.min_steps=25", "train.batch=128", "train.learning_rate=0.01"]


def episodes(memory: float, pixels: int = 400, dates: int = 40, seed: int = 0) -> list[Episode]:
    """Four parts of a history whose deviations are correlated by exp(-days / 200) times `memory`."""
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(700, dates, replace=False)).astype(float)
    covariance = memory * np.exp(-np.abs(days[:, None] - days) / 200) + (1 - memory) * np.eye(dates)
    white = np.einsum("ts,sbp->tbp", np.linalg.cholesky(covariance), rng.normal(size=(dates, 3, pixels)))
    white[np.broadcast_to(rng.random((dates, 1, pixels)) < 0.2, white.shape)] = np.nan
    parts, white = np.array_split(np.arange(dates), 4), white.astype(np.float32)
    rest = [np.setdiff1d(np.arange(dates), part) for part in parts]
    return [Episode(white[r], days[r], white[p], days[p]) for r, p in zip(rest, parts, strict=True)]
