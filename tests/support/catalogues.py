"""STAC items as catalogues have them, written in code with the files that their assets are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from deliveries import raster

SEEN = {
    "blue": ("B02", 0.493),
    "green": ("B03", 0.56),
    "red": ("B04", 0.665),
    "nir": ("B08", 0.833),
}  # micrometres


def earth_search(
    folder: Path,
    images: Mapping[str, np.ndarray],
    *,
    id: str = "S2A_32TQM_20230615_0_L2A",
    offset: float | None = -0.1,
    applied: bool | None = None,
    baseline: str = "05.09",
    classes: np.ndarray | None = None,
) -> Path:
    """The file of an item as earth-search states it: `images` (row, col) of 10 m by common name, `classes` of 20 m."""
    assets: dict[str, Any] = {}
    for name, image in images.items():
        raster(folder / f"{name}.tif", image[None].astype(np.uint16), 10)
        own, centre = SEEN[name]
        bands = {
            "nodata": 0,
            "data_type": "uint16",
            "spatial_resolution": 10,
            "scale": 0.0001,
            "offset": offset,
        }
        assets[name] = {
            "href": f"./{name}.tif", "type": "image/tiff; application=geotiff; profile=cloud-optimized", "gsd": 10,
            "roles": ["data", "reflectance"], "proj:shape": list(image.shape),
            "eo:bands": [{"name": own, "common_name": name, "center_wavelength": centre}],
            "raster:bands": [{k: v for k, v in bands.items() if v is not None}],
        }  # fmt: skip
        assets[f"{name}-jp2"] = {**assets[name], "href": f"s3://elsewhere/{own}.jp2", "type": "image/jp2"}
    if classes is not None:
        raster(folder / "SCL.tif", classes[None].astype(np.uint8), 20)
        assets["scl"] = {"href": "SCL.tif", "type": "image/tiff", "roles": ["data", "reflectance"]}
    assets["thumbnail"] = {"href": "https://elsewhere.example/thumbnail.jpg", "roles": ["thumbnail"]}
    properties: dict[str, Any] = {
        "datetime": "2023-06-15T10:16:01.024Z", "platform": "sentinel-2a", "constellation": "sentinel-2",
        "proj:code": "EPSG:32632", "s2:processing_baseline": baseline,
    }  # fmt: skip
    if applied is not None:
        properties["earthsearch:boa_offset_applied"] = applied
    return written(folder / f"{id}.json", item(id, assets, properties))


def item(id: str, assets: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """An item of these assets."""
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": id, "geometry": None, "bbox": None, "links": [],
        "properties": {"datetime": "2023-06-15T00:00:00Z", **properties}, "assets": dict(assets),
    }  # fmt: skip


def collection(path: Path, items: Sequence[Path]) -> Path:
    """An ItemCollection of items that lie in the same folder."""
    found = [json.loads(p.read_text()) for p in items]
    return written(path, {"type": "FeatureCollection", "features": found})


def written(path: Path, content: object) -> Path:
    """Content as a file of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
