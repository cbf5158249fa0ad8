"""Bands by wavelength: what files say of it, and the bands of one cube that stand for those of another."""

from __future__ import annotations

from collections.abc import Mapping

UNITS = {  # to nanometres
    "nanometers": 1.0, "nanometer": 1.0, "nm": 1.0, "micrometers": 1e3, "micrometer": 1e3, "microns": 1e3, "um": 1e3,
}  # fmt: skip


def of_tags(own: Mapping[str, str], imagery: Mapping[str, str]) -> tuple[float | None, float | None]:
    """(wavelength, width) in nanometres of a band from its metadata, those of GDAL's domain IMAGERY first.

    GDAL states micrometres there; what it copies from ENVI headers has a unit of its own.
    """
    factor = UNITS.get(own.get("wavelength_units", "").lower())
    said = [(imagery.get("CENTRAL_WAVELENGTH_UM"), imagery.get("FWHM_UM"), 1e3)]
    if factor is not None:
        said.append((own.get("wavelength"), own.get("fwhm"), factor))
    for centre, width, unit in said:
        if (nm := _nanometres(centre, unit)) is not None:
            return nm, _nanometres(width, unit)
    return None, None


def _nanometres(text: str | None, unit: float) -> float | None:
    try:
        value = round(float(text or "") * unit, 3)
    except (ValueError, OverflowError):
        return None
    return value if 0 < value < 1e6 else None
