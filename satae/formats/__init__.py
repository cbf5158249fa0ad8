"""Formats that regions are written in, one file each; the suffix of `--out` chooses one.

A file `NAME.py` here has a function `write(path, name, scenes, created)`: it writes one new file at `path` from
finished records; `name` is what the file will be called, for messages and references, `created` the time to
record (ISO 8601). Checking the target, staging, syncing and renaming are done around it. A line in FORMATS says
when it is used. A format of one layer holds the anomalies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from satae.errors import ConfigError
from satae.formats import flatgeobuf, geojson, geoparquet, gpkg
from satae.gis.layers import SceneLayer

Writer = Callable[[Path, str, Sequence[SceneLayer], str], None]
Check = Callable[[str | None], None]


@dataclass(frozen=True)
class Format:
    """How a kind of file is written.

    `check` is given the CRS of the result (WKT or None) before any work is done, and raises ConfigError where
    `write` would fail with it, or for want of a library.
    """

    write: Writer
    media_type: str
    check: Check = lambda crs: None


FORMATS: dict[str, Format] = {
    ".gpkg": Format(gpkg.write, "application/geopackage+sqlite3"),
    ".geojson": Format(geojson.write, "application/geo+json", geojson.check),
    ".parquet": Format(geoparquet.write, "application/vnd.apache.parquet", geoparquet.check),
    ".fgb": Format(flatgeobuf.write, "application/vnd.flatgeobuf"),
}


# other suffixes of the formats, and what is written here in their place
MEANT = {
    ".json": ".geojson",
    ".geoparquet": ".parquet",
    ".pq": ".parquet",
    ".flatgeobuf": ".fgb",
    ".shp": ".gpkg",
}


def format_of(out: Path, crs: str | None) -> Format:
    """The format of a file by its name, for a result in `crs`; ConfigError where there is none or it does not suit."""
    found = FORMATS.get(out.suffix.lower())
    if found is None:
        meant = MEANT.get(out.suffix.lower())
        hint = f"; for that pass --out {out.with_suffix(meant)}" if meant else ""
        raise ConfigError(
            f"--out {out}: no format has the suffix {out.suffix!r}; there are {', '.join(FORMATS)}{hint}"
        )
    found.check(crs)
    return found
