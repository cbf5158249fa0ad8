"""The project that QGIS opens from a result: its layers on top, and for each scene a group of heatmap and scene.

It writes QGIS's own XML (3.22 and later); all files are found from the folder of the GeoPackage.
"""

import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import PurePath
from uuid import NAMESPACE_URL, uuid5
from xml.etree.ElementTree import Element

from satae.composite import GAMMA
from satae.gis import qgis
from satae.gis.qgisxml import add, document

ARCHIVES = {".zip": "/vsizip/", ".tar": "/vsitar/"}
ADDITION = "4"  # of QgsPainting's blend modes
COMPOSITE = "scene, its bands added up"
UNDER = 0.5  # opacity of a heatmap: the hottest pixel, too, shows what lies below


@dataclass(frozen=True)
class Crs:
    """A coordinate reference system; `authid` such as "EPSG:3857", empty where it has no code."""

    wkt: str
    authid: str = ""


@dataclass(frozen=True)
class Channel:
    """A band, counted from 1, and the stored values of it that are drawn black and white.

    `file` where that is not the one of the scene, and `member` what of it: a file in a .zip or .tar, a variable of a
    netCDF.
    """

    band: int
    low: float
    high: float
    file: str = ""
    member: str = ""


@dataclass(frozen=True)
class Backdrop:
    """How a scene is drawn: its file, with / between folders, and red, green and blue, or one channel in grey.

    Files are absolute, or lead there from the folder of the GeoPackage.
    """

    file: str
    channels: tuple[Channel, ...]


@dataclass(frozen=True)
class Vector:
    """A layer of the GeoPackage: its title, what it is, and what fills each of its styles, the usual one first."""

    layer: str
    title: str
    abstract: str
    styles: Mapping[str, Callable[[Element], None]]
    shown: bool = False


@dataclass(frozen=True)
class Rasters:
    """The rasters of a scene, in the CRS of both: the heatmap beside the GeoPackage, its largest value, the scene.

    `band` is that of the heatmap which is shown, `kind` what it tells of where a scene has several.
    """

    scene: str
    heatmap: str
    maximum: float
    crs: Crs | None = None
    backdrop: Backdrop | None = None
    band: int = 1
    kind: str = ""


def project(
    name: str,
    *,
    gpkg: str,
    scenes: Sequence[Rasters],
    crs: Crs | None,
    extent: tuple[float, float, float, float],
    vectors: Sequence[Vector] = (),
    span: tuple[str, str] | None = None,
) -> bytes:
    """A .qgz archive that opens the GeoPackage's layers and the rasters of its scenes.

    `gpkg` is a bare file name; `crs` and `extent` (xmin, ymin, xmax, ymax) are those of its layers, `vectors` these
    layers, by default those of `satae score`. `span` are the first and the last day that the temporal controller
    plays. The same arguments give the same bytes.
    """
    root = Element("qgis", {"version": qgis.VERSION, "projectname": name})
    add(root, "homePath", {"path": ""})
    add(root, "title", text=name)
    _crs(add(root, "projectCrs"), crs)
    # the tree's order is the drawing order, first on top
    tree, layers = add(root, "layer-tree-group"), add(root, "projectlayers")
    for vector in vectors or _scored(name):
        _vector(tree, layers, gpkg, vector, crs)
    for _, group in groupby(enumerate(scenes), key=lambda of: _ground(*of)):
        _rasters(tree, layers, [scene for _, scene in group])
    properties = add(root, "properties")
    add(add(properties, "SpatialRefSys"), "ProjectionsEnabled", {"type": "int"}, "1" if crs else "0")
    add(add(properties, "Paths"), "Absolute", {"type": "bool"}, "false")
    if span is not None:
        time = {"timeStep": "1", "timeStepUnit": "mo", "frameRate": "2", "cumulativeTemporalRange": "1"}
        played = add(add(root, "ProjectTimeSettings", time), "TemporalRange")
        for end, day in zip(("start", "end"), span, strict=True):
            add(played, end, text=f"{day}T00:00:00Z")
    _crs(add(add(root, "ProjectViewSettings"), "DefaultViewExtent", _padded(extent)), crs)
    return _archive(f"{name}.qgs", document(root))


