"""STAC items, alone, in an ItemCollection or in a stac-geoparquet table: which assets hold which bands, by JSON alone.

An item of several is named by the path of the file, # and its id. Nothing is opened but that file. What is used: roles,
`eo:bands` and `raster:bands`, or `bands` of STAC 1.1, `proj:`, `file:checksum` and `classification:classes`.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from satae.errors import SceneError

MAX_BYTES = 64 << 20  # of JSON; a page of 250 items has about 15
MAX_PIXEL = 1e6  # metres
ENDS = (".json", ".geojson")
TABLE = ".parquet"
ONE_OF_SEVERAL = re.compile(r"(.+?\.(?:json|geojson|parquet))#(.+)$", re.I)
IMAGES = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff")
SHOWN = re.compile(
    r"thumbnail|overview|visual|preview|metadata|tci|^(aot|wvp|oa_.*)$|qa_(radsat|aerosol)|qa_pixel\.tif",
    re.I,
)  # roles and keys of what is no measurement of the ground
MASKS = re.compile(r"mask|cloud|quality|classification|saturation|snow-ice|land-water|water-mask", re.I)
KNOWN_MASKS = (
    "scl",
    "qa_pixel",
    "fmask",
    "udm",
    "udm2",
)  # keys of assets of classes and flags in known catalogues
CLASSES = "classification:classes"
APART = re.compile(
    "(.*_)?pan(chromatic)?$|lwir|cirrus"
)  # common names of bands that do not go with those of reflectance
LINK = re.compile(r"[a-z][a-z0-9+.-]*://\S+$", re.I)
CLOUDED = re.compile(r"cloud|cirrus", re.I)
CLEAR = re.compile(r"no.?cloud|not.?cloud|cloud.?free|clear", re.I)
NOTHING = re.compile(r"no.?data|saturated|defective|fill", re.I)

Object = Mapping[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Said:
    """What an item says of a band; None where it says nothing. Wavelengths are in nanometres.

    `name` is what the band is offered by: `common` where no other band of the item has that, else its own.
    """

    name: str
    common: str = ""
    nodata: float | None = None
    scale: float | None = None
    offset: float | None = None
    wavelength: float | None = None
    width: float | None = None


@dataclass(frozen=True)
class Asset:
    """A file of an item: what it holds, and by which multihash and size it is known; `pixel` is its GSD as stated."""

    key: str
    href: str
    bands: tuple[Said, ...] = ()
    mask: bool = False
    clouds: tuple[int, ...] = ()
    checksum: str = ""
    size: int | None = None
    pixel: float | None = None
    shape: tuple[int, int] | None = None
    crs: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether it lies on a server."""
        return is_link(self.href)


@dataclass(frozen=True)
class Item:
    """One acquisition: the assets that hold bands or masks, each band in one of them."""

    id: str
    path: Path
    properties: Object
    assets: tuple[Asset, ...]

    @property
    def images(self) -> tuple[Asset, ...]:
        """The assets that hold bands."""
        return tuple(a for a in self.assets if not a.mask)

    @property
    def masks(self) -> tuple[Asset, ...]:
        """The assets that hold classes and flags."""
        return tuple(a for a in self.assets if a.mask)

    def holding(self, bands: Sequence[int | str] | None) -> tuple[Asset, ...]:
        """The assets that bands of these names, or those used where none are asked for, lie in, and all masks.

        Raises SceneError where the item has no such band, and for numbers, which would count what is here alone.
        """
        return (*self._images_of(bands), *self.masks)

    def _images_of(self, bands: Sequence[int | str] | None) -> tuple[Asset, ...]:
        if bands is None:
            return finest([(a, a.pixel) for a in self.images])
        named = {said.name.lower(): asset for asset in self.images for said in asset.bands}
        for band in bands:
            if str(band).lower() not in named:
                raise SceneError(f"{self.path} has no band {band!r} by name; it has {', '.join(named)}")
        return tuple(dict.fromkeys(named[str(band).lower()] for band in bands))


def finest(assets: Sequence[tuple[Asset, float | None]]) -> tuple[Asset, ...]:
    """Those of the smallest pixel, all where one says none; panchromatic and thermal bands where they are alone."""
    colours = [of for of in assets if not any(APART.match(b.common or b.name) for b in of[0].bands)] or assets
    # where one does not say, only its file will
    pixels = [pixel for _, pixel in colours if pixel is not None]
    return tuple(a for a, pixel in colours if len(pixels) < len(colours) or pixel == min(pixels))


def is_link(text: str) -> bool:
    """Whether it is the address of something on a server."""
    return bool(LINK.match(text)) and not text.startswith("file://")


def holds_items(path: Path) -> bool:
    """Whether a file, by name and content, is an item or holds some."""
    file, asked = _split(path)
    if file.suffix.lower() == TABLE:
        return bool(asked) or _is_table(file)
    return file.suffix.lower() in ENDS and file.is_file() and bool(read(file))


