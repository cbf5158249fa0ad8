"""The kinds of files that scenes are read from, a file each; the first that matches reads.

A file `NAME.py` here has three functions. `matches(path, head)`: whether it reads what lies there, by name or by the
first HEAD bytes (none of a folder). `describe(path)`: a `Source`, with SceneError where it cannot be used; every
pixel is checked for what it would cost before it is read. `open(source, grid, mean)`: a context manager that gives
`Pixels` of the caller's own, on the source's grid or on another, by nearest neighbour or, with `mean`, as the mean
of what lies in a pixel. A source pickles. `raster` holds the machinery for files that GDAL reads; what is delivered
as several files is put together in `products`. Where a piece of the image costs much more than its share of the file, a
file here has `unpack(source, folder)` too: the same pixels in a new file without that, or None. Where GDAL finds pixels
under other names, or not in their place, it has `place(source, number)`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from satae.choices import Choices
from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import raster
from satae.scene.readers import geotiff, jp2
from satae.scene.source import Pixels, Source, stamp

HEAD = 64  # bytes of a file by which it is known
OTHERS = (
    (b"", "is empty"),
    (b"version https://git-lfs", "is a git-lfs pointer; run `git lfs pull` to get the file itself"),
    (b"<GDAL_WMS", "is a WMS description, not an image; download the scene as a GeoTIFF first"),
    (b"<!DOCTYPE", "is a web page or XML, not an image; the download may have failed"),
    (b"<html", "is a web page, not an image; the download may have failed"),
    (b"<HTML", "is a web page, not an image; the download may have failed"),
    (b"<?xml", "is XML, not an image"),
    (b"\x1f\x8b", "is gzip; unpack it first"),
    (b"PK\x03\x04", "is a zip archive; unpack it first"),
    (b"SQLite format 3", "is a database such as a GeoPackage, not an image; vector files are for --aoi"),
    (b"\x93NUMPY", "is an array of numpy without a position; name the scene that it was made of"),
    (b"fgb\x03fgb", "is a vector file, not an image; vector files are for --aoi"),
    (b"PAR1", "is Parquet, not an image; vector files are for --aoi"),
    (b"%PDF", "is a PDF, not an image"),
    (
        b"\x89HDF",
        "is HDF5 or netCDF, no product of EMIT (L2A) or PRISMA (L2D) and no variables over (time, y, x); convert the "
        "dataset you need",
    ),
    (b"\x89PNG", "is a PNG without georeference; convert it with `gdal_translate`"),
    (b"\xff\xd8\xff", "is a JPEG without georeference; convert it with `gdal_translate`"),
)  # the start of files that nothing reads, and what to say of them


class FileReader(Protocol):
    """The three functions of each file of this folder; see above."""

    def matches(self, path: Path, head: bytes) -> bool: ...
    def describe(self, path: Path) -> Source: ...
    def open(
        self, source: Source, grid: Grid | None = None, *, mean: bool = False
    ) -> AbstractContextManager[Pixels]: ...


READERS = Choices.of(__name__, __path__, "reader", "reader")


def source(path: Path, member: str = "", span: tuple[int, int] | None = None) -> Source:
    """What a file, a JPEG 2000 file in an archive, or a GeoTIFF that is the `span` of a file, says of itself.

    SceneError where it is no file on this machine, or none that can be used.
    """
    # before it is read: a change meanwhile must be noticed
    now = stamp(path)
    if span:
        found = geotiff.describe(path, span)
    else:
        found = jp2.describe(path, member) if member else _of(path).describe(path)
    # a header may be named, and the pixels lie beside it
    return replace(found, stamp=now if found.path == path else stamp(found.path))


def open_pixels(
    source: Source, grid: Grid | None = None, *, mean: bool = False
) -> AbstractContextManager[Pixels]:
    """The pixels of a source for one thread, on its own grid or on another by nearest neighbour or mean."""
    if source.reader:
        reader = cast(FileReader, READERS.module(source.reader))
    else:
        reader = cast(FileReader, jp2) if source.member else _of(source.path)
    source.check_stamp()
    return reader.open(source, grid, mean=mean)


def place(source: Source, number: int) -> tuple[str, int] | None:
    """Under which name in its file GDAL finds a band, empty where under none, and the number that it has there.

    None where GDAL would put it elsewhere than `open_pixels` does. Of a `span` the name is not known.
    """
    own = None if source.member or source.span else getattr(_of(source.path), "place", None)
    return own(source, number) if own else (source.member, number)


def own_scale(source: Source, number: int) -> tuple[float, float]:
    """The scale and offset that a file declares for a band, as GDAL knows them: of a product others may be known."""
    driver = geotiff.DRIVER if source.span else jp2.DRIVER if source.member else ""
    if not (driver := driver or getattr(_of(source.path), "DRIVER", "")):
        band = source.bands[number - 1]
    else:
        with raster.open_raster(source.path, driver, source.member, source.span) as file:
            band = file.bands()[number - 1]
    return band.scale, band.offset


def unpack(source: Source, folder: Path) -> Source:
    """The source in a new file where that is read faster, else as it is; DamageError where it is damaged."""
    own = getattr(_of(source.path), "unpack", None)
    return (own and own(source, folder)) or source


def _of(path: Path) -> FileReader:
    """The reader of a file; SceneError says what a file is that none reads."""
    head = _head(path)
    for name in READERS.names:
        reader = cast(FileReader, READERS.module(name))
        if reader.matches(path, head):
            return reader
    if path.is_dir() and path.suffix.upper() == ".SAFE":
        raise SceneError(
            f"{path} lacks its metadata, such as MTD_MSIL2A.xml; download it again, or name its images with --stack"
        )
    if path.is_dir():
        raise SceneError(
            f"{path} is a folder, and of no product that satae knows; name the GeoTIFF files in it"
        )
    for magic, meaning in OTHERS:
        if head == magic or (magic and head.lstrip().startswith(magic)):
            raise SceneError(f"{path} {meaning}")
    if kind := _text_kind(head):
        raise SceneError(f"{path} is not a GeoTIFF but {kind}; name the image itself")
    raise SceneError(
        f"{path} is not a GeoTIFF; where GDAL reads it, convert it with `gdal_translate in out.tif`"
    )


def _text_kind(head: bytes) -> str:
    """What text is called that is no image, empty for what is no text."""
    # a character may be cut at the end
    text = head.decode("utf-8", "ignore")
    if len(text.encode()) < len(head) - 3 or not all(c.isprintable() or c.isspace() for c in text):
        return ""
    return "JSON" if text.lstrip().startswith(("{", "[")) else "text"


def _head(path: Path) -> bytes:
    """The first bytes of a file, none of a folder; SceneError where it is neither, or not on this machine."""
    text = str(path)
    if "://" in text or text.startswith(("/vsi", "<", "vrt:", "GTIFF_")) or ":/" in text:
        raise SceneError(f"{text!r} is not a file on this machine; download the scene first")
    try:
        text.encode()
        if path.is_dir():
            return b""
        if not path.exists():
            raise SceneError(f"{path} does not exist")
        if not path.is_file():
            raise SceneError(f"{path} is not a regular file")
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise SceneError(f"{path} has a name that is not UTF-8; rename it") from error
