"""What the DN of the training tiles were like: the part of a model card by which a foreign scene is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from satae.inference import radiometry
from satae.inference.card import Domain
from satae.inference.radiometry import Change
from satae.tiles.split import spread_evenly
from satae.tiles.store import TileSet

LEARNED = 10_000_000  # DN, of all bands together, that are looked at
COMPARED = 2_000_000  # DN of each set that are compared with those of another


def training_domain(sets: Sequence[TileSet], where: npt.NDArray[np.int64]) -> Domain:
    """What the DN of training tiles, (set, tile) pairs (n, 2), are like, for the card.

    Of very many tiles, evenly spread ones are taken, up to LEARNED values in all.
    """
    record = sets[0].record
    count = min(len(where), max(1, LEARNED // (record.size**2 * len(record.bands))))
    return radiometry.measure((sets[s].images[t], sets[s].valid[t]) for s, t in spread_evenly(where, count))


def conventions(sets: Sequence[TileSet]) -> Iterator[str]:
    """What to say of sets whose DN seem to mean something else than those of the first: a model would learn both.

    A sentence each, with both names: of scenes as different as these a true pair is possible, so nothing is refused.
    """
    if len(sets) < 2:
        return
    first, *others = (_sample(tiles) for tiles in sets)
    for tiles, own in zip(sets[1:], others, strict=True):
        found = (
            radiometry.change(own, first, tiles.record.dtype) if own.quantiles and first.quantiles else None
        )
        if found is not None:
            yield _sentence(found, tiles, sets[0], own, first)


def _sample(tiles: TileSet) -> Domain:
    """What the DN of a set are like, by tiles that are evenly spread over it."""
    count = max(1, COMPARED // (tiles.record.size**2 * len(tiles.record.bands)))
    chosen = np.unique(np.linspace(0, len(tiles) - 1, min(count, len(tiles))).astype(int))
    return radiometry.measure((tiles.images[t], tiles.valid[t]) for t in chosen)


def _sentence(found: Change, tiles: TileSet, first: TileSet, own: Domain, known: Domain) -> str:
    """Which two sets do not follow one convention, by which numbers, and what cures it."""
    beside = f"the tiles of {tiles.path} beside those of {first.path}"
    if found.kind == "swapped":
        order = f" ({', '.join(tiles.record.bands[i] for i in found.order)})" if found.order else ""
        return f"{beside} look as if their bands came in another order{order}; cut one of them again with --bands"
    level = radiometry.DARK if found.kind == "shifted" else radiometry.BRIGHT
    numbers, theirs = (", ".join(f"{v:.6g}" for v in radiometry.at(d, level)[:4]) for d in (own, known))
    if found.kind == "shifted":
        about = float(f"{abs(found.number):.2g}")  # what is estimated is not known better
        side = "added to" if found.number > 0 else "taken off"
        return (
            f"{beside} look as if about {about:.6g} were {side} every DN: their darkest hundredth ends at "
            f"{numbers}, and there at {theirs}; cut the one that is off again with --offset (-1000 for reflectance of "
            "Sentinel-2 from baseline 04.00 on)"
        )
    return (
        f"{beside} have DN of another scale: 95 % lie below {numbers}, and there below {theirs}; bring both to one "
        "scale, and look for fill that nobody declared (--nodata)"
    )
