"""False alarms of `satae series` over those promised, on halves of a place's history that did not set the threshold.

    python benchmarks/promises.py FOLDER 2018-03-31

The dates up to the day are history. It is held out in parts as when thresholds are set; a threshold from one half of
the place is counted on the other: left and right, then top and bottom, each both ways, for several `--far`. All that is
in the history counts as false, what really changed in it too.
"""

import sys
from pathlib import Path

import numpy as np

from satae.bench import place, series
from satae.grid import Window
from satae.inference import calibrate
from satae.scene.describe import describe
from satae.series import calibration, dates
from satae.series.learning import Options

FARS = 1.0, 3.0, 10.0, 30.0


def table(folder: Path, last: str) -> list[str]:
    """A line for each cut and `--far`: alarms of both halves, and what was promised of them."""
    scenes = [describe([p]) for p in sorted(folder.glob("*.tif"))]
    history = (-np.inf, float(dates.day_of_text(last, "LAST-DAY")))
    ground = place.ground(scenes, [dates.day_of(s) for s in scenes], Options(history=history), 1.0)
    found, days = place.ours(ground)[0], ground.days[ground.past]
    height, width = ground.steady.shape
    whole = Window(0, 0, height, width)
    halves = {
        "left and right": (
            Window(0, 0, height, width // 2),
            Window(0, width // 2, height, width - width // 2),
        ),
        "top and bottom": (
            Window(0, 0, height // 2, width),
            Window(height // 2, 0, height - height // 2, width),
        ),
    }
    lines = []
    for cut, (one, two) in halves.items():
        for far in FARS:
            alarms, promised = [], []
            for half, other in ((one, two), (two, one)):
                threshold = _threshold(ground, _inside(found, half, width), half, far)
                when = series.alarm_dates(found, threshold).reshape(height, width)
                counted = np.full_like(when, -1)
                counted[other.slices(whole)] = when[other.slices(whole)]
                alarms.append(series.regions(ground, counted.ravel(), days)[0])
                promised.append(far * other.height * other.width * ground.pixel_km2 * ground.history_years)
            said = ", ".join(f"{a} of {p:.1f}" for a, p in zip(alarms, promised, strict=True))
            lines.append(f"{cut}, --far {far:g}: {said} promised, {sum(alarms) / sum(promised):.2f}")
    return lines


def _inside(values: place.Floats, part: Window, width: int) -> place.Floats:
    """(date, pixel) of a part, of all of the ground."""
    height = values.shape[1] // width
    there = (slice(None), *part.slices(Window(0, 0, height, width)))
    return values.reshape(-1, height, width)[there].reshape(len(values), -1)


def _threshold(ground: place.Ground, found: place.Floats, part: Window, far: float) -> float:
    """What a part would have as its threshold, by the tool's own calibration."""
    days = ground.days[ground.past]
    # dates a year as the bench counts them, so that both speak of the same years
    a_year = len(days) / ground.history_years
    area = ground.pixel_km2 * 1e6
    side = calibration.block_side(area, found.shape[1], far, len(days), a_year)
    where = calibration.layout([part], side, area)
    tail = calibrate.fit(calibration.reached_by(found, days, where, ground.options.least))
    promise = calibration.Promise(tail, tail, where.km2, len(days), ground.calm)
    return promise.threshold(far, a_year)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("python benchmarks/promises.py FOLDER LAST-DAY-OF-HISTORY")
    print("\n".join(table(Path(sys.argv[1]), sys.argv[2])))