def _scored(name: str) -> list[Vector]:
    """The layers of `satae score`, called after the result."""
    return [
        Vector(
            layer,
            name if layer == "anomalies" else f"{name} {layer}",
            qgis.ABSTRACTS[layer],
            {
                style: partial(qgis.fill_layer, layer=layer, style=style)
                for style, (of, _, _) in qgis.STYLES.items()
                if of == layer
            },
            shown=layer == "anomalies",
        )
        for layer in qgis.LAYERS
    ]


def _vector(tree: Element, layers: Element, gpkg: str, vector: Vector, crs: Crs | None) -> None:
    """A layer of the GeoPackage; its other styles are at hand."""
    source = f"./{gpkg}|layername={vector.layer}"
    _leaf(tree, vector.title, source, "ogr", shown=vector.shown)
    made = _map_layer(layers, vector.title, source, "ogr", crs)
    _abstract(made, vector.title, vector.abstract)
    (first, fill), *others = vector.styles.items()
    fill(made)
    # the current style is the layer's own, and has no body here
    if others:
        manager = add(made, "map-layer-style-manager", {"current": first})
        add(manager, "map-layer-style", {"name": first})
        for style, fill in others:
            fill(add(add(manager, "map-layer-style", {"name": style}), "qgis", {"version": qgis.VERSION}))


def _ground(number: int, scene: Rasters) -> object:
    """What lies below a heatmap: the same for what two models make of one scene."""
    below = scene.backdrop
    return number if below is None else (below.file, *((c.file, c.member, c.band) for c in below.channels))


def _rasters(tree: Element, layers: Element, scenes: Sequence[Rasters]) -> None:
    """The group of a scene: its heatmaps, of which the first is shown, over itself."""
    group = {"name": scenes[0].scene, "checked": "Qt::Checked", "expanded": "1"}
    under = add(tree, "layer-tree-group", group)
    for scene in scenes:
        title, source = PurePath(scene.heatmap).stem, f"./{scene.heatmap}"
        title += f" ({scene.kind}s)" if scene.kind and len(scenes) > 1 else ""
        # one over the other would be neither
        _leaf(under, title, source, "gdal", shown=scene is scenes[0])
        heat = _map_layer(layers, title, source, "gdal", scene.crs)
        _abstract(heat, title, qgis.ABSTRACTS["heatmap"])
        qgis.fill_heatmap(heat, scene.maximum, UNDER, scene.band)
    if scene.backdrop is None:
        return
    channels = scene.backdrop.channels
    sources = [(c.file or scene.backdrop.file, c.member) for c in channels]
    if len(set(sources)) == 1:
        _picture(under, layers, *sources[0], scene.crs, channels)
        return
    # light is added: three files, each in a colour of its own, make one picture
    group = {"name": COMPOSITE, "checked": "Qt::Checked", "expanded": "0"}
    under = add(under, "layer-tree-group", group)
    for place, (file, member) in reversed([*enumerate(sources)]):
        alone = tuple(channel if place == i else None for i, channel in enumerate(channels))
        _picture(under, layers, file, member, scene.crs, alone, over=place > 0)


def _source(file: str, member: str) -> str:
    """A file, or what of it, as GDAL names it and QGIS finds it from the folder of the GeoPackage."""
    plain = file if PurePath(file).is_absolute() else f"./{file}"
    if not member:
        return plain
    archive = ARCHIVES.get(PurePath(file).suffix.lower())
    return f"{archive}{plain}/{member}" if archive else f'NETCDF:"{plain}":{member}'


def _picture(
    tree: Element,
    layers: Element,
    file: str,
    member: str,
    crs: Crs | None,
    channels: Sequence[Channel | None],
    *,
    over: bool = False,
) -> None:
    """A file of a scene, or what of it, as a layer; `over` adds its light to that of the layers below."""
    source, names = _source(file, member), [PurePath(file).name, PurePath(member).name]
    title = names[1] if "/vsi" in source else " ".join(filter(None, names))
    _leaf(tree, title, source, "gdal", shown=True)
    picture = _map_layer(layers, title, source, "gdal", crs)
    _abstract(picture, title, qgis.ABSTRACTS["scene"])
    fill_picture(picture, channels, over=over)


