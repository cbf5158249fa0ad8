"""VRT: what GDAL would put together of other files, read here as text and put together by satae; GDAL never sees it.

A file of XML could lead GDAL anywhere. Sources are TIFF, JPEG 2000 or VRT files below the folder of the VRT, copied
as they are or scaled; every element that says anything else is refused by its name.
"""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from affine import Affine

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import raster, wavelengths
from satae.scene.mosaic import Mosaic, Part, Rectangle, depth, file_below, mosaic, open_mosaic
from satae.scene.readers import geotiff, jp2
from satae.scene.source import Band, Pixels, Source

ROOT = b"<VRTDataset"
MAX_BYTES = 32 << 20  # of a description
DEPTH = 4  # of VRT files that refer to VRT files
MAX_PARTS = 10_000  # of one band, through all depths
LARGE, SPARSEST = 10**8, 1000  # pixels from which on files must fill one in so many
BEYOND = 1.0  # pixels by which a rectangle reaches outside that is more than rounding
TYPES = {
    "Byte": "uint8", "Int8": "int8", "UInt16": "uint16", "Int16": "int16", "UInt32": "uint32", "Int32": "int32",
    "UInt64": "uint64", "Int64": "int64", "Float32": "float32", "Float64": "float64",
}  # fmt: skip
# elements that are read, or that say nothing of pixels
DATASET = {"SRS", "GeoTransform", "Metadata", "VRTRasterBand", "OverviewList", "BlockXSize", "BlockYSize"}
BAND = {
    "Description", "UnitType", "Offset", "Scale", "NoDataValue", "ColorInterp", "ColorTable", "CategoryNames",
    "Metadata", "Histograms", "SimpleSource", "ComplexSource",
}  # fmt: skip
SIMPLE = {"SourceFilename", "SourceBand", "SourceProperties", "SrcRect", "DstRect"}
COMPLEX = SIMPLE | {"NODATA", "ScaleOffset", "ScaleRatio", "UseMaskBand"}


def matches(path: Path, head: bytes) -> bool:
    """Whether it begins as a VRT does, or is XML that is named as one."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(ROOT) or (
        start.startswith(b"<") and (ROOT in head or path.suffix.lower() == ".vrt")
    )


def describe(path: Path) -> Source:
    """The mosaic that a VRT describes; every file that it refers to is opened and checked."""
    return _described(path, (), {})


def open(source: Source, grid: Grid | None = None, *, mean: bool = False) -> AbstractContextManager[Pixels]:
    """Handles of the caller's own on its files; the VRT itself is not read again."""
    return open_mosaic(cast(Mosaic, source), grid, mean=mean)


def _described(path: Path, above: tuple[Path, ...], known: dict[Path, Source]) -> Mosaic:
    """The mosaic at a path that VRT files `above` lead to; `known` are the files that were described so far."""
    if path.resolve() in above:
        raise SceneError(f"{path} is a VRT that refers to itself; make a GeoTIFF of its parts")
    # counted on the way down, for a chain without end would never come back up
    _check_depth(path, len(above) + 1)
    root = _root(path)
    _check_known(path, root, DATASET, {"rasterXSize", "rasterYSize"})
    grid = _grid(path, root)
    bands, layers = [], []
    for index, element in enumerate(root.iterfind("VRTRasterBand"), 1):
        bands.append(_band(path, element, index))
        sources = [e for e in element if e.tag in ("SimpleSource", "ComplexSource")]
        if len(sources) > MAX_PARTS:
            raise SceneError(
                f"{path} has {len(sources)} sources in a band, more than the limit of {MAX_PARTS}"
            )
        within = (*above, path.resolve())
        layers.append([_part(path, source, grid, within, known) for source in sources])
    if not bands:
        raise SceneError(f"{path} is a VRT without a VRTRasterBand")
    if not any(layers):
        raise SceneError(f"{path} is a VRT without a SimpleSource or ComplexSource, so it shows no file")
    _check_claim(path, grid, bands, layers)
    # what the files cost together is known once all of them are described
    made = mosaic(Source(path, grid, tuple(bands), (1, grid.width)), layers)
    if made.weight > MAX_PARTS:
        raise SceneError(f"{path} leads to {made.weight} files in a band, more than the limit of {MAX_PARTS}")
    return made


