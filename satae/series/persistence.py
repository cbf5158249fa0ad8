"""What lasts and what passes: a change shows on k of n valid dates in the same direction, a cloud's rest on one.

Two dates agree by the mean square of the shorter of their whitened residuals, where both point to one side and neither
is APART times as long as the other, else not at all. A cloud's long residual lends nothing to a short one; a change
that both show makes it the square of its own length. Of k dates the least agreement counts.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

APART = 5.0  # times a residual's length from which on another is of something else: noise beside a cloud
PASSED, HIGH, AGREED = 0.0, 1.0, 2.0  # what became of a date that is still remembered


def sizes(bands: int, n: int) -> dict[str, int]:
    """The numbers that are kept of each pixel.

    `recent` whitened residuals of the last n - 1 valid dates, NaN where there was none, their days and marks; then of
    the alarm: `first` day on which the change showed, `confirmed`, the day of the alarm, `last` that agreed, `peak` and
    its day, `magnitude` in DN a band at the peak, dates `seen` since and those that `held`; `spikes`, dates that stood
    alone.
    """
    kept = n - 1
    alarm = ("first", "confirmed", "last", "peak", "peak_day")
    return {
        "recent": kept * bands,
        "recent_day": kept,
        "recent_mark": kept,
        **dict.fromkeys(alarm, 1),
        "magnitude": bands,
        **dict.fromkeys(("seen", "held", "spikes"), 1),
    }


def empty(bands: int, n: int, pixels: int) -> dict[str, Array]:
    """The memory of pixels of which no date was scored."""
    out = {name: np.zeros((size, pixels), np.float32) for name, size in sizes(bands, n).items()}
    out["recent"].fill(np.nan)
    return out


def agreement(
    recent: npt.NDArray[np.floating], days: npt.NDArray[np.floating], white: Floats, k: int, day: float
) -> tuple[Floats, Floats]:
    """(agreement (pixel) of the newest date with the best k - 1 of the recent ones, the first day (pixel) of these).

    recent (n - 1, B, pixel), `white` (B, pixel). Minus infinity where there are not as many.
    """
    if k == 1:
        return (white**2).mean(axis=0), np.full(white.shape[1], day)
    old = recent.astype(np.float64)
    with_new = [_alike(one, white) for one in old]
    best, first = np.full(white.shape[1], -np.inf), np.full(white.shape[1], day)
    for chosen in combinations(range(len(old)), k - 1):
        pairs = [with_new[i] for i in chosen] + [_alike(old[i], old[j]) for i, j in combinations(chosen, 2)]
        least = np.min(pairs, axis=0)
        better = least > best  # NaN is not
        best = np.where(better, least, best)
        first = np.where(better, np.min([days[i] for i in chosen], axis=0), first)
    return best, first


def in_common(recent: npt.NDArray[np.floating], white: Floats) -> Floats:
    """What the newest date has in common (B, pixel) with the recent one that it agrees with best: the shorter residual.

    recent (n - 1, B, pixel); 0 where it agrees with none, NaN where there is none. With n = 1 it is the date itself.
    """
    if not len(recent):
        return white
    best, out = np.full(white.shape[1], -np.inf), np.full(white.shape, np.nan)
    size = (white**2).mean(axis=0)
    for old in recent.astype(np.float64):
        alike = _alike(old, white)
        better = alike > best  # NaN is not
        best = np.where(better, alike, best)
        shorter = np.where((old**2).mean(axis=0) < size, old, white)
        out = np.where(better, np.where(alike > 0, shorter, 0.0), out)
    return out


def moved_on(recent: Array, newest: npt.NDArray[np.floating], valid: Bools) -> Array:
    """Recent dates (n - 1, ..., pixel) with the newest (..., pixel) in the place of the first, where it is valid."""
    moved = np.concatenate([recent, newest[None].astype(np.float32)])[1:]
    return np.where(valid, moved, recent)


def _alike(one: Floats, two: Floats) -> Floats:
    """How far two dates agree (pixel), of residuals (B, pixel); NaN where one is not there."""
    squares = (one**2).mean(axis=0), (two**2).mean(axis=0)
    shorter, longer = np.minimum(*squares), np.maximum(*squares)
    # no more is asked of the direction: noise turns a residual of few deviations, and a weak change would wait for it
    other = ((one * two).sum(axis=0) <= 0) | (longer > APART**2 * shorter)
    return np.asarray(np.where(other, 0.0, shorter))


def step(
    memory: dict[str, Array],
    white: Floats,
    residual: Floats,
    valid: Bools,
    day: float,
    keep: tuple[int, int],
    threshold: float,
) -> tuple[dict[str, Array], Floats]:
    """(memory with a date more, agreement (pixel), NaN where invalid)."""
    (k, n), (bands, pixels) = keep, white.shape
    recent, days, marks = (
        memory["recent"].reshape(n - 1, bands, pixels),
        memory["recent_day"],
        memory["recent_mark"],
    )
    best, first = agreement(recent, days, white, k, day)
    alarm = valid & (best >= threshold)
    high = (white**2).mean(axis=0) >= threshold
    out = dict(memory)
    # the first alarm of a pixel is its change; later ones move `last` and, where they are higher, the peak
    began = alarm & (memory["confirmed"][0] == 0)
    risen = alarm & (best > memory["peak"][0])

    def put(name: str, where: Bools, value: npt.ArrayLike) -> None:
        out[name] = np.where(where, np.asarray(value, np.float32), out[name])

    put("first", began, first)
    put("confirmed", began, day)
    put("last", alarm, day)
    put("peak", risen, best)
    put("peak_day", risen, day)
    put("magnitude", risen, residual)
    # from the alarm on each valid date either holds it or does not
    standing = valid & (out["confirmed"][0] > 0)
    put("seen", standing, out["seen"] + 1)
    put("held", alarm, out["held"] + 1)
    if n > 1:
        # dates that the newest agrees with are part of a change; one that leaves unconfirmed stood alone
        part = np.stack([_alike(old, white) for old in recent.astype(np.float64)])
        marks = np.where(alarm & (part >= threshold) & (marks == HIGH), np.float32(AGREED), marks)
        put("spikes", valid & (marks[0] == HIGH), out["spikes"] + 1)
        mark = np.where(alarm, AGREED, np.where(high, HIGH, PASSED)).astype(np.float32)
        out["recent_mark"] = moved_on(marks, mark, valid)
        out["recent_day"] = moved_on(days, np.full(pixels, day), valid)
        out["recent"] = moved_on(recent, white, valid).reshape(-1, pixels)
    return out, np.where(valid, best, np.nan)
