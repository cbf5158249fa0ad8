"""What the DN of the training tiles were like: the part of a model card by which a foreign scene is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from satae.inference import radiometry
from satae.inference.card import Domain
from satae.tiles.split import spread_evenly
from satae.tiles.store import TileSet

LEARNED = 10_000_000  # DN, of all bands together, that are looked at


def training_domain(sets: Sequence[TileSet], where: npt.NDArray[np.int64]) -> Domain:
    """What the DN of training tiles, (set, tile) pairs (n, 2), are like, for the card.

    Of very many tiles, evenly spread ones are taken, up to LEARNED values in all.
    """
    record = sets[0].record
    count = min(len(where), max(1, LEARNED // (record.size**2 * len(record.bands))))
    return radiometry.measure((sets[s].images[t], sets[s].valid[t]) for s, t in spread_evenly(where, count))
