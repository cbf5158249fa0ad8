"""Peak memory and time of `satae series` on 140 dates of 1,000 x 1,000 pixels in 4 bands, made up of one real place.

    pip install --no-deps nrt==0.1.0
    python benchmarks/series_memory.py FOLDER

The Romanian cube (`romania.py`) is repeated in rows and columns, with noise of 20 DN, until the place and the dates are
as many; the dates are those of the cube and some between. 1.1 GB is written to the folder.
"""

import resource
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
import romania

DATES, SIDE = 140, 1000
NOISE = 20.0  # DN


def write(folder: Path) -> None:
    """The dates, where they are not there."""
    small = romania.write(romania.cube(), folder / "cube")
    large = folder / "dates"
    large.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    taken = {path.stem[3:] for path in small}
    for number in range(DATES):
        source = small[number % len(small)]
        day = date.fromisoformat(source.stem[3:])
        while number >= len(small) and f"{day:%Y%m%d}" in taken:
            day += timedelta(days=1)
        taken.add(f"{day:%Y%m%d}")
        with rasterio.open(source) as file:
            image, profile = file.read(), file.profile
        _, height, width = image.shape
        image = np.tile(image, (1, -(-SIDE // height), -(-SIDE // width)))[:, :SIDE, :SIDE]
        noisy = np.clip(image + rng.normal(0, NOISE, image.shape), 1, 65535)
        profile.update(height=SIDE, width=SIDE)
        with rasterio.open(large / f"S2_{day:%Y%m%d}.tif", "w", **profile) as file:
            file.write(np.where(image > 0, np.rint(noisy), 0).astype(np.uint16))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("python benchmarks/series_memory.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder)
    began = time.monotonic()
    out = str(folder / "changes.gpkg")
    words = [sys.executable, "-m", "satae", "series", str(folder / "dates"), "--out", out, "--overwrite"]
    subprocess.run(words, check=True)
    # of children, in KiB: nothing else was started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{peak:.0f} MiB at the peak, {time.monotonic() - began:.0f} s")
