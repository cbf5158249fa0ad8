"""ENVI: raw pixels and a header of text beside them, named by either, with wavelengths, bad bands and scale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import raster, wavelengths
from satae.scene.source import Band, Pixels, Source

DRIVER = "ENVI"
MAGIC = b"ENVI"
DATA = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin")  # endings of what a header may describe
OTHERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", b"\x89HDF")
MAX_HEADER = 4 << 20  # bytes
LARGEST_UM = 100.0  # a wavelength below that, in no stated unit, is in micrometres


def matches(path: Path, head: bytes) -> bool:
    """Whether it is a header, or lies beside one."""
    if head.lstrip().startswith(MAGIC):
        return True
    # a header beside says nothing of a file that says itself what it is
    return bool(head) and not head.startswith(OTHERS) and _header_of(path) is not None


def describe(path: Path) -> Source:
    """Grid and bands as the header states them; SceneError where header and pixels do not belong together."""
    header, data = _both(path)
    said = _fields(header)
    with raster.open_raster(data, DRIVER) as file:
        found = Source(data, file.grid(), file.bands(), file.block)
    _check_size(data, said, found)
    bands = _named(found.bands, said)
    source = replace(found, bands=tuple(bands))
    if not any(b.good for b in bands):
        raise SceneError(f"{header} marks all {len(bands)} bands as bad (bbl); choose some with --bands")
    return replace(source, remarks=wavelengths.left_out(bands, f"{header} marks", "as bad (bbl)"))


@contextmanager
def open(source: Source, grid: Grid | None = None, *, mean: bool = False) -> Iterator[Pixels]:
    """A handle of the caller's own."""
    with raster.open_raster(source.path, DRIVER) as file, file.seen_on(grid, source, mean=mean) as pixels:
        yield pixels


def _header_of(path: Path) -> Path | None:
    """The header beside a file of pixels: NAME.img.hdr or NAME.hdr."""
    for header in (path.with_name(f"{path.name}.hdr"), path.with_suffix(".hdr")):
        if header != path and header.is_file():
            with header.open("rb") as file:
                if file.read(64).lstrip().startswith(MAGIC):
                    return header
    return None


def _both(path: Path) -> tuple[Path, Path]:
    """Header and pixels, of which one is named."""
    header = _header_of(path)
    if header is not None:
        return header, path
    stem = path.with_suffix("")
    beside = [stem.with_name(stem.name + ending) for ending in DATA]
    for data in (*beside, *(p.with_suffix(p.suffix.upper()) for p in beside if p.suffix)):
        if data.is_file() and data != path:
            return path, data
    raise SceneError(
        f"{path} is an ENVI header and the pixels that it describes are not beside it; put {stem.name} there"
    )


def _fields(header: Path) -> dict[str, str]:
    """What a header states, by lower-case name; lists keep their braces."""
    if header.stat().st_size > MAX_HEADER:
        raise SceneError(f"{header} is larger than the limit of {MAX_HEADER >> 20} MiB for a header")
    text = header.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^\s*([^=\n{}]+?)\s*=\s*(\{[^}]*\}|[^\n]*)", text, flags=re.MULTILINE)
    return {" ".join(name.lower().split()): value.strip() for name, value in found}


def _list(text: str | None, count: int) -> list[str] | None:
    """The items of a list in braces; None where there are not as many as bands."""
    items = [] if text is None else [item.strip() for item in text.strip("{} \n").split(",")]
    return items if len(items) == count else None


def _numbers(text: str | None, count: int) -> list[float] | None:
    try:
        items = _list(text, count)
        return None if items is None else [float(item) for item in items]
    except ValueError:
        return None


def _check_size(data: Path, said: dict[str, str], source: Source) -> None:
    """Raw pixels that end early would be read as zeros."""
    kind = np.dtype(raster.numpy_dtype(source.bands[0].dtype))
    skipped = said.get("header offset", "0")
    needed = source.grid.pixels * len(source.bands) * kind.itemsize + (
        int(skipped) if skipped.isdigit() else 0
    )
    size = data.stat().st_size
    if size < needed and said.get("file compression", "0") in ("", "0"):
        raise SceneError(
            f"{data} holds {size} bytes and its header describes {needed}; the file may be half copied"
        )


def _named(bands: tuple[Band, ...], said: dict[str, str]) -> list[Band]:
    """The bands with names, wavelengths in nanometres, scale, and whether they are bad."""
    # lists that are not of one item a band are left out: they say something of other bands
    count = len(bands)
    names = _list(said.get("band names"), count)
    waves, widths = (_numbers(said.get(key), count) for key in ("wavelength", "fwhm"))
    unit = said.get("wavelength units", "").lower()
    factor = wavelengths.UNITS.get(unit)
    if factor is None and waves and unit in ("", "unknown"):
        factor = 1e3 if max(waves) < LARGEST_UM else 1.0
    if factor is None:
        waves = widths = None
    good = _numbers(said.get("bbl"), count)
    try:
        scale = 1 / float(said["reflectance scale factor"])
    except (KeyError, ValueError, ZeroDivisionError):
        scale = 1.0
    made = []
    for i, band in enumerate(bands):
        nm = None if waves is None or factor is None else round(waves[i] * factor, 3)
        name = names[i] if names else wavelengths.name(nm)
        made.append(
            replace(
                band,
                name=name,
                scale=scale if scale != 1 else band.scale,
                wavelength=nm,
                width=None if widths is None or factor is None else round(widths[i] * factor, 3),
                good=good is None or good[i] != 0,
            )
        )
    return made
