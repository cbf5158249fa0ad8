"""The two GDAL text tags of a TIFF file, read before GDAL sees them.

GDAL takes a nodata text that is no number for 0, and follows a metadata item to files elsewhere. Not a TIFF
reader: one directory, two tags, bounded reads.
"""

from __future__ import annotations

import struct
from pathlib import Path

GDAL_METADATA = 42112
GDAL_NODATA = 42113
MAX_TEXT = 2**20
MAX_ENTRIES = 65535
WIDTHS = {3: 2, 8: 2, 4: 4, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes of a TIFF type, 1 where not listed


def text_tags(path: Path) -> dict[int, str]:
    """Texts of GDAL_METADATA and GDAL_NODATA in the first directory; empty where the structure is broken.

    A text of more than MAX_TEXT bytes is cut behind the first byte too many.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (struct.error, OSError, ValueError, OverflowError):
        return {}


def _read(file) -> dict[int, str]:  # type: ignore[no-untyped-def]
    head = file.read(16)
    # II little-endian, MM big-endian; 43 is BigTIFF, with offsets of 8 bytes
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    # format of the entry count, of an entry (tag, type, count, value or offset), and of an offset
    count_format, entry_format, offset_format = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    (start,) = struct.unpack_from(order + offset_format, head, 8 if big else 4)
    file.seek(start)
    (entries,) = struct.unpack(order + count_format, file.read(struct.calcsize(order + count_format)))
    size = struct.calcsize(order + entry_format)
    # bounded whatever the count says: the file may be made up
    directory = file.read(size * min(entries, MAX_ENTRIES))
    texts: dict[int, str] = {}
    for tag, kind, count, value in struct.iter_unpack(order + entry_format, directory):
        if tag in (GDAL_METADATA, GDAL_NODATA):
            length = count * WIDTHS.get(kind, 1)
            # what fits into the entry stands in it, the rest at an offset
            if length > len(value):
                file.seek(struct.unpack(order + offset_format, value)[0])
                value = file.read(min(length, MAX_TEXT + 1))
            # libtiff takes a text stored as wider integers too, so zero bytes say nothing
            texts[tag] = texts.get(tag, "") + value[:length].replace(b"\0", b"").decode("latin-1")
    return texts
