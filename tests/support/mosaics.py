"""VRT files written in code, and GDAL itself as their oracle: in a process of its own that satae never entered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

GDAL = """
import sys, warnings
import numpy as np, rasterio
warnings.simplefilter("ignore")
for path in sys.argv[1:]:
    with rasterio.open(path) as file:
        np.savez(path + ".npz", image=file.read(), valid=file.read_masks(), crs=file.crs.to_wkt() if file.crs else "",
            transform=file.transform[:6], names=[d or "" for d in file.descriptions])
"""


def by_gdal(*paths: Path) -> list[dict[str, np.ndarray]]:
    """What GDAL reads of each: image and masks (band, row, col), CRS, transform and names."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("GDAL_", "CPL_"))}
    subprocess.run([sys.executable, "-c", GDAL, *paths], check=True, env=usual)
    found = []
    for path in paths:
        with np.load(f"{path}.npz") as arrays:
            found.append(dict(arrays))
    return found


def shown(
    file: str,
    dst: Sequence[float] | None = None,
    *,
    src: Sequence[float] | None = None,
    band: int | str = 1,
    more: str = "",
    kind: str = "SimpleSource",
    attributes: str = "",
) -> str:
    """A source: rectangles are column, row, width, height, as VRT has them; the file itself has 40 x 50 pixels."""
    src = src or (dst and (0, 0, 50, 40))
    keys = ("xOff", "yOff", "xSize", "ySize")
    rectangles = "".join(
        f"<{name} " + " ".join(f'{k}="{v}"' for k, v in zip(keys, of, strict=True)) + "/>"
        for name, of in (("SrcRect", src), ("DstRect", dst))
        if of is not None
    )
    return (
        f'<{kind}{attributes}><SourceFilename relativeToVRT="1">{file}</SourceFilename><SourceBand>{band}</SourceBand>'
        f"{rectangles}{more}</{kind}>"
    )


def vrt(
    path: Path,
    bands: Sequence[str],
    size: tuple[int, int],
    *,
    dtype: str = "UInt16",
    more: str = "",
    srs: str = "EPSG:32632",
    attributes: str = "",
) -> Path:
    """A VRT of (rows, cols) and pixels of 10 m; each band is what stands in it."""
    inside = "".join(
        f'<VRTRasterBand dataType="{dtype}" band="{i}">{band}</VRTRasterBand>'
        for i, band in enumerate(bands, 1)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{size[1]}" rasterYSize="{size[0]}"{attributes}><SRS>{srs}</SRS>'
        f"<GeoTransform>600000, 10, 0, 5200000, 0, -10</GeoTransform>{more}{inside}</VRTDataset>"
    )
    return path
