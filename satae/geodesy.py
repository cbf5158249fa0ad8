"""What a CRS says of the ground: longitude and latitude, metres, areas on its ellipsoid. Nothing about pixels.

The one place that asks PROJ through pyproj, which takes 0.1 s and 20 MB to load: what needs none of this does without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyproj


@dataclass(frozen=True)
class Geodesy:
    """A CRS, by its WKT."""

    wkt: str

    @cached_property
    def crs(self) -> pyproj.CRS:
        """The CRS as PROJ has it."""
        return pyproj.CRS.from_wkt(self.wkt)

    @cached_property
    def to_geodetic(self) -> pyproj.Transformer | None:
        """To longitude and latitude on the CRS's own ellipsoid, or None where it has none."""
        # the CRS's own datum and ellipsoid, which need not be the Earth's
        geodetic = self.crs.geodetic_crs
        if geodetic is None or self.crs.get_geod() is None:
            return None
        try:
            # x before y always, whatever order the axes of the CRS are declared in
            return pyproj.Transformer.from_crs(self.crs, geodetic, always_xy=True)
        except pyproj.exceptions.ProjError:
            return None

    @cached_property
    def to_lonlat(self) -> pyproj.Transformer | None:
        """To longitude and latitude of WGS 84, or on the CRS's own body; None where it is not tied to one."""
        if self.to_geodetic is None:
            return None
        try:
            return pyproj.Transformer.from_crs(self.crs, "OGC:CRS84", always_xy=True)
        except pyproj.exceptions.ProjError:
            return self.to_geodetic

    @cached_property
    def metres(self) -> float | None:
        """Metres in one unit of a projected or local CRS."""
        if self.crs.is_geographic or not self.crs.axis_info:
            return None
        return float(self.crs.axis_info[0].unit_conversion_factor) or None

    def areas(self, rings: list[npt.NDArray[np.float64]]) -> list[float]:
        """Areas in m2 on the ellipsoid inside rings (n, 2) of map coordinates; NaN where there is no ellipsoid."""
        geod = self.crs.get_geod()
        if geod is None or self.to_geodetic is None:
            return [math.nan] * len(rings)
        # geodesic polygons: exact on the ellipsoid, and slow beside a planar area
        corners = (self.to_geodetic.transform(ring[:, 0], ring[:, 1]) for ring in rings)
        return [abs(geod.polygon_area_perimeter(lon, lat)[0]) for lon, lat in corners]


def crs_name(wkt: str | None) -> str | None:
    """A short name of a CRS, with its code where it has one; None for none."""
    if wkt is None:
        return None
    crs = pyproj.CRS.from_wkt(wkt)
    # only a code that is surely this CRS: a near one would be wrong by metres
    authority = crs.to_authority(min_confidence=100)
    return f"{':'.join(authority)} ({crs.name})" if authority else str(crs.name)