def expand(path: Path) -> list[Path]:
    """The items in a file of several, each as a path of its own; any other path as it is."""
    if _split(path)[1] or not holds_items(path):
        return [path]
    ids = [str(f.get("id", "")) for f in read(path)]
    if len(ids) == 1:
        return [path]
    if twice := [i for i in ids if ids.count(i) > 1]:
        raise SceneError(f"{path} holds two items of the id {twice[0]!r}; write each to a file of its own")
    return [Path(f"{path}#{i}") for i in ids]


def item(path: Path) -> Item:
    """The item at a path; SceneError where there is none, or several."""
    return parse(document(path), path)


def document(path: Path) -> Object:
    """The JSON of the item at a path; SceneError where there is none, or several."""
    file, asked = _split(path)
    found = [f for f in read(file) if not asked or str(f.get("id")) == asked]
    if len(found) != 1:
        ids = ", ".join(str(f.get("id")) for f in read(file)[:3])
        raise SceneError(f"{path} is {len(found)} items; name one of them by {file.name}#ID, such as {ids}")
    return found[0]


def parse(document: Object, path: Path) -> Item:
    """An item of its JSON; SceneError names the asset and the field that are not as STAC has them."""
    assets = document.get("assets")
    properties = document.get("properties")
    if not isinstance(assets, Mapping) or not isinstance(properties, Mapping):
        raise SceneError(f"{path} is no STAC item: it lacks assets or properties")
    every = [
        _asset(str(key), asset, properties, f"asset {key} of {path}")
        for key, asset in assets.items()
        if isinstance(asset, Mapping) and isinstance(asset.get("href"), str) and _is_raster(str(key), asset)
    ]
    return Item(str(document.get("id") or path.stem), path, properties, tuple(_named(every)))


def _split(path: Path) -> tuple[Path, str]:
    """(file, id or nothing); a file that has # in its name is one."""
    found = ONE_OF_SEVERAL.match(str(path))
    return (Path(found[1]), found[2]) if found and not path.exists() else (path, "")


def read(path: Path) -> list[Object]:
    """The items in a file; none where it holds something else."""
    try:
        state = path.stat()
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror}") from error
    return _loaded(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2)  # a file of many items is asked for each of them
def _loaded(path: Path, stamp: int, size: int) -> list[Object]:
    try:
        return features(path.read_bytes(), table=path.suffix.lower() == TABLE) if size <= MAX_BYTES else []
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror}") from error


def features(content: bytes, *, table: bool = False) -> list[Object]:
    """The items in JSON, or in a Parquet `table`; none where it is something else."""
    if table:
        return list(_rows(content))
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return []
    several = isinstance(found, Mapping) and found.get("type") == "FeatureCollection"
    listed = found.get("features") if several else [found]
    if not isinstance(listed, list) or not all(_is_item(f) for f in listed):
        return []
    # a search answers in pages
    if several and any(isinstance(k, Mapping) and k.get("rel") == "next" for k in _list(found.get("links"))):
        log.warning(
            "the collection of STAC items is one page of a search, of %d items; there are more", len(listed)
        )
    return listed


def _is_item(content: Any) -> bool:
    return isinstance(content, Mapping) and content.get("type") == "Feature" and "assets" in content


def _is_table(path: Path) -> bool:
    """Whether a Parquet file has the columns of items."""
    try:
        import pyarrow.parquet

        return {"id", "assets"} <= set(pyarrow.parquet.read_schema(path).names)
    except (ImportError, OSError, ValueError):
        return False


