"""Series of one place made in code: a season, noise, and changes on known dates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from scenes import UTM

from satae.scene.describe import describe
from satae.series import dates, run

START = date(2016, 1, 5)
Change = Callable[[np.ndarray, np.ndarray], None]
BANDS = ("green", "red", "nir")


def days(count: int, every: int = 16) -> list[date]:
    """So many dates, every so many days."""
    return [START + timedelta(days=every * i) for i in range(count)]


def cube(when: list[date], side: int = 48, noise: float = 20.0, seed: int = 0) -> np.ndarray:
    """DN (date, band, row, col) of ground that varies from place to place and through the year, with noise."""
    rng = np.random.default_rng(seed)
    t = np.array([(d - START).days / 365.25 for d in when])
    base = 1500 + 200 * rng.random((3, side, side))
    swing = np.array([60, -80, 400])[:, None, None] * (1 + 0.3 * rng.random((3, side, side)))
    wave = np.sin(2 * np.pi * t)[:, None, None, None]
    return base + swing * wave + rng.normal(0, noise, (len(t), 3, side, side))


def write(
    folder: Path,
    when: list[date],
    dn: np.ndarray,
    *,
    transform: Affine = UTM,
    name: str = "S2_{:%Y%m%d}.tif",
    crs: str | None = "EPSG:32632",
    nodata: float | None = 0,
    **options: object,
) -> list[Path]:
    """A GeoTIFF a date, uint16, 0 where there is nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for moment, image in zip(when, dn, strict=True):
        path = folder / name.format(moment)
        bands, height, width = image.shape
        with rasterio.open(
            path, "w", driver="GTiff", height=height, width=width, count=bands, dtype="uint16", crs=crs,
            transform=transform, nodata=nodata, **options,
        ) as file:  # fmt: skip
            file.write(np.clip(np.rint(image), 0, 65535).astype(np.uint16))
            for i, text in enumerate(BANDS[:bands], 1):
                file.set_band_description(i, text)
        paths.append(path)
    return paths


BLOCK = slice(8, 16), slice(12, 22)  # that changes in what `scored` makes


def scored(folder: Path, *, bands: tuple[str, ...] = BANDS, **options: Any) -> Path:
    """The layers that `satae series` makes of eight dates of a season, on the last three of which two blocks changed.

    The corner is under a cloud on the last date.
    """
    when = [START + timedelta(days=365 * i) for i in range(8)]
    dn = cube(when, side=32)
    for rows, cols in (BLOCK, (slice(20, 25), slice(2, 9))):
        dn[5:, :, rows, cols] += np.array([900, 900, -900])[:, None, None]
    dn[7, :, :4, :4] = 0
    paths = write(folder / "dates", when, dn)
    for path in paths:
        with rasterio.open(path, "r+") as file:
            file.descriptions = bands
    scenes = [describe([path]) for path in paths]
    history = (-np.inf, float((when[4] - dates.EPOCH).days))
    how = run.Options(history=history, created="2024-05-06T07:08:09Z", **options)
    return run.series(scenes, [dates.day_of(s) for s in scenes], folder / "changes.gpkg", how).out
