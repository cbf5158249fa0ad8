"""Which band is meant by a name: its own, or a common one such as red, which numbers of a sensor stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from satae.errors import SceneError
from satae.scene import msi
from satae.scene.products import landsat
from satae.scene.source import Band

NUMBERED = re.compile(r"(sr_)?b(0?)(\d{1,2}a?)", re.I)
# Common names by the number in a band's name; what has none is there too, for it tells sensors apart. Numbers from B01
# on are written by Sentinel-2 and, for Landsat too, by HLS, those with SR_ by Landsat alone.
SENTINEL = {name[1:].lstrip("0").lower(): common for name, common in zip(msi.IDS, msi.COMMON, strict=True)}
OLI = {**{str(n): common for n, common in landsat.COMMON["OLI"].items()}, "10": "", "11": ""}
TM = {**{str(n): common for n, common in landsat.COMMON["TM"].items()}, "6": ""}
HLS = {number: common for number, common in OLI.items() if number != "8"}


def number(name: str, bands: Sequence[Band], path: Path) -> int:
    """The number of the band of that name, in upper or lower case; SceneError where there is none, or it is not clear.

    Names that bands have go before common ones, and these before what their numbers stand for.
    """
    names = [band.name for band in bands]
    for known in (names, [n.lower() for n in names], [band.common for band in bands]):
        if (asked := name if known is names else name.lower()) in known:
            return known.index(asked) + 1
    found = {sensor: commons.get(name.lower()) for sensor, commons in _sensors(names).items()}
    if len(set(found.values())) == 1 and (only := next(iter(found.values()))) is not None:
        return only + 1
    if any(index is not None for index in found.values()):
        is_band = " and ".join(f"{'none' if i is None else names[i]} of {s}" for s, i in found.items())
        raise SceneError(
            f"{path} does not say which sensor its bands are of, and {name.lower()} is {is_band}; name the band as the "
            "file does, or pass --sensor"
        )
    listed = [f"{band.name} ({band.common})" if band.common else band.name for band in bands]
    raise SceneError(f"{path} has no band {name!r}; it has {', '.join(listed)}")


def _sensors(names: Sequence[str]) -> dict[str, dict[str, int]]:
    """The sensors that have all bands with such numbers, each with the indices of its bands by their common names."""
    parsed = {i: found for i, name in enumerate(names) if (found := NUMBERED.fullmatch(name))}
    numbers = {i: found[3].lower() for i, found in parsed.items()}
    if not numbers or len(set(numbers.values())) < len(numbers):
        return {}
    tables: Mapping[str, Mapping[str, str]] = {"Sentinel-2": SENTINEL, "Landsat 8": OLI, "Landsat 4 to 7": TM}
    if any(found[1] for found in parsed.values()):
        tables = {sensor: table for sensor, table in tables.items() if table is not SENTINEL}
    elif any(found[2] for found in parsed.values()):
        tables = {"Sentinel-2": SENTINEL, "Landsat 8": HLS}
    return {
        sensor: {table[n]: i for i, n in numbers.items() if table[n]}
        for sensor, table in tables.items()
        if table.keys() >= set(numbers.values())
    }
