"""What was found, as STAC Items beside it: the result, and the model that it is derived from (MLM extension).

Items are plain JSON; no library is needed to write them, and nothing is read from or sent to a network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyproj
import shapely

from satae import __version__
from satae.errors import ConfigError
from satae.formats import geojson
from satae.gis import layers
from satae.gis.columns import values
from satae.gis.layers import SceneLayer
from satae.inference.card import Card
from satae.inference.runtime import Model
from satae.later import Later

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Later("pandas")

VERSION = "1.1.0"
EXTENSIONS = "https://stac-extensions.github.io"
PROJECTION = f"{EXTENSIONS}/projection/v2.0.0/schema.json"
PROCESSING = f"{EXTENSIONS}/processing/v1.2.0/schema.json"
FILE = f"{EXTENSIONS}/file/v2.1.0/schema.json"
MLM = f"{EXTENSIONS}/mlm/v1.5.0/schema.json"
GEOTIFF = "image/tiff; application=geotiff"
COG = f"{GEOTIFF}; profile=cloud-optimized"
SOFTWARE = "processing:software"
SHA256 = "1220"  # how a multihash of that kind begins
TEXTS = {
    "image": "stored values (DN) as {dtype}, bands in this order; normalised inside the model",
    "valid": "1 where the pixel counts, 0 where it does not",
    "anomaly_map": "anomaly score of each pixel, 0 or more, larger is more unusual",
    "pred_score": "one anomaly score an image",
    "band_error": "what each band adds to the anomaly map",
    "reconstruction": "what was expected, in DN",
}
AXES = ("batch", "channel", "height", "width")


def targets(out: Path) -> tuple[Path, Path]:
    """Where the Items of a result and of its model lie."""
    return out.with_name(f"{out.stem}_stac.json"), out.with_name(f"{out.stem}_stac_model.json")


def write(
    folder: Path,
    out: Path,
    scenes: Sequence[SceneLayer],
    *,
    sources: Sequence[Iterable[Path]],
    media_type: str,
    model: Model,
    model_path: Path,
) -> None:
    """Write the Items that belong to `out`, which is of `media_type`, to `folder`.

    `sources` are the files of each scene. Links in them are relative to where `out` will lie.
    """
    of_result, of_model = targets(out)
    derived = [
        _link(_href(path, out.parent), GEOTIFF, f"scene {layer.scene.scene}")
        for layer, paths in zip(scenes, sources, strict=True)
        for path in paths
    ]
    derived.append(_link(_href(of_model, out.parent), "application/geo+json", f"model {model.name}"))
    found = result(out, scenes, media_type) | {"links": derived}
    items = {of_result: found, of_model: model_item(model, _href(model_path, out.parent))}
    texts = {t: json.dumps(item, indent=1, ensure_ascii=False, allow_nan=False) for t, item in items.items()}
    for target, text in texts.items():
        (folder / target.name).write_text(text, encoding="utf-8")


def older(out: Path) -> list[Path]:
    """Items of an older result of this name, to go when it is replaced; other people's files stay."""
    found = []
    for target in targets(out):
        try:
            ours = "satae" in json.loads(target.read_text(encoding="utf-8"))["properties"][SOFTWARE]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if ours:
            found.append(target)
    return found