def fill_picture(parent: Element, channels: Sequence[Channel | None], *, over: bool = False) -> None:
    """Draw a scene as satae's own pictures are drawn: each band from black to white, and the dark lifted."""
    pipe = add(parent, "pipe")
    (first, *more) = channels
    if not more and first is not None:
        grey = {"type": "singlebandgray", "grayBand": str(first.band), "gradient": "BlackToWhite"}
        renderer = add(pipe, "rasterrenderer", grey | {"alphaBand": "-1", "opacity": "1"})
        _stretch(add(renderer, "contrastEnhancement"), first)
    else:
        colours = dict(zip(("red", "green", "blue"), channels, strict=True))
        bands = {f"{colour}Band": str(c.band if c else -1) for colour, c in colours.items()}
        renderer = add(
            pipe, "rasterrenderer", {"type": "multibandcolor", "alphaBand": "-1", "opacity": "1"} | bands
        )
        for colour, channel in colours.items():
            if channel is not None:
                _stretch(add(renderer, f"{colour}ContrastEnhancement"), channel)
    # QGIS raises to 1 / gamma
    add(pipe, "brightnesscontrast", {"brightness": "0", "contrast": "0", "gamma": f"{1 / GAMMA:.2f}"})
    add(pipe, "rasterresampler", {"maxOversampling": "2"})
    add(parent, "blendMode", text=ADDITION if over else "0")


def _stretch(parent: Element, channel: Channel) -> None:
    add(parent, "minValue", text=str(channel.low))
    add(parent, "maxValue", text=str(channel.high))
    add(parent, "algorithm", text="StretchToMinimumMaximum")


def _leaf(tree: Element, title: str, source: str, provider: str, *, shown: bool) -> None:
    attributes = {"id": _identifier(title, source), "name": title, "source": source, "providerKey": provider}
    attributes |= {"checked": "Qt::Checked" if shown else "Qt::Unchecked", "expanded": "0"}
    add(tree, "layer-tree-layer", attributes)


def _map_layer(layers: Element, title: str, source: str, provider: str, crs: Crs | None) -> Element:
    layer = add(layers, "maplayer", {"type": "raster" if provider == "gdal" else "vector"})
    add(layer, "id", text=_identifier(title, source))
    add(layer, "datasource", text=source)
    add(layer, "layername", text=title)
    _crs(add(layer, "srs"), crs)
    add(layer, "provider", {"encoding": "UTF-8"} if provider == "ogr" else {}, provider)
    return layer


def _abstract(layer: Element, title: str, text: str) -> None:
    """What the layer is, where QGIS shows it: in the tip of the layer tree, and among the layer's properties."""
    add(layer, "abstract", text=text)
    metadata = add(layer, "resourceMetadata")
    add(metadata, "title", text=title)
    add(metadata, "abstract", text=text)


def _identifier(title: str, source: str) -> str:
    """A layer id of QGIS's own shape, title_uuid: some of its code cuts the last 37 characters off."""
    return re.sub(r"\W", "_", f"{title}_{uuid5(NAMESPACE_URL, source)}", flags=re.ASCII)


def _crs(parent: Element, crs: Crs | None) -> None:
    reference = add(parent, "spatialrefsys")
    add(reference, "wkt", text=crs.wkt if crs else "")
    add(reference, "authid", text=crs.authid if crs else "")


def _padded(extent: tuple[float, float, float, float]) -> dict[str, str]:
    xmin, ymin, xmax, ymax = extent
    margin = 0.04 * max(xmax - xmin, ymax - ymin)
    sides = {"xmin": xmin - margin, "ymin": ymin - margin, "xmax": xmax + margin, "ymax": ymax + margin}
    return {side: str(value) for side, value in sides.items()}


def _archive(member: str, text: str) -> bytes:
    buffer = io.BytesIO()
    entry = zipfile.ZipInfo(member)  # dated 1980, so that the bytes repeat
    entry.create_system, entry.external_attr, entry.compress_type = 3, 0o644 << 16, zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, text.encode())
    return buffer.getvalue()
