"""GeoTIFF, BigTIFF and COG: the first page, all bands on one grid; what would lead GDAL to other files is refused."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import grd, raster
from satae.scene.source import Pixels, Source
from satae.scene.tags import GDAL_METADATA, GDAL_NODATA, MAX_TEXT, layout, text_tags

DRIVER = "GTiff"
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def matches(path: Path, head: bytes) -> bool:
    """Whether the file begins as TIFF and BigTIFF do, whatever its name."""
    return head.startswith(MAGIC)


def describe(path: Path, span: tuple[int, int] | None = None) -> Source:
    """Grid, bands and masks as the file states them; a nodata tag that is no number is left out, with a remark.

    With `span` the file is that part of another, such as an archive.
    """
    # before GDAL sees the file
    tags = _harmless(path, span)
    with raster.open_raster(path, DRIVER, span=span) as file:
        found = Source(path, file.grid(), file.bands(), file.block, file.overviews)
        title = file.title
    if span:
        found = replace(found, span=span, reader="geotiff")
    # the text itself, for GDAL gives a number in any case
    text, remarks = tags.get(GDAL_NODATA), _passed_over(path, found)
    try:
        value = None if text is None else float(text)
    except ValueError:  # which GDAL takes for 0
        found = replace(found, bands=tuple(replace(b, nodata=None) for b in found.bands))
        value, remark = None, f"{path} declares nodata {text!r}, which is no number; ignored: pass --nodata V"
        remarks.append(remark)
    kind = np.dtype(raster.numpy_dtype(found.bands[0].dtype))
    if value is not None and kind.kind in "iu" and not _fits(value, kind):
        remarks.append(f"{path} declares nodata {text}, which {kind} cannot hold; nothing is masked by it")
    found = replace(found, remarks=tuple(remarks))
    return grd.with_facts(found) if grd.is_one(path, title) else found


def _passed_over(path: Path, source: Source) -> list[str]:
    """What GDAL reads without a word: one page of several, and blocks that are not there."""
    found, remarks = layout(path, source.span), []
    if found.pages > 1:
        remarks.append(
            f"{path} holds {found.pages} pages (TIFF directories), of which only the first is read; where they are "
            f"bands of one scene write each to a file, such as `gdal_translate GTIFF_DIR:2:{path.name} page2.tif`, and "
            "pass them all with --stack"
        )
    if found.missing and all(b.nodata is None for b in source.bands):
        remarks.append(
            f"{path} lacks {found.missing} of its {found.blocks} blocks (it is sparse), which are read as 0 and count "
            "as data; pass --nodata 0 if they are fill"
        )
    return remarks


@contextmanager
def open(source: Source, grid: Grid | None = None, *, mean: bool = False) -> Iterator[Pixels]:
    """A handle of the caller's own."""
    _harmless(source.path, source.span)
    with (
        raster.open_raster(source.path, DRIVER, span=source.span) as file,
        file.seen_on(grid, source, mean=mean) as pixels,
    ):
        yield pixels


def _harmless(path: Path, span: tuple[int, int] | None) -> dict[int, str]:
    """The text tags of a file; SceneError where they would cost much, or lead GDAL elsewhere."""
    tags = text_tags(path, span)
    metadata = tags.get(GDAL_METADATA, "")
    if len(metadata) > MAX_TEXT:
        raise SceneError(
            f"{path} holds more than {MAX_TEXT >> 20} MiB of metadata; clean it with `gdal_translate`"
        )
    # the metadata are XML: /VSI may hide as &#47;VSI
    plain = html.unescape(metadata).upper()
    if "OVERVIEW_FILE" in plain or "/VSI" in plain:
        raise SceneError(
            f"{path} refers to another file or server in its metadata; clean it with `gdal_translate`"
        )
    return tags


def _fits(value: float, kind: np.dtype[Any]) -> bool:
    limits = np.iinfo(kind)
    return np.isfinite(value) and value == int(value) and limits.min <= value <= limits.max
