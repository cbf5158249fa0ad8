"""JPEG 2000: one file of one band or more, in an archive too; what a product says beyond it is read with that.

A file named as Sentinel-2 names them is the band that it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from satae.grid import Grid
from satae.scene import msi, raster
from satae.scene.source import Pixels, Source

DRIVER = "JP2OpenJPEG"
MAGIC = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")  # a file, a bare code stream


def matches(path: Path, head: bytes) -> bool:
    """Whether the file begins as JPEG 2000 does, whatever its name."""
    return head.startswith(MAGIC)


def describe(path: Path, member: str = "") -> Source:
    """Grid and bands as the file, or a member of an archive, states them; it has no means to declare nodata."""
    with raster.open_raster(path, DRIVER, member) as file:
        bands = file.bands()
        # of a product of Sentinel-2 the metadata say more
        if len(bands) == 1 and (name := msi.band_of(path.name)):
            bands = (msi.with_facts(bands[0], name),)
        return Source(path, file.grid(), bands, file.block, file.overviews, member=member, slow=True)


@contextmanager
def open(source: Source, grid: Grid | None = None, *, mean: bool = False) -> Iterator[Pixels]:
    """A handle of the caller's own."""
    with (
        raster.open_raster(source.path, DRIVER, source.member) as file,
        file.seen_on(grid, source, mean=mean) as pixels,
    ):
        yield pixels