def _root(path: Path) -> Element:
    """The XML of a VRT, of bounded size and without what could lead to other files."""
    if path.stat().st_size > MAX_BYTES:
        raise SceneError(f"{path} is larger than {MAX_BYTES >> 20} MiB, the limit for a VRT")
    text = path.read_bytes()
    # in UTF-16 no name would be found in the bytes
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:
        raise SceneError(f"{path} is a VRT with a DOCTYPE or entities, which are not read; {_cure(path)}")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise SceneError(f"{path} is a VRT that is no whole XML: {error}; make it again") from error
    if root.tag != "VRTDataset":
        raise SceneError(f"{path} is XML of a {root.tag}, not a VRT")
    return root


def _check_depth(path: Path, levels: int) -> None:
    if levels > DEPTH:
        raise SceneError(f"{path} makes {levels} VRT files that refer to each other; the limit is {DEPTH}")


def _cure(path: Path) -> str:
    return f"make a GeoTIFF with `gdal_translate {path.name} scene.tif`"


def _refusal(path: Path, what: str) -> SceneError:
    return SceneError(f"{path} is a VRT with {what}, which satae does not read; {_cure(path)}")


def _check_known(path: Path, element: Element, children: set[str], attributes: set[str]) -> None:
    """Refuse what would change pixels in a way that is not known."""
    for child in element:
        if child.tag not in children:
            raise _refusal(path, f"an element {child.tag} in {element.tag}")
    for name, value in element.attrib.items():
        if name not in attributes:
            raise _refusal(path, f"{name}={value!r} in {element.tag}")


def _number(
    path: Path, element: Element | None, name: str, text: str | None, usual: float | None = None
) -> float:
    """A number that an element states; `usual` where it is not there."""
    if text is None and usual is not None:
        return usual
    try:
        return float(text or "")
    except ValueError:
        inside = "" if element is None else f" in {element.tag}"
        raise SceneError(f"{path} is a VRT with {name} {text!r}{inside}, which is no number") from None


def _grid(path: Path, root: Element) -> Grid:
    """Size, affine and CRS, none invented."""
    sizes = [root.get(name, "") for name in ("rasterYSize", "rasterXSize")]
    if not all(re.fullmatch(r"[0-9]{1,10}", size) and int(size) for size in sizes):
        raise SceneError(f"{path} is a VRT without rasterXSize and rasterYSize that are whole numbers")
    height, width = map(int, sizes)
    if height * width > raster.MAX_PIXELS:
        raise SceneError(
            f"{path} claims {height} x {width} pixels, more than the limit of {raster.MAX_PIXELS:.0e}"
        )
    text = root.findtext("GeoTransform")
    # no position at all is no position at the corner of a map
    if text is None:
        return Grid(height, width, Affine.identity(), None)
    numbers = [_number(path, None, "a GeoTransform of", t.strip()) for t in text.split(",")]
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
        raise SceneError(f"{path} is a VRT with a GeoTransform of {len(numbers)} numbers, not 6 finite ones")
    transform = Affine.from_gdal(*numbers)
    if transform.determinant == 0:
        raise SceneError(f"{path} has an unusable pixel size or origin: {tuple(transform)[:6]}")
    return Grid(height, width, transform, None if transform.is_identity else _crs(path, root))


def _check_claim(path: Path, grid: Grid, bands: list[Band], layers: list[list[Part]]) -> None:
    """A few words of XML can claim more than any file holds."""
    line = max(grid.height, grid.width) * sum(np.dtype(b.dtype).itemsize for b in bands)
    if line > raster.MAX_BLOCK_BYTES:
        raise SceneError(
            f"{path} claims {grid.height} x {grid.width} pixels, of which one row or column takes {line >> 20} MiB, "
            f"more than the limit of {raster.MAX_BLOCK_BYTES >> 20}"
        )
    shown = max(sum(part.shown[2] * part.shown[3] for part in layer) for layer in layers)
    if grid.pixels > LARGE and shown * SPARSEST < grid.pixels:
        raise SceneError(
            f"{path} claims {grid.height} x {grid.width} pixels, and its files fill less than 1 in {SPARSEST} of them"
        )


