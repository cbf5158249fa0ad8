"""What sensors deliver, for files that do not say it: names, order and light of bands, sampling distance, scale, fill.

The table is SENSORS. Wavelengths of cubes are nominal, to some nanometres: they differ from product to product, and
what a header states goes before (EMIT and EnMAP: published band centres; PRISMA and AVIRIS: ends of detectors).
Embeddings are no light: `alphaearth` and `tessera` are vectors of which the direction counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine

from satae.errors import ConfigError, SceneError
from satae.grid import Grid
from satae.scene import msi, wavelengths
from satae.scene.products import Product, landsat, planet
from satae.scene.source import Band, Source

TOLERANCE = 1.25  # ratio by which a sampling distance may lie outside of what the sensor has
METRES = 'LOCAL_CS["unknown",UNIT["metre",1]]'
NONE = "none"  # as a sensor: take files as they are
Offer = tuple[Source, Band]
Names = tuple[str, ...]
Light = Mapping[str, tuple[float, float] | None]


@dataclass(frozen=True)
class Sensor:
    """What files of a sensor hold.

    A file has one of the `layouts`: wavelength and width in nanometres of each band by its name, in the sensor's order.
    `gsd` are the least and the largest metres a pixel, of which the first is usual. A quantity is DN times
    `scale` and `offset` added; a scale of 0 is not known. `coded` is how int8 become a vector (`Band.coded`).
    """

    layouts: tuple[Light, ...]
    gsd: tuple[float, float]
    dtypes: tuple[str, ...]
    scale: float = 0.0
    offset: float = 0.0
    nodata: float | None = None
    coded: str = ""

    @property
    def bands(self) -> Light:
        """All bands."""
        return max(self.layouts, key=len)


def _cube(*detectors: tuple[tuple[int, float], ...]) -> Light:
    """Bands of several detectors, each with the wavelengths of some of its bands, counted from 1; named by them."""
    centres: list[float] = []
    for detector in detectors:
        numbers, nm = np.array(detector).T
        centres += np.interp(np.arange(1, numbers[-1] + 1), numbers, nm).round(1).tolist()
    widths = np.abs(np.gradient(centres)).clip(1, 20).round(1).tolist()
    names = [wavelengths.name(nm) for nm in centres]
    # detectors overlap
    names = [f"{name} ({i})" if name in names[: i - 1] else name for i, name in enumerate(names, 1)]
    return dict(zip(names, zip(centres, widths, strict=True), strict=True))


def _only(light: Light, *names: str) -> Light:
    """Some of the bands."""
    return {name: light[name] for name in names}


_S2: Light = {n: (nm, float(w)) for n, nm, w in zip(msi.IDS, msi.NANOMETRES, msi.WIDTHS, strict=True)}
_TEN, _LAND = (
    _only(_S2, "B02", "B03", "B04", "B08"),
    _only(_S2, "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
)
_OLI = dict(zip(range(1, 8), (16.0, 60.0, 57.0, 37.0, 28.0, 85.0, 187.0), strict=True))
_DOVE = dict(
    zip((n for n, _ in planet.BANDS[8]), (20.0, 50.0, 36.0, 36.0, 20.0, 31.0, 15.0, 40.0), strict=True)
)
# 440-510, 520-590, 630-685, 690-730 and 760-850 nm (RapidEye Imagery Product Specifications 6.1)
_EYE: Light = {
    "blue": (475, 70),
    "green": (555, 70),
    "red": (657.5, 55),
    "rededge": (710, 40),
    "nir": (805, 90),
}
# WorldView-2, as the table of bands of the package spyndex has them too
_VIEW: Light = {
    "coastal": (425, 50), "blue": (480, 60), "green": (545, 70), "yellow": (605, 40), "red": (660, 60),
    "rededge": (725, 40), "nir1": (832.5, 125), "nir2": (950, 180),
}  # fmt: skip
# 619-651, 525-585, 435-495 and 808-882 nm (Leica ADS100 data sheet): one of the cameras that have flown for NAIP
_NAIP: Light = {"red": (635, 32), "green": (555, 60), "blue": (465, 60), "nir": (845, 74)}
_EMIT = _cube(((1, 381.0), (40, 671.1), (94, 1074.0), (184, 1744.4), (275, 2419.1), (285, 2492.9)))
_ENMAP = _cube(
    ((1, 418.4), (11, 468.4), (21, 515.7), (31, 566.4), (41, 622.9), (51, 686.3), (61, 756.4), (71, 832.1), (81, 912.0),
     (91, 993.3)),
    ((1, 902.0), (11, 1003.9), (21, 1116.4), (31, 1235.0), (44, 1390.5), (45, 1449.4), (61, 1631.1), (75, 1780.2),
     (76, 1967.7), (91, 2104.6), (111, 2273.9), (133, 2445.3)),
)  # fmt: skip
_PRISMA = (
    _cube(((1, 407.0), (63, 977.0)), ((1, 943.0), (171, 2497.0))),
    *(_cube(((1, 402.0), (66, 1010.0)), ((1, 920.0), (n, 2505.0))) for n in (171, 172, 173)),
)
# AVIRIS is calibrated each year: headers of several years differ from this by up to 2 nm
_AVIRIS = (
    _cube(
        ((1, 365.9), (32, 667.6)), ((1, 654.8), (32, 956.4), (64, 1262.5)), ((1, 1252.8), (64, 1880.6)),
        ((1, 1867.3), (64, 2496.2)),
    ),
    _cube(((1, 376.7), (425, 2500.4))),  # the next generation: 376.72 to 2500.40 nm in its headers
)  # fmt: skip
_A: Light = {f"A{i:02d}": None for i in range(64)}
_T: Light = {f"T{i:03d}": None for i in range(128)}

SENSORS: dict[str, Sensor] = {
    "sentinel2-l2a": Sensor(
        (_TEN, _LAND, _only(_S2, *(n for n in _S2 if n != "B10"))), (10.0, 60.0), ("uint16", "int16"), 1e-4, nodata=0.0,
    ),
    "sentinel2-l1c": Sensor((_TEN, _LAND, _S2), (10.0, 60.0), ("uint16", "int16"), 1e-4, nodata=0.0),
    "landsat-8-l2": Sensor(
        ({f"B{n}": (float(landsat.CENTRES["OLI"][n]), width) for n, width in _OLI.items()},),
        (30.0, 30.0), ("uint16",), 2.75e-5, -0.2, 0.0,
    ),
    "planetscope": Sensor(
        tuple({n: (float(nm), _DOVE[n]) for n, nm in planet.BANDS[k]} for k in (4, 8)),
        (3.0, 4.0), ("uint16",), 1e-4, nodata=0.0,
    ),
    "rapideye": Sensor((_EYE,), (5.0, 6.5), ("uint16",), nodata=0.0),
    "worldview": Sensor((_VIEW, _only(_VIEW, "blue", "green", "red", "nir1")), (0.3, 2.4), ("uint16", "uint8")),
    "naip": Sensor((_NAIP,), (0.3, 1.0), ("uint8",)),
    "emit": Sensor((_EMIT,), (60.0, 60.0), ("float32",), 1.0, nodata=-9999.0),
    "prisma": Sensor(_PRISMA, (30.0, 30.0), ("uint16", "float32")),
    "enmap": Sensor((_ENMAP,), (30.0, 30.0), ("int16",), 1e-4, nodata=-32768.0),
    "aviris": Sensor(_AVIRIS, (1.0, 20.0), ("int16", "float32")),
    "alphaearth": Sensor((_A,), (10.0, 10.0), ("int8", "float32", "float64"), nodata=-128.0, coded="signed square"),
    "tessera": Sensor((_T,), (10.0, 10.0), ("int8", "float32"), coded="vector"),
}  # fmt: skip
# of sensors whose bands are called by numbers
COMMON: defaultdict[str, Mapping[str, str]] = defaultdict(
    dict,
    sentinel2=dict(zip(msi.IDS, msi.COMMON, strict=True)),
    landsat={f"B{n}": common for n, common in landsat.COMMON["OLI"].items()},
)
EMBEDDINGS = ("alphaearth", "tessera")


def embedding(offered: Sequence[Offer]) -> str:
    """The embeddings that bands are, by their number and type, or where floats say so by name; else nothing."""
    kinds, count = {band.dtype for _, band in offered}, len(offered)
    first = offered[0][1].name
    if count == 64 and (kinds == {"int8"} or (first == "A00" and kinds <= {"float32", "float64"})):
        return "alphaearth"
    if count == 128 and (kinds == {"int8"} or (first.lower().startswith("tessera") and kinds == {"float32"})):
        return "tessera"
    return ""


def check_name(name: str) -> None:
    """ConfigError where there is no such sensor."""
    if name and name not in (*SENSORS, NONE):
        raise ConfigError(f"--sensor {name}: there are {', '.join(SENSORS)} and {NONE}")


def check_product(name: str, product: Product) -> None:
    """SceneError where a product, which says itself what it is, is none of the sensor's."""
    names = [band.name for _, band in product.bands]
    # the wavelengths by which bands of cubes are named are the product's own
    if not set(names) <= set(SENSORS[name].bands) and name not in product.kind.lower():
        raise SceneError(
            f"{product.path} is {product.kind} with {', '.join(names)} and --sensor {name} has "
            f"{_some(tuple(SENSORS[name].bands))}; leave --sensor out, for the product says what it is"
        )


