"""GeoJSON of before 2016 may name a server that says what its CRS is, and GDAL asks it: looked for before GDAL does."""

from __future__ import annotations

import re
from pathlib import Path

from satae.errors import SceneError

# "crs": {"type": "link", "properties": {"href": ...}}, in any order of both
LINK = re.compile(rb'"crs"\s*:\s*\{(?:[^{}"]|"[^"]*"|\{[^{}]*\})*?"type"\s*:\s*"(link|url)"', re.IGNORECASE)
ESCAPED = re.compile(rb"\\u00([0-7][0-9a-f])", re.IGNORECASE)


def check_links(path: Path) -> None:
    """SceneError where a file is JSON and takes its CRS from elsewhere."""
    with path.open("rb") as file:
        if not file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
            return
        file.seek(0)
        text = file.read()
    # a letter may be written by its number
    if b"\\u00" in text:
        text = ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text)
    if LINK.search(text):
        raise SceneError(
            f"{path} takes its CRS from a server, which is not asked; write it anew, such as with `ogr2ogr -a_srs`"
        )
