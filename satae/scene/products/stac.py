"""STAC items whose assets are files beside them: bands by common names, masks by role, offsets as pixels have them.

An item of several in one file is PATH#ID. Assets on servers are fetched beforehand by `satae.fetch`; here no connection
is ever made.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from satae.errors import SceneError
from satae.scene import items, raster, readers
from satae.scene.dark_end import OFFSET, holds_offset
from satae.scene.items import Asset, Item
from satae.scene.products import Product, landsat, sentinel2
from satae.scene.source import Band, Exclusion, Source

HLS_CLOUDED = 1 << 1 | 1 << 2 | 1 << 3  # of Fmask: cloud, adjacent to cloud, shadow
UNIT = 1e-4  # reflectance of a DN of Sentinel-2
TELLING = (
    "red",
    "green",
    "nir",
    "B04",
    "B03",
    "B08",
)  # bands with little light of the air in them, darkest first

log = logging.getLogger(__name__)


def matches(path: Path) -> bool:
    """Whether it is the JSON of an item or a collection of them, a table of items, or one of these items."""
    return items.holds_items(path)


def product(path: Path) -> Product:
    """The bands whose files are here, with what the item says that the files do not; SceneError where none is."""
    item = items.item(path)
    here = [(asset, file) for asset in item.images if (file := local(item, asset)) is not None]
    if not here:
        raise SceneError(_nothing_here(item))
    remarks: list[str] = []
    opened = {asset: _opened(item, asset, file, remarks) for asset, file in here}
    opened = _without_offset(item, opened, remarks)
    # by the files: what an item says of their GSD only tells which to fetch
    finest = items.finest([(a, abs(source.grid.transform.a)) for a, source in opened.items()])
    fill, clouds = _masks(item, remarks)
    day = item.properties.get("datetime") or item.properties.get("start_datetime") or ""
    return Product(
        path=path,
        name=re.sub(r"[^\w.-]+", "_", item.id).strip("._-") or "item",
        kind=f"STAC item of {_text(item, 'platform', 'constellation', 'collection') or 'an unnamed platform'}",
        day=str(day)[:10],
        bands=tuple((source, band) for source in opened.values() for band in source.bands if _is_data(band)),
        usual=tuple(b.name for asset in finest for b in opened[asset].bands if _is_data(b)),
        fill=tuple(fill),
        clouds=tuple(clouds),
        baseline=_text(item, "s2:processing_baseline", "processing:version"),
        remarks=tuple(remarks),
    )


def local(item: Item, asset: Asset) -> Path | None:
    """The file of an asset in the folder of its item; None where it is on a server or not there.

    SceneError where it lies outside of that folder: an item from elsewhere has no business in other files.
    """
    if asset.is_remote:
        return None
    href = asset.href.removeprefix("file://")
    folder = item.path.absolute().parent.resolve()
    # as it stands first, for a file may have % in its name
    for name in (href, unquote(href)):
        file = Path(folder, name).resolve()
        if not file.is_relative_to(folder):
            raise SceneError(
                f"asset {asset.key} of {item.path} lies at {href}, outside of the folder of the item; put them together"
            )
        if file.is_file():
            return item.path.parent / file.relative_to(folder)
    return None


def _nothing_here(item: Item) -> str:
    if any(a.is_remote for a in item.images):
        return f"the assets of {item.path} are on a server; `satae tile --allow-network` fetches them"
    if item.images:
        return f"{item.path} names {item.images[0].href}, which is not there; put its files beside it"
    return f"{item.path} names no GeoTIFF or JPEG 2000 file of bands among its assets"


def _is_data(band: Band) -> bool:
    return band.colour != "alpha"


def _opened(item: Item, asset: Asset, file: Path, remarks: list[str]) -> Source:
    """An asset as its file states it, and as the item does where the file is silent."""
    source = readers.source(file)
    grid = source.grid
    if asset.shape is not None and asset.shape != (grid.height, grid.width):
        remarks.append(
            f"{file} has {grid.height} x {grid.width} pixels and {item.path} says {asset.shape[0]} x {asset.shape[1]}; "
            "the file is taken as it is"
        )
    if asset.crs and grid.crs and not _agrees(asset.crs, grid.crs):
        remarks.append(f"{file} states another CRS than {item.path}, {asset.crs}; the file is taken as it is")
    stated, bands = asset.bands, []
    if len(source.bands) > 1 and [s.name for s in stated] == [asset.key]:  # of a file of many it names none
        stated = ()
    for i, band in enumerate(source.bands):
        said = stated[i] if i < len(stated) else items.Said(f"{asset.key}_{i + 1}")
        bands.append(
            replace(
                band,
                name=said.name,
                scale=band.scale if said.scale is None else said.scale,
                offset=band.offset if said.offset is None else said.offset,
                nodata=band.nodata if said.nodata is None else said.nodata,
                wavelength=band.wavelength if said.wavelength is None else said.wavelength,
                width=band.width if said.width is None else said.width,
            )
        )
    return replace(source, bands=tuple(bands))


def _agrees(code: str, crs: str) -> bool:
    # a code that GDAL does not know says nothing against the file
    known = raster.wkt(code)
    return not known or raster.same_crs(known, crs)


def _without_offset(item: Item, opened: dict[Asset, Source], remarks: list[str]) -> dict[Asset, Source]:
    """The bands of Sentinel-2 as those of a SAFE folder: the offset of baseline 04.00 taken off DN that hold it.

    Where item and pixels disagree, the pixels are believed, and a remark says so.
    """
    if not any(
        "sentinel-2" in str(item.properties.get(k, "")).lower() for k in ("platform", "constellation")
    ):
        return opened
    bands = [
        (s, b) for s in opened.values() for b in s.bands if _is_data(b) and np.dtype(b.dtype).kind in "iu"
    ]
    telling = sorted((of for of in bands if of[1].name in TELLING), key=lambda of: TELLING.index(of[1].name))
    expected = _expected(item, any(b.scale and round(b.offset / b.scale) == -OFFSET for _, b in bands))
    seen = holds_offset(telling[:3]) if expected is not None else None
    holds = bool(expected) if seen is None else seen
    if seen is not None and holds != expected:
        said, found = ("an", "have had it taken off") if expected else ("no", "hold it, and it is taken off")
        remarks.append(
            f"{item.path} states {said} offset of {OFFSET} DN, but by their dark end its pixels {found}"
        )
    # as of a SAFE folder: an offset that was taken off is none to declare, and the unit is known where none is stated
    for asset, source in opened.items():
        made = tuple(
            replace(b, scale=UNIT if b.scale == 1 else b.scale, offset=0.0, shift=-OFFSET if holds else 0)
            if (source, b) in bands
            else b
            for b in source.bands
        )
        opened[asset] = replace(source, bands=made)
    return opened


def _expected(item: Item, stated: bool) -> bool | None:
    """Whether pixels hold the offset as the item has it, whose bands have it `stated`; None before there was one."""
    baseline = _text(item, "s2:processing_baseline", "processing:version")
    known = re.match(r"\d\d\.\d\d$", baseline)
    if known and baseline < "04.00" and not stated:
        return None
    silent = all(b.offset is None for a in item.images for b in a.bands)
    # to say that it was taken off does not keep earth-search from stating it with the bands
    return (stated or bool(silent and known)) and _applied(item) is not True


def _applied(item: Item) -> bool | None:
    """What an item says of whether the offset was taken off its pixels; None where it says nothing."""
    for key, value in item.properties.items():
        if key.endswith("boa_offset_applied") and isinstance(value, bool):
            return value
    return None


def _masks(item: Item, remarks: list[str]) -> tuple[list[Exclusion], list[Exclusion]]:
    """(fill, clouds) by the masks of the item that are here and whose classes are known."""
    fill, clouds = [], []
    for asset in item.masks:
        file, key = local(item, asset), asset.key.lower()
        if file is None:
            how = "pass --allow-network to fetch it" if asset.is_remote else "put it beside the item"
            remarks.append(
                f"the mask {asset.key} of {item.path} is not here, and nothing is masked by it; {how}"
            )
            continue
        source = readers.source(file)
        if key == "scl":
            clouds.append(Exclusion(source, 1, sentinel2.CLOUDED))
        elif key == "qa_pixel":
            fill.append(Exclusion(source, bits=landsat.FILL))
            clouds.append(Exclusion(source, bits=landsat.CLOUDED))
        elif key == "fmask":
            fill.append(Exclusion(source, 1, (255,)))
            clouds.append(Exclusion(source, bits=HLS_CLOUDED))
        elif key == "udm2":
            fill += [Exclusion(source, 8, bits=1)] if len(source.bands) >= 8 else []
            clouds.append(Exclusion(source, 1, (0,)))
        elif asset.clouds:
            clouds.append(Exclusion(source, 1, asset.clouds))
    return fill, clouds


def _text(item: Item, *keys: str) -> str:
    """The first of some properties that is there."""
    return next((str(v) for k in keys if (v := item.properties.get(k))), "")