def seen_by(name: str, offered: list[Offer]) -> list[Offer]:
    """The bands of files as the sensor has them, in its order; SceneError where they cannot be its own.

    Bands that have the sensor's names are put in its order; any others are taken to be in one of its layouts.
    """
    sensor, path = SENSORS[name], offered[0][0].path
    plain = [o for o in offered if o[1].colour != "alpha"]
    # four bands of bytes are often marked as colours and alpha
    for taken in (plain, offered):
        layout = next((layout for layout in sensor.layouts if len(layout) == len(taken)), None)
        if layout:
            break
    named, light = _by_name(sensor, plain), sensor.bands
    if named is None:
        if layout is None:
            counts = " or ".join(str(len(layout)) for layout in sensor.layouts)
            raise SceneError(
                f"{path} gives {len(plain)} band{'s' * (len(plain) != 1)} and --sensor {name} has {counts} "
                f"({_some(tuple(sensor.layouts[0]))}); name the right sensor, or leave --sensor out"
            )
        named, light = dict(zip(taken, layout, strict=True)), layout
    grids = {source: _placed(source, sensor, name) for source, _ in named}
    made = {
        (source, band.index): _as_delivered(source, replace(band, name=called), light[called], sensor, name)
        for (source, band), called in named.items()
    }
    sources = {
        source: replace(
            source,
            grid=grids[source],
            bands=tuple(made.get((source, band.index), band) for band in source.bands),
        )
        for source in grids
    }
    return [(sources[source], made[source, band.index]) for source, band in named]


