"""What the directories of a TIFF file hold, read before GDAL sees it: three text tags, and what GDAL passes over.

GDAL takes a nodata text that is no number for 0, follows a metadata item to files elsewhere, reads the first page of
several, and gives blocks that are not stored as 0. Not a TIFF reader: a few tags, and bounded reads.
"""

from __future__ import annotations

import html
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

DATE_TIME = 306
GDAL_METADATA = 42112
GDAL_NODATA = 42113
MAX_TEXT = 2**20
MAX_BLOCKS = 2**24  # bytes of a table of blocks
MAX_ENTRIES = 65535
MAX_PAGES = 1024  # as many as a scene may have bands
KIND, STRIP_BYTES, TILE_BYTES = 254, 279, 325
OVERVIEW, MASK = 1, 4  # bits of KIND
WIDTHS = {3: 2, 8: 2, 4: 4, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes of a TIFF type, 1 where not listed
BROKEN = (struct.error, OSError, ValueError, OverflowError)


@dataclass(frozen=True)
class Layout:
    """How many `pages` a file has, overviews and masks apart; how many `blocks` the first has, and `missing` ones."""

    pages: int = 1
    blocks: int = 0
    missing: int = 0


class Part:
    """A part of an open file as a file of its own, which reads no further."""

    def __init__(self, file: BinaryIO, span: tuple[int, int]) -> None:
        self._file, (self._first, self._size), self._at = file, span, 0

    def seek(self, at: int) -> None:
        """Go to a byte of the part."""
        self._at = at

    def read(self, size: int) -> bytes:
        """So many bytes from there, fewer at the end of the part."""
        self._file.seek(self._first + self._at)
        found = self._file.read(max(0, min(size, self._size - self._at)))
        self._at += len(found)
        return found


def text_tags(path: Path, span: tuple[int, int] | None = None) -> dict[int, str]:
    """Texts of GDAL_METADATA, GDAL_NODATA and DATE_TIME in the first directory; empty where the structure is broken.

    A text of more than MAX_TEXT bytes is cut behind the first byte too many.
    """
    texts: dict[int, str] = {}
    try:
        with path.open("rb") as whole:
            file = Part(whole, span) if span else whole
            for tag in next(_directories(file)):
                if tag.number in (GDAL_METADATA, GDAL_NODATA, DATE_TIME):
                    # libtiff takes a text stored as wider integers too, so zero bytes say nothing
                    text = tag.content(file, MAX_TEXT + 1).replace(b"\0", b"").decode("latin-1")
                    texts[tag.number] = texts.get(tag.number, "") + text
    except (*BROKEN, StopIteration):
        return {}
    return texts


def note(path: Path, name: str) -> str | None:
    """The text that a file's metadata note under a name, None where they do not."""
    metadata = text_tags(path).get(GDAL_METADATA, "")
    found = re.search(rf'<Item name="{re.escape(name)}">(.*?)</Item>', metadata, re.DOTALL)
    # GDAL escapes a value, and the XML that it puts it into once more
    return None if found is None else html.unescape(html.unescape(found[1]))


def layout(path: Path, span: tuple[int, int] | None = None) -> Layout:
    """Pages and blocks of a file, as far as its structure is whole."""
    pages = blocks = missing = 0
    try:
        with path.open("rb") as whole:
            file = Part(whole, span) if span else whole
            for directory in _directories(file):
                tags = {tag.number: tag for tag in directory}
                kind = tags[KIND].numbers(file) if KIND in tags else np.zeros(1, int)
                if not pages and (table := tags.get(TILE_BYTES) or tags.get(STRIP_BYTES)):
                    sizes = table.numbers(file)
                    blocks, missing = len(sizes), int((sizes == 0).sum())
                pages += not int(kind[0]) & (OVERVIEW | MASK)
    except (*BROKEN, IndexError):
        pass
    return Layout(max(1, pages), blocks, missing)


@dataclass(frozen=True)
class _Tag:
    """An entry of a directory: `length` bytes of type `kind`, in the entry itself where they fit, else behind."""

    number: int
    kind: int
    length: int
    value: bytes
    order: str

    def content(self, file: BinaryIO | Part, limit: int) -> bytes:
        """Its bytes, at the most `limit`."""
        if self.length > len(self.value):
            file.seek(struct.unpack(self.order + ("Q" if len(self.value) == 8 else "I"), self.value)[0])
            return file.read(min(self.length, limit))
        return self.value[: self.length]

    def numbers(self, file: BinaryIO | Part) -> npt.NDArray[Any]:
        """Its unsigned integers, as many as MAX_BLOCKS bytes hold."""
        width = WIDTHS.get(self.kind, 1)
        content = self.content(file, MAX_BLOCKS)
        return np.frombuffer(content[: len(content) // width * width], f"{self.order}u{width}")


def _directories(file: BinaryIO | Part) -> Iterator[list[_Tag]]:
    """The tags of each directory, in the order of the chain; one that leads back to itself ends."""
    head = file.read(16)
    # II little-endian, MM big-endian; 43 is BigTIFF, with offsets of 8 bytes
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    # format of the entry count, of an entry (tag, type, count, value or offset), and of an offset
    count_format, entry_format, offset_format = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    size = struct.calcsize(order + entry_format)
    (start,) = struct.unpack_from(order + offset_format, head, 8 if big else 4)
    seen: set[int] = set()
    while start and start not in seen and len(seen) < MAX_PAGES:
        seen.add(start)
        file.seek(start)
        (entries,) = struct.unpack(order + count_format, file.read(struct.calcsize(order + count_format)))
        # bounded whatever the count says: the file may be made up
        table = file.read(size * min(entries, MAX_ENTRIES))
        behind = file.read(struct.calcsize(order + offset_format))
        yield [
            _Tag(number, kind, count * WIDTHS.get(kind, 1), value, order)
            for number, kind, count, value in struct.iter_unpack(order + entry_format, table)
        ]
        (start,) = struct.unpack(order + offset_format, behind)
