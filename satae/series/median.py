"""What a pixel shows in a season, of few dates: the median of its history on the days nearest in the year.

With one date in the history that date itself is expected. Nothing is learned from new dates.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

YEAR = 365.25  # days
SEASON = 45.0  # days before and after, in which a date is of the same season
FEWEST = 5  # dates that are asked, where there are so many, whatever their season

Floats = npt.NDArray[np.float64]


def season(days: Floats, day: float) -> npt.NDArray[np.intp]:
    """The numbers of the dates that tell what is expected on a day."""
    apart = np.abs((days - day + YEAR / 2) % YEAR - YEAR / 2)
    order = np.argsort(apart, kind="stable")
    near = int(np.count_nonzero(apart <= SEASON))
    return np.sort(order[: max(near, min(FEWEST, len(days)))])


def middle(values: Floats) -> Floats:
    """The median (band, pixel) of values (date, band, pixel), NaN where no date is valid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels without a date
        return np.asarray(np.nanmedian(values, axis=0))


def expectation(values: Floats, days: Floats, day: float) -> tuple[Floats, Floats]:
    """(expected (band, pixel), its variance (pixel) in units of an observation's) from values (date, band, pixel).

    Values are NaN where invalid; where no date of the season is valid all dates are asked, and NaN is what none knows.
    """
    # (near dates, B, pixel)
    near = values[season(days, day)]
    found = middle(near)
    empty = np.isnan(found[0])
    if empty.any():
        found[:, empty] = middle(values[:, :, empty])
    count = np.isfinite(near[:, 0]).sum(axis=0)
    count = np.where(count > 0, count, np.isfinite(values[:, 0]).sum(axis=0))
    # of a median of more than two normal values the variance is pi / 2 that of their mean
    return found, np.where(count > 2, np.pi / 2, 1.0) / np.maximum(count, 1)