def _by_name(sensor: Sensor, offered: list[Offer]) -> dict[Offer, str] | None:
    """Which of the sensor's bands each is, in the sensor's order, where all are called so."""
    known = {_plain(name): name for name in sensor.bands}
    found = {known.get(_plain(o[1].name), ""): o for o in offered}
    if "" in found or len(found) < len(offered):
        return None
    return {found[name]: name for name in sensor.bands if name in found}


def _plain(name: str) -> str:
    """A name without what differs from writer to writer: SR_B2, b02 and B2 are one."""
    word = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"^(?:sr)?b0*(\d+a?)$", r"b\1", word)


def _placed(source: Source, sensor: Sensor, name: str) -> Grid:
    """The grid of a file, of which pixels without a place or size get the sensor's size."""
    grid, (least, largest) = source.grid, sensor.gsd
    if grid.crs is None and grid.transform.is_identity:
        return replace(grid, transform=Affine.scale(least, -least), crs=METRES)
    found = grid.gsd_m
    if found is not None and not least / TOLERANCE <= found <= largest * TOLERANCE:
        span = f"{least:g}" if least == largest else f"{least:g} to {largest:g}"
        raise SceneError(
            f"{source.path} has pixels of {found:.3g} m and --sensor {name} has {span} m; name the right sensor, or "
            "leave --sensor out"
        )
    return grid


def _as_delivered(
    source: Source, band: Band, light: tuple[float, float] | None, sensor: Sensor, name: str
) -> Band:
    """A band with what the sensor says of it."""
    if band.dtype not in sensor.dtypes:
        raise SceneError(
            f"{source.path} holds {band.dtype} and --sensor {name} delivers {' or '.join(sensor.dtypes)}; name the "
            "right sensor, or leave --sensor out"
        )
    stated, own = (band.scale, band.offset), (sensor.scale or 1.0, sensor.offset)
    if stated != (1.0, 0.0) and sensor.scale and not np.allclose(stated, own, rtol=1e-6, atol=0):
        raise SceneError(
            f"{source.path} declares scale {stated[0]:g} and offset {stated[1]:g} and --sensor {name} has {own[0]:g} "
            f"and {own[1]:g}; name the right sensor, or leave --sensor out"
        )
    nm, width = light or (None, None)
    common = COMMON[name.partition("-")[0]].get(band.name, "")
    coded = "" if not sensor.coded else sensor.coded if band.dtype == "int8" else "vector"
    return replace(
        band, common=common, wavelength=band.wavelength or nm, width=band.width or width, colour="undefined",
        scale=own[0] if sensor.scale else band.scale, offset=own[1] if sensor.scale else band.offset,
        nodata=sensor.nodata if band.nodata is None and (not coded or band.dtype == "int8") else band.nodata,
        coded=coded, dtype="float32" if coded else band.dtype,
    )  # fmt: skip


def _some(names: Names) -> str:
    return ", ".join(names if len(names) <= 13 else (*names[:2], "...", names[-1]))
