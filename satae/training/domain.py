"""What the DN of the training tiles were like: the part of a model card by which a foreign scene is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from satae.inference.card import Domain
from satae.tiles.split import spread_evenly
from satae.tiles.store import TileSet

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
LEARNED_PIXELS = 2_000_000


def training_domain(sets: Sequence[TileSet], where: npt.NDArray[np.int64]) -> Domain:
    """Quantiles of the DN of training tiles, (set, tile) pairs (n, 2), for the card.

    Of very many tiles, evenly spread ones are taken, up to LEARNED_PIXELS in all.
    """
    size = sets[0].record.size
    count = min(len(where), max(1, LEARNED_PIXELS // size**2))
    chosen = spread_evenly(where, count)
    pixels = np.concatenate([sets[s].images[t][:, sets[s].valid[t]].T for s, t in chosen])
    quantiles = np.quantile(pixels.astype(np.float64), LEVELS, axis=0)
    return Domain(levels=list(LEVELS), quantiles=quantiles.T.tolist(), pixels=len(pixels))