def _crs(path: Path, root: Element) -> str | None:
    text = (root.findtext("SRS") or "").strip()
    if not text:
        return None
    if wkt := raster.stated_crs(text):
        return wkt
    raise SceneError(
        f"{path} is a VRT with an SRS that is no WKT and no code such as EPSG:32632: {text[:60]!r}"
    )


def _band(path: Path, element: Element, index: int) -> Band:
    """What the VRT says of a band; what its files say of theirs does not count, as for GDAL."""
    _check_known(path, element, BAND, {"dataType", "band", "blockXSize", "blockYSize"})
    if index > raster.MAX_BANDS:
        raise SceneError(f"{path} has more bands than the limit of {raster.MAX_BANDS}")
    # GDAL counts them as they come, whatever number they bear
    if element.get("band", str(index)) != str(index):
        raise _refusal(path, f"band={element.get('band')!r} in VRTRasterBand {index}")
    kind = element.get("dataType", "Byte")
    if kind not in TYPES:
        raise _refusal(path, f"dataType={kind!r} in VRTRasterBand")
    nodata = element.findtext("NoDataValue")
    tags = {
        domain: {m.get("key", ""): m.text or "" for d in element.iterfind("Metadata")
                 if d.get("domain", "") == domain for m in d.iterfind("MDI")}
        for domain in ("", "IMAGERY")
    }  # fmt: skip
    nm, width = wavelengths.of_tags(tags[""], tags["IMAGERY"])
    return Band(
        index,
        (element.findtext("Description") or "").strip(),
        TYPES[kind],
        scale=_number(path, element, "Scale", element.findtext("Scale"), 1.0),
        offset=_number(path, element, "Offset", element.findtext("Offset"), 0.0),
        nodata=None if nodata is None else _number(path, element, "NoDataValue", nodata),
        colour=(element.findtext("ColorInterp") or "undefined").strip().lower(),
        wavelength=nm,
        width=width,
    )


def _part(
    path: Path, element: Element, grid: Grid, above: tuple[Path, ...], known: dict[Path, Source]
) -> Part:
    """What a SimpleSource or ComplexSource shows."""
    complex_ = element.tag == "ComplexSource"
    _check_known(path, element, COMPLEX if complex_ else SIMPLE, {"resampling", "name"})
    source = _source(path, element, above, known)
    said = (element.findtext("SourceBand") or "1").strip()
    if not re.fullmatch("[0-9]{1,5}", said):
        raise _refusal(path, f"SourceBand {said!r}")
    if not 1 <= int(said) <= len(source.bands):
        raise SceneError(
            f"{path} shows band {said} of {source.path}, which has bands 1 to {len(source.bands)}"
        )
    size = source.grid.height, source.grid.width
    _check_properties(path, element, source)
    own = grid.height, grid.width
    if (element.find("SrcRect") is None) != (element.find("DstRect") is None):
        raise SceneError(
            f"{path} is a VRT with one of SrcRect and DstRect in {element.tag}, which makes no sense alone"
        )
    least = (
        min(size[0], own[0]),
        min(size[1], own[1]),
    )  # what is shown, at the same place, where neither is stated
    taken = _rectangle(
        path, element, "SrcRect", size, least, f"{source.path} of {size[0]} x {size[1]} pixels"
    )
    shown = _rectangle(path, element, "DstRect", own, least, f"its own {own[0]} x {own[1]} pixels")
    # how GDAL resamples matters only where sizes differ
    scaled = any(abs(a - b) > 1e-6 for a, b in zip(taken[2:], shown[2:], strict=True))
    if scaled and element.get("resampling", "nearest").lower() not in ("nearest", "near"):
        raise _refusal(path, f"resampling={element.get('resampling')!r} in {element.tag}")
    nodata = element.findtext("NODATA")
    return Part(
        source,
        int(said),
        taken,
        shown,
        nodata=None if nodata is None else _number(path, element, "NODATA", nodata),
        masked=(element.findtext("UseMaskBand") or "").strip().lower() in ("true", "1", "yes", "on"),
        scale=_number(path, element, "ScaleRatio", element.findtext("ScaleRatio"), 1.0),
        offset=_number(path, element, "ScaleOffset", element.findtext("ScaleOffset"), 0.0),
    )