def _rows(content: bytes) -> Iterator[Object]:
    """The rows of a stac-geoparquet table as items: properties are columns there, and what an item lacks is null."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise SceneError("to read items from Parquet: pip install 'satae[parquet]'") from error
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (OSError, ValueError) as error:
        raise SceneError(f"a table of STAC items cannot be read: {error}") from error
    if not {"id", "assets"} <= set(table.column_names):
        return
    for row in table.drop_columns([c for c in ("geometry", "bbox") if c in table.column_names]).to_pylist():
        # an asset that one item has is a null in all others
        row = _without_nulls(row)
        own = {k: row.pop(k) for k in ("id", "assets") if k in row}
        if "datetime" in row:
            row["datetime"] = str(row["datetime"])
        yield {"type": "Feature", "properties": row, **own}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _is_raster(key: str, asset: Object) -> bool:
    """Whether an asset is an image of measurements or classes, not one to look at."""
    roles = _strings(asset.get("roles"))
    kind = str(asset.get("type") or "").partition(";")[0].strip().lower()
    suffix = Path(urlsplit(str(asset["href"])).path).suffix.lower()
    image = kind in IMAGES if kind else suffix in (".tif", ".tiff", ".jp2")
    return image and not any(SHOWN.search(word) for word in (key, *roles))


def _asset(key: str, asset: Object, properties: Object, where: str) -> Asset:
    eo, raster, own = (
        _objects(asset, k, where) for k in ("eo:bands", "raster:bands", "bands")
    )  # last: STAC 1.1
    shared = {k: asset[k] for k in ("nodata", "raster:scale", "raster:offset") if k in asset}
    bands = []
    for i in range(max(len(own), len(eo), len(raster))):
        # what a later extension says of a band counts before what an earlier one does, and both before the asset
        said = dict(shared)
        for of in (eo, raster, own):
            said |= of[i] if i < len(of) else {}
        bands.append(_said(said, where))
    transform = _list(asset.get("proj:transform")) or _list(properties.get("proj:transform"))
    pixels = [
        *(of.get(k) for of in (asset, *raster, *own) for k in ("gsd", "spatial_resolution")),
        *transform[:1],
        properties.get("gsd"),
    ]
    shape = _list(asset.get("proj:shape")) or _list(properties.get("proj:shape"))
    code = [of.get(k) for of in (asset, properties) for k in ("proj:code", "proj:epsg") if of.get(k)]
    size = asset.get("file:size")
    # some catalogues give masks the role of data, others name the classes of a mask as bands
    measures = any(b.name or b.common for b in bands) and key.lower() not in KNOWN_MASKS
    roles = _strings(asset.get("roles"))
    return Asset(
        key,
        str(asset["href"]),
        tuple(bands),
        not measures and (key.lower() in KNOWN_MASKS or any(MASKS.search(role) for role in roles)),
        tuple(_classes([c for of in (asset, *own, *raster) for c in _objects(of, CLASSES, where)])),
        checksum=str(asset.get("file:checksum") or ""),
        size=size if isinstance(size, int) else None,
        pixel=next((float(p) for p in pixels if isinstance(p, int | float) and 0 < p < MAX_PIXEL), None),
        shape=(shape[0], shape[1]) if len(shape) == 2 else None,
        crs=f"EPSG:{code[0]}" if code and isinstance(code[0], int) else str(code[0]) if code else "",
    )


def _said(said: Object, where: str) -> Said:
    """What the fields of one band, of all extensions together, mean."""
    micrometres = [
        _number(said.get(f"eo:{key}", said.get(key)), f"{key} in {where}")
        for key in ("center_wavelength", "full_width_half_max")
    ]
    return Said(
        str(said.get("name") or ""),
        str(said.get("eo:common_name", said.get("common_name")) or ""),
        _number(said.get("nodata"), f"nodata in {where}", finite=False),
        _number(said.get("raster:scale", said.get("scale")), f"scale in {where}"),
        _number(said.get("raster:offset", said.get("offset")), f"offset in {where}"),
        *(None if m is None else round(m * 1000, 3) for m in micrometres),
    )


def _number(value: Any, what: str, *, finite: bool = True) -> float | None:
    """A number; as the extensions write them NaN and infinities are text, which only nodata can be."""
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise SceneError(f"{what} is {value!r}, which is no number") from error
    if finite and not math.isfinite(number):
        raise SceneError(f"{what} is {value!r}, which is no number of that kind")
    return number


def _classes(entries: list[Object]) -> Iterator[int]:
    """The values of classes that are cloud, its shadow, or nothing."""
    for entry in entries:
        name = f"{entry.get('name') or ''} {entry.get('description') or ''}"
        excluded = (CLOUDED.search(name) and not CLEAR.search(name)) or NOTHING.search(name)
        if excluded and isinstance(entry.get("value"), int):
            yield entry["value"]


def _named(assets: list[Asset]) -> Iterator[Asset]:
    """The assets with a name for each band, and each band once: as GeoTIFF where it is JPEG 2000 too."""
    images = [a for a in assets if not a.mask]
    if any(b.name or b.common for a in images for b in a.bands):
        # not water vapour and the like
        images = [a for a in images if any(b.name or b.common for b in a.bands)]
    # earth-search lists each band as the GeoTIFF it made and as the JPEG 2000 it had
    once: dict[tuple[Any, ...], Asset] = {}
    for asset in sorted(images, key=lambda a: urlsplit(a.href).path.lower().endswith(".jp2")):
        known = tuple((b.name, b.common) for b in asset.bands)
        once.setdefault(known if any(map(any, known)) else (asset.key,), asset)
    common = [b.common for a in once.values() for b in a.bands]
    for asset in (a for a in assets if a in once.values()):
        bands = asset.bands or (Said(""),)
        named = []
        for i, band in enumerate(bands, 1):
            own = band.name or (f"{asset.key}_{i}" if len(bands) > 1 else asset.key)
            alone = common.count(band.common) == 1
            named.append(replace(band, name=band.common if band.common and alone else own))
        yield replace(asset, bands=tuple(named))
    yield from (a for a in assets if a.mask)


def _objects(of: Object, key: str, where: str) -> list[Object]:
    """A field that is a list of objects, empty where it is not there."""
    value = of.get(key) or []
    # items of before STAC 1.0 count into a list of their properties, which need not be there
    if isinstance(value, list) and all(type(v) is int for v in value):
        return []
    if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
        raise SceneError(f"{where} states {key} that are no list of objects")
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    return [v for v in _list(value) if isinstance(v, str)]
