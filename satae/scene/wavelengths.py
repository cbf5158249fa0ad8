"""Where bands lie in the spectrum, as files say it: wavelengths and widths in nanometres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from satae.scene.source import Band

UNITS = {  # to nanometres
    "nanometers": 1.0, "nanometer": 1.0, "nm": 1.0, "micrometers": 1e3, "micrometer": 1e3, "microns": 1e3, "um": 1e3,
}  # fmt: skip


def of_tags(own: Mapping[str, str], imagery: Mapping[str, str]) -> tuple[float | None, float | None]:
    """(wavelength, width) in nanometres of a band from its metadata, those of GDAL's domain IMAGERY first.

    GDAL states micrometres there; what it copies from ENVI headers has a unit of its own.
    """
    factor = UNITS.get(own.get("wavelength_units", "").lower())
    # what satae wrote itself comes first
    said = [(imagery.get("CENTRAL_WAVELENGTH_UM"), imagery.get("FWHM_UM"), 1e3)]
    if factor is not None:
        said.append((own.get("wavelength"), own.get("fwhm"), factor))
    for centre, width, unit in said:
        if (nm := _nanometres(centre, unit)) is not None:
            return nm, _nanometres(width, unit)
    return None, None


def to_tags(wavelength: float | None, width: float | None) -> dict[str, str]:
    """The metadata of a band in GDAL's domain IMAGERY."""
    said = {"CENTRAL_WAVELENGTH_UM": wavelength, "FWHM_UM": width}
    return {name: f"{nm / 1e3:.6f}" for name, nm in said.items() if nm is not None}


def name(wavelength: float | None) -> str:
    """What a band is called that has no name: 1004.56 nm; empty where its wavelength is not known."""
    return "" if wavelength is None else f"{wavelength:g} nm"


def left_out(bands: Sequence[Band], before: str, after: str) -> tuple[str, ...]:
    """What to say of bands that are not good, with the words around their numbers; nothing where all are good."""
    bad = [b.index for b in bands if not b.good]
    return (f"{before} {_ranges(bad)} {after}; left out: name them in --bands to use them",) if bad else ()


def _ranges(numbers: list[int]) -> str:
    """band 3, or bands 1 to 4, 9."""
    parts, start = [], numbers[0]
    for number, after in zip(numbers, [*numbers[1:], -1], strict=True):
        if after != number + 1:
            parts.append(str(start) if start == number else f"{start} to {number}")
            start = after
    return ("bands " if len(numbers) > 1 else "band ") + ", ".join(parts)


def _nanometres(text: str | None, unit: float) -> float | None:
    try:
        value = round(float(text or "") * unit, 3)
    except (ValueError, OverflowError):
        return None
    return value if 0 < value < 1e6 else None