def _source(path: Path, element: Element, above: tuple[Path, ...], known: dict[Path, Source]) -> Source:
    """The file of a source, which lies below the folder of the VRT, links followed."""
    named = element.find("SourceFilename")
    name = "" if named is None else (named.text or "").strip()
    if named is None or not name:
        raise SceneError(f"{path} is a VRT with a {element.tag} without a SourceFilename")
    file = file_below(path, name if named.get("relativeToVRT") == "1" else _relative(path, name))
    real = file.resolve()
    # each file is described once, however often it is shown
    if real not in known:
        known[real] = _opened(path, file, above, known)
    _check_depth(file, len(above) + depth(known[real]))
    return known[real]


def _relative(path: Path, name: str) -> str:
    """The relative name of a file in the folder of the VRT that gdalbuildvrt named from the root."""
    for folder in (path.parent.absolute(), path.parent.resolve()):
        if Path(name).is_relative_to(folder):
            return str(Path(name).relative_to(folder))
    raise SceneError(
        f"{path} refers to {name!r}; its files must lie in its own folder, or be named relative to it (relativeToVRT)"
    )


def _opened(path: Path, file: Path, above: tuple[Path, ...], known: dict[Path, Source]) -> Source:
    with file.open("rb") as content:
        head = content.read(64)
    if matches(file, head):
        return _described(file, above, known)
    for reader in (geotiff, jp2):
        if reader.matches(file, head):
            return cast(Source, reader.describe(file))
    raise SceneError(f"{path} refers to {file.name}, which is no TIFF, JPEG 2000 or VRT file; {_cure(path)}")


def _check_properties(path: Path, element: Element, source: Source) -> None:
    """A file that was replaced since by one of another size would be shown in the wrong places."""
    said = element.find("SourceProperties")
    if said is None:
        return
    own = source.grid.height, source.grid.width
    sizes = tuple(
        said.get(name, str(size)) for name, size in zip(("RasterYSize", "RasterXSize"), own, strict=True)
    )
    if sizes != tuple(map(str, own)):
        raise SceneError(
            f"{path} takes {source.path} for {sizes[0]} x {sizes[1]} pixels in SourceProperties and it has "
            f"{own[0]} x {own[1]}; make the VRT again"
        )


def _rectangle(
    path: Path, element: Element, name: str, size: tuple[int, int], usual: tuple[int, int], of: str
) -> Rectangle:
    """A rectangle inside of a grid of that size, which is `of`; one of a usual size where none is stated."""
    said = element.find(name)
    if said is None:
        return 0.0, 0.0, float(usual[0]), float(usual[1])
    row, col, height, width = (
        _number(path, said, key, said.get(key)) for key in ("yOff", "xOff", "ySize", "xSize")
    )
    text = f"{path} is a VRT with a {name} of {height:g} x {width:g} pixels from row {row:g}, column {col:g}"
    if not (all(map(math.isfinite, (row, col, height, width))) and height > 0 and width > 0):
        raise SceneError(f"{text}, which is no rectangle")
    # half a pixel more is how gdalbuildvrt rounds files that do not fit its grid
    beyond = max(-row, -col, row + height - size[0], col + width - size[1])
    if beyond >= BEYOND:
        raise SceneError(f"{text}, which reaches beyond {of}; make the VRT again")
    return row, col, height, width
