"""What all pixels of a place share: by what model they are judged, and in what units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from satae.inference.sequences import Network
from satae.series import persistence, seasonal

Floats = npt.NDArray[np.float64]
Memory = dict[str, npt.NDArray[np.float32]]

SEASONAL, MEDIAN, PAIR = "seasonal", "median", "pair"
NETWORKS = "sequence_rnn", "sequence_transformer"  # which learn what seasonal leaves
LOOKED = 96  # dates that a network looks back at, at the most


@dataclass(frozen=True)
class Rules:
    """What all pixels share. B bands.

    `model`: by what is expected. `days` of the history. `centre` (B) is taken off first; `whitening` (B, B) takes what
    is left of a date to deviations, of which the median square of a sample is `middle`. An alarm is where `keep`
    (k, n), k of the last n valid dates, agree by `threshold` or more. Of a pair, `gain` (B, B) and `offset` (B) take
    the first date to the second. Of a season, `kinds` (2, K) are middle and spread of what pixels differ by, and
    `shared` (date, B, 1 + K) what each date of the history has in common (`common`). A pixel with less than `fewest`
    valid dates in the history is not scored. A `network` expects what the season leaves of a date from what it left of
    others, in deviations and by the `unrest` (date) of those in the history; `apart` are networks that did not learn
    from every second part of it. `usual` are median squares of the sample, by which a fit to the whole history weights
    dates.
    """

    model: str
    days: tuple[float, ...]
    centre: Floats
    whitening: Floats
    middle: float = 1.0
    keep: tuple[int, int] = (2, 3)
    threshold: float = float("inf")
    gain: Floats | None = None
    offset: Floats | None = None
    kinds: Floats | None = None
    shared: Floats | None = None
    fewest: int = 0
    unrest: Floats | None = None
    network: Network | None = None
    apart: tuple[Network, ...] = ()
    usual: tuple[float, ...] = ()

    @property
    def seasonal(self) -> bool:
        """Whether a season is fitted in closed form, by itself or with a network after it."""
        return self.model == SEASONAL or self.model in NETWORKS

    @property
    def lookback(self) -> int:
        """Dates that a network looks back at."""
        return min(len(self.days), LOOKED) if self.model in NETWORKS else 0

    @property
    def origin(self) -> float:
        """The day from which years are counted."""
        return float(np.mean(self.days))

    @property
    def bands(self) -> int:
        """How many."""
        return len(self.centre)

    def sizes(self) -> dict[str, int]:
        """The numbers that are kept of each pixel, by name, in the order of a file."""
        if self.seasonal:
            own = {"coefficients": seasonal.TERMS * self.bands, "inverse": len(seasonal.UPPER[0])}
            if self.lookback:
                own |= {"left": self.lookback * self.bands, "left_day": self.lookback}
        else:
            own = {"values": len(self.days) * self.bands}
        return {
            **own,
            "scale": self.bands,
            "around": self.bands,
            **persistence.sizes(self.bands, self.keep[1]),
        }
