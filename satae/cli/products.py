"""What `satae info` says of a product: facts for JSON, and the same as lines and small tables for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from satae.scene.products import Product
    from satae.scene.source import Band, Exclusion, Source

BANDS = {  # headings of the table, and the keys of what stands below
    "band": "name",
    "nm": "wavelength_nm",
    "GSD m": "gsd_m",
    "scale": "scale",
    "offset": "offset",
    "DN +": "added_to_dn",
    "nodata": "nodata",
    "in file": "sub_band",
    "file": "file",
}
MANY = 16  # bands that are not all named in one line
MASKS = {"mask": "role", "does not count": "rule", "band": "sub_band", "file": "file"}


def facts(product: Product) -> dict[str, Any]:
    """The description of a product, its grid as the bands that are usual give it, ready for JSON.

    Raises SceneError where those bands do not fit together.
    """
    from satae.geodesy import crs_name
    from satae.scene.alignment import common_grid

    used = [source for source, band in product.bands if band.name in product.usual]
    grid = common_grid([(str(s.path), s.grid) for s in used or [s for s, _ in product.bands]], None)
    return {
        "kind": "product",
        "path": str(product.path),
        "product": product.kind,
        "sensor": product.sensor,
        "level": product.level or None,
        "day": product.day or None,
        "baseline": product.baseline or None,
        "grid": {
            "height": grid.height,
            "width": grid.width,
            "gsd_m": grid.gsd_m,
            "crs": crs_name(grid.crs),
            "transform": list(grid.transform)[:6],
        },
        "bands": [
            {"used": band.name in product.usual} | band_facts(source, band, product.path)
            for source, band in product.bands
        ],
        "masks": [
            {"role": role, "file": _file(e.source, product.path), "sub_band": e.band, "rule": rule(e)}
            | {"values": list(e.values), "bits": _bits(e)}
            for role, masks in (("fill", product.fill), ("clouds", product.clouds))
            for e in masks
        ],
        "remarks": list(product.remarks),
    }


def band_facts(source: Source, band: Band, root: Path) -> dict[str, Any]:
    """What is known of a band of something at `root`, ready for JSON."""
    return {
        "name": band.name,
        "file": _file(source, root),
        "sub_band": band.index,
        "dtype": band.dtype,
        "wavelength_nm": band.wavelength,
        "width_nm": band.width,
        "gsd_m": source.grid.gsd_m,
        "scale": band.scale,
        "offset": band.offset,
        "added_to_dn": band.shift,
        # JSON has no NaN
        "nodata": "nan" if band.nodata is not None and math.isnan(band.nodata) else band.nodata,
        "saturated": band.saturated,
    }


def table(bands: Sequence[dict[str, Any]]) -> list[str]:
    """Facts of bands, a row each."""
    rows = [[_cell(key, band[key]) for key in BANDS.values()] for band in bands]
    return list(columns(list(BANDS), rows))


def rule(exclusion: Exclusion) -> str:
    """Which pixels of a band of classes or flags do not count."""
    words = []
    if exclusion.values:
        words.append(f"value{'s' * (len(exclusion.values) > 1)} {', '.join(map(str, exclusion.values))}")
    if bits := _bits(exclusion):
        words.append(f"bit{'s' * (len(bits) > 1)} {', '.join(map(str, bits))} set")
    return " or ".join(words)


def lines(said: dict[str, Any]) -> list[str]:
    """The facts of a product as people read them: what it is, then a table of its bands and one of its masks."""
    grid = said["grid"]
    size = "" if grid["gsd_m"] is None else f" of {grid['gsd_m']:.4g} m"
    names = [band["name"] for band in said["bands"] if band["used"]]
    used = ", ".join(names)
    top = {
        "kind": f"product, {said['product']}",
        "path": said["path"],
        **{key: said[key] for key in ("sensor", "level", "day", "baseline") if said[key]},
        "grid": f"{grid['height']} x {grid['width']} pixels{size}, {grid['crs'] or 'no CRS'}",
        "used unless asked": used if len(names) <= MANY else f"{len(names)} of {len(said['bands'])} bands",
    }
    width = max(map(len, top))
    found = [f"{key:<{width}}  {value}" for key, value in top.items()]
    found += ["", *table(said["bands"])]
    if masks := said["masks"]:
        rows = [[_cell(key, mask[key]) for key in MASKS.values()] for mask in masks]
        found += ["", *columns(list(MASKS), rows)]
    return found + [f"note: {remark}" for remark in said["remarks"]]


def columns(heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Rows below their headings; the column `file` stands once, above the table, where it is the same in all rows."""
    kept = range(len(heads))
    if len(rows) > 1:
        for i in kept:
            if heads[i] == "file" and len({row[i] for row in rows}) == 1:
                yield f"all of {rows[0][i]}:"
                kept = range(i)
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in kept]
    for row in (heads, *rows):
        yield "  ".join(f"{row[i]:<{width}}" for i, width in zip(kept, widths, strict=True)).rstrip()


def _cell(key: str, value: object) -> str:
    """A value as a table shows it; of a file its name alone, for the way to it is long and the same for all."""
    if value is None:
        return "-"
    if key == "file":
        return str(value).rpartition("/")[2]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _file(source: Source, root: Path) -> str:
    """Where a source lies in its product; the whole path of what lies elsewhere."""
    if source.member:
        return source.member
    folder = root if root.is_dir() else root.parent
    return (
        source.path.relative_to(folder).as_posix() if source.path.is_relative_to(folder) else str(source.path)
    )


def _bits(exclusion: Exclusion) -> Sequence[int]:
    return [i for i in range(exclusion.bits.bit_length()) if exclusion.bits >> i & 1]
