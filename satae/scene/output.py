"""GeoTIFF files that satae writes, plain ones window by window and cloud-optimised ones from those."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.errors import OutputError
from satae.grid import Grid, Window
from satae.scene import raster
from satae.scene.raster import FAILURES, cause
from satae.scene.stream import side_at_once
from satae.scene.wavelengths import to_tags

# after raster, which settles what GDAL may do
import rasterio  # isort: skip
import rasterio.shutil  # isort: skip

HEAT = "heat (-log10 p)"  # what the band of a heatmap is called


@contextmanager
def writing(
    path: Path, grid: Grid, *, bands: int = 1, dtype: str = "float32", nodata: float | None = None, name: str = "",
    side: int | None = None,
) -> Iterator[Output]:  # fmt: skip
    """A new GeoTIFF in blocks of 256 pixels a side, of many bands fewer, or of `side`, compressed.

    OutputError where GDAL says that it failed.

    An error calls it by `name`, since that of a draft means nothing to the user. GDAL does not always say so: a full
    disk goes unnoticed. Read back what matters with `verify`.
    """
    # all bands of a block are read together, and must fit into one read
    side = side or side_at_once(bands * np.dtype(dtype).itemsize)
    tiled = grid.height >= side and grid.width >= side
    layout: dict[str, Any] = {"tiled": True, "blockxsize": side, "blockysize": side} if tiled else {}
    try:
        with raster.quietly():
            dataset = rasterio.open(
                path, "w", driver="GTiff", height=grid.height, width=grid.width, count=bands, dtype=dtype,
                crs=grid.crs, transform=grid.transform, nodata=nodata, compress="zstd", zstd_level=1,
                predictor=3 if np.dtype(dtype).kind == "f" else 2, bigtiff="IF_SAFER",
                interleave="band", photometric="MINISBLACK", alpha="NO", sparse_ok=False, **layout,
            )  # fmt: skip
        with dataset:
            yield Output(dataset)
    except FAILURES as error:
        raise OutputError(
            f"{name or path.name} could not be written ({cause(error)}); is the disk full?"
        ) from error


class Output:
    """An open GeoTIFF that is being written."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def write(self, image: npt.NDArray[Any], window: Window) -> None:
        """Put (band, row, col) pixels at a window."""
        self._dataset.write(image, window=raster.gdal_window(window))

    def write_mask(self, valid: npt.NDArray[np.bool_], window: Window | None = None) -> None:
        """Give the file an internal mask, whole or window by window."""
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            self._dataset.write_mask(valid, window=None if window is None else raster.gdal_window(window))

    def name(self, bands: Sequence[str]) -> None:
        """Name the bands."""
        for i, text in enumerate(bands, 1):
            self._dataset.set_band_description(i, text)

    def note(self, **texts: str) -> None:
        """Note texts in the file's metadata, each under its name."""
        self._dataset.update_tags(**texts)

    def declare(self, scales: Sequence[float], offsets: Sequence[float]) -> None:
        """State by what DN become a quantity: DN times scale and offset added, a number a band."""
        self._dataset.scales, self._dataset.offsets = tuple(scales), tuple(offsets)

    def tune(self, wavelengths: Sequence[float | None], widths: Sequence[float | None]) -> None:
        """State wavelengths and widths in nanometres, a number or None a band."""
        for i, (nm, width) in enumerate(zip(wavelengths, widths, strict=True), 1):
            if tags := to_tags(nm, width):
                self._dataset.update_tags(i, ns="IMAGERY", **tags)


def to_cog(source: Path, target: Path, name: str = "", side: int = 512) -> None:
    """Copy a GeoTIFF to a cloud-optimised one with averaged overviews, in blocks of `side` pixels.

    GDAL does it in one call that no signal ends, so it runs in a thread that an interrupt leaves behind.
    """
    failures: list[BaseException] = []

    def copy() -> None:
        try:
            rasterio.shutil.copy(
                source, target, driver="COG", compress="ZSTD", level=9, predictor="YES",
                overview_resampling="AVERAGE", bigtiff="IF_SAFER", num_threads="1",
                blocksize=str(side),
            )  # fmt: skip
        except BaseException as error:
            failures.append(error)

    # daemon: an interrupted process does not wait for it
    worker = threading.Thread(target=copy, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(0.1)
    for error in failures:
        if isinstance(error, FAILURES):
            text = f"{name or target.name} could not be written ({cause(error)}); is the disk full?"
            raise OutputError(text) from error
        raise error