def result(
    out: Path, scenes: Sequence[SceneLayer], media_type: str, place: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The Item of a result, without links. Its time is that of scoring: a GeoTIFF does not say when it was taken.

    `place` is what `places` gives, where it is known.
    """
    created = scenes[0].scene.created
    rows = [{key: _plain(value) for key, value in values(s.scene).items()} for s in scenes]
    names = ", ".join(row["scene"] for row in rows)
    properties = {
        "datetime": created,
        "created": created,
        "title": f"Anomalies of {names}",
        "description": "Regions that are out of place, and a heatmap; datetime is the time of scoring.",
        "keywords": ["anomaly-detection"],
        SOFTWARE: {"satae": __version__},
        "satae:anomalies": sum(row["anomalies"] for row in rows),
        "satae:scenes": [{k: v for k, v in row.items() if k not in ("path", "crs")} for row in rows],
    }
    assets = {"anomalies": {"href": f"./{quote(out.name)}", "type": media_type, "roles": ["data"]}}
    for s in scenes:
        key = "heatmap" if len(scenes) == 1 else f"heatmap_{s.scene.scene}"
        about = {"href": f"./{quote(s.heatmap)}", "type": COG, "roles": ["data"], "data_type": "float32"}
        title = "heat: -log10 of the tail probability of each pixel, NaN where not scored"
        assets[key] = about | {"title": title} | _projection(s)
    return _item(out.stem, [PROJECTION, PROCESSING], place or _footprint(scenes), properties, assets)


def model_item(model: Model, href: str) -> dict[str, Any]:
    """The Item of a model by its card, as the Machine Learning Model extension 1.5 has it."""
    card = model.card
    bands = [{"name": band.name, "data_type": card.dtype} for band in card.bands]
    properties = {
        "datetime": card.created,
        "created": card.created,
        "title": f"Anomaly detector {Path(model.name).stem}: {card.architecture}, score {card.score}",
        "keywords": ["anomaly-detection"],
        SOFTWARE: {"satae": card.satae_version},
        "bands": bands,
        "mlm:name": f"satae {card.architecture}",
        "mlm:architecture": card.architecture,
        "mlm:tasks": ["regression"],
        "mlm:framework": "ONNX",
        "mlm:total_parameters": card.weights,
        "mlm:input": [_tensor(t, card, "input") | NO_SCALING for t in model.session.get_inputs()],
        "mlm:output": [
            _tensor(t, card, "result") | {"tasks": ["regression"]} for t in model.session.get_outputs()
        ],
        "mlm:hyperparameters": json.loads(card.model_dump_json())["recipe"],  # infinite ones as null
        "satae:trained_on": [{"name": s.name, "sha256": s.sha256, "tiles": s.tiles} for s in card.scenes],
    }
    asset: dict[str, Any] = {
        "href": href,
        "type": "application/octet-stream; application=onnx",
        "roles": ["mlm:model"],
    }
    asset |= {"mlm:artifact_type": "onnx", "file:checksum": SHA256 + model.sha256}
    asset |= {"bands": bands}  # STAC allows them above only where an asset has them, MLM asks for them above
    name = f"{Path(model.name).stem}-{model.sha256[:12]}"
    return _item(name, [MLM, FILE, PROCESSING], _trained_on(card), properties, {"model": asset})


NO_SCALING = {"value_scaling": None, "resize_type": None, "pre_processing_function": None}


def _tensor(tensor: Any, card: Card, kind: str) -> dict[str, Any]:
    """An input or output of the session; an open dimension is -1."""
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    axes, bands = list(AXES[: len(shape)]), [band.name for band in card.bands]
    per_band = tensor.name in ("image", "band_error", "reconstruction")
    if per_band:
        axes[1] = "bands"
    return {
        "name": tensor.name,
        "description": TEXTS.get(tensor.name, tensor.name).format(dtype=card.dtype),
        "bands": bands if per_band else [],
        kind: {"shape": shape, "dim_order": axes, "data_type": "float32"},
    }


def _item(
    name: str, extensions: list[str], place: dict[str, Any], properties: Any, assets: Any
) -> dict[str, Any]:
    head = {"type": "Feature", "stac_version": VERSION, "stac_extensions": extensions, "id": name}
    return head | place | {"properties": properties, "links": [], "assets": assets}


def places(scenes: Sequence[SceneLayer]) -> list[dict[str, Any]]:
    """`geometry` and `bbox` of each scene alone; scenes that come one after the other in one CRS are quick."""
    found = list[dict[str, Any]]()
    for crs, some in groupby(scenes, key=lambda s: s.grid.crs):
        outlines = [shapely.Polygon(s.grid.footprint()) for s in some]
        try:
            geojson.check(crs)
        except ConfigError:
            found += [{"geometry": None} for _ in outlines]
        else:
            assert crs is not None
            # as the union of one is
            found += geojson.feature_geometries([shapely.union_all([o]) for o in outlines], crs)
    return found


def _footprint(scenes: Sequence[SceneLayer]) -> dict[str, Any]:
    """`geometry` and `bbox`; no geometry where WGS 84 cannot be had."""
    crs = layers.common_crs([s.grid for s in scenes])
    try:
        geojson.check(crs)
    except ConfigError:
        return {"geometry": None}
    assert crs is not None
    outlines = pd.concat([frame.geometry for frame in layers.footprints(scenes)])
    return geojson.feature_geometry(shapely.union_all(outlines.to_numpy()), crs)


def _trained_on(card: Card) -> dict[str, Any]:
    """Where the training scenes lie; they are in WGS 84 where their pixels have a size."""
    rings = [s.footprint for s in card.scenes if s.gsd_m is not None and s.footprint]
    rings = [ring for ring in rings if (np.abs(ring) <= [180, 90]).all()]
    if not rings:
        return {"geometry": None}
    return geojson.feature_geometry(shapely.union_all([shapely.Polygon(ring) for ring in rings]), "OGC:CRS84")


def _projection(layer: SceneLayer) -> dict[str, Any]:
    grid = layer.grid
    code = None if grid.crs is None else _code(grid.crs)
    place = {"proj:code": code, "proj:shape": [grid.height, grid.width]}
    place |= {"proj:transform": list(grid.transform)[:6]}
    return place if code or grid.crs is None else place | {"proj:wkt2": grid.crs}


@lru_cache(maxsize=256)
def _code(wkt: str) -> str | None:
    """What an authority calls a CRS, for looking it up takes long."""
    authority = pyproj.CRS.from_wkt(wkt).to_authority(min_confidence=100)
    return ":".join(authority) if authority else None


def _link(href: str, media_type: str, title: str) -> dict[str, str]:
    return {"rel": "derived_from", "href": href, "type": media_type, "title": title}


def _href(target: Path, folder: Path) -> str:
    """A reference to a file from one in `folder`."""
    try:
        path = Path(os.path.relpath(target.absolute(), folder.absolute())).as_posix()
    except ValueError:  # on another drive of Windows
        return target.absolute().as_uri()
    return quote(path if path.startswith("../") else f"./{path}")


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
