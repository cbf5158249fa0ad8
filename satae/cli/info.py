"""What `satae info` says of a file. What one kind of file needs is imported for that kind alone."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satae.cli import freshness, things
from satae.errors import SceneError, TilesError

if TYPE_CHECKING:
    from satae.scene.products import Product
    from satae.scene.scene import Scene

LAYERS = (".geojson", ".parquet", ".fgb")  # results of one layer


def about(path: Path, *, check: bool = False) -> dict[str, Any]:
    """Facts on a scene, tile set, model or result, ready for JSON; `check` reads every block of it.

    Raises SceneError, TilesError or ModelError where the file is damaged or is none of these.
    """
    if (path / "tileset.json").is_file():
        return _tile_set(path, check)
    if (
        path.is_dir()
        or path.suffix.lower() in (".zip", ".tar", ".txt", ".xml", ".nc", ".he5", ".h5", ".json", ".geojson")
        or "#" in path.name
    ):
        from satae.scene import products

        if (product := products.at(path)) is not None:
            return _product(product, check)
    if path.is_dir():
        return _folder(path, check)
    if found := things.file(path):
        return found
    if path.suffix.lower() == ".onnx":
        return _model(path)
    if path.suffix.lower() == ".gpkg":
        return _result(path, check)
    if path.suffix.lower() in LAYERS:
        return _regions(path)
    if path.name.endswith("_state.tif") and (made := _made_by(path)).pop("state") is not None:
        # every block is read as those of a scene are
        checked = {"checked": _scene(path, check)["checked"]} if check else {}
        onward = f"satae series NEW-SCENE --state {path}"
        return {"kind": "state of a series", "path": str(path), **made, **checked, "next": onward}
    return _scene(path, check)


def _scene(path: Path, check: bool) -> dict[str, Any]:
    from satae.cli.products import band_facts
    from satae.geodesy import crs_name
    from satae.scene.describe import describe
    from satae.scene.stream import ahead, strips

    scene = describe([path])
    grid, sources = scene.grid, [f.source for f in scene.files for _ in f.bands]
    facts: dict[str, Any] = {
        "kind": "heatmap" if _is_heatmap(path, scene) else "scene",
        "path": str(scene.path),
        "height": grid.height,
        "width": grid.width,
        "bands": list(scene.names),
        "dtype": scene.dtype,
        "gsd_m": grid.gsd_m,
        "crs": crs_name(grid.crs),
        "transform": list(grid.transform)[:6],
        "block": list(scene.block),
        "alpha_band": scene.alpha,
        "band_table": [
            band_facts(source, replace(band, name=name), path)
            for source, band, name in zip(sources, scene.bands, scene.names, strict=True)
        ],
    }
    if facts["kind"] == "heatmap":
        facts |= freshness.of_heatmap(path)
    if check:
        valid = sum(int(good.sum()) for _, _, good in ahead(scene, strips(scene, 256, 0), 0, 1))
        facts |= {"checked": True, "valid_fraction": valid / grid.pixels}
    return facts


def _is_heatmap(path: Path, scene: Scene) -> bool:
    """Whether a raster is a heatmap: by what its band is called, or as those of a series and of older versions."""
    from satae.scene.output import HEAT

    named = scene.names == (HEAT,) or path.stem.endswith("_heatmap")
    return scene.dtype == "float32" and named


def _folder(path: Path, check: bool) -> dict[str, Any]:
    if found := things.folder(path):
        return found
    raise SceneError(
        f"{path} is a folder, and neither a tile set nor a training run of satae; name a file in it"
    )


def _product(product: Product, check: bool) -> dict[str, Any]:
    """What a provider says of an acquisition; the scene that it makes by default where its pixels are checked."""
    from satae.cli.products import facts

    return facts(product) | ({"scene": _scene(product.path, True)} if check else {})


def _tile_set(path: Path, check: bool) -> dict[str, Any]:
    from satae.tiles.store import load

    opened = load(path)
    facts: dict[str, Any] = {"kind": "tile set", "path": str(path)}
    facts |= json.loads(
        opened.record.model_dump_json(exclude={"files", "crs", "transform", "wavelengths", "widths"})
    )
    facts["files"] = [f.path for f in opened.record.files]
    facts |= freshness.of_tiles(path, facts["files"])
    if check:
        valid = sum(int(v.sum()) for v in opened.valid)
        filled = any(i[:, ~v].any() for i, v in zip(opened.images, opened.valid, strict=True))
        if valid != opened.record.valid_pixels or filled:
            raise TilesError(f"{path} is damaged: its pixels are not those that were cut; cut it again")
        facts["checked"] = True
    return facts


def _model(path: Path) -> dict[str, Any]:
    from satae.inference import runtime, sequences

    if path.is_file() and sequences.carries(path.read_bytes()):
        return _network(path)
    model = runtime.load(path, "cpu")
    card = model.card
    facts: dict[str, Any] = {"kind": "model", "path": str(path), "sha256": model.sha256}
    facts |= card.model_dump(
        include={
            "satae_version", "created", "architecture", "parameters", "weights", "objective", "score", "dtype",
            "gsd_m", "tile", "stride", "halo", "code_size", "metrics", "precision",
        }
    )  # fmt: skip
    facts["looks_for"] = f"{card.kind}s"
    facts["bands"] = [b.name for b in card.bands]
    facts["scenes"] = [s.name for s in card.scenes]
    facts["parity"] = card.parity.share_of_range
    if card.calibration is not None:
        c = card.calibration
        facts |= {"held_out_pixels": c.pixels, "held_out_blocks": c.blocks, "held_out_regions": c.region.n}
    return facts


def _network(path: Path) -> dict[str, Any]:
    """Facts on a network over the dates of one place."""
    from satae.inference import network

    card = network.load(path).card
    facts: dict[str, Any] = {"kind": "network over dates", "path": str(path)}
    facts |= card.model_dump(
        include={
            "satae_version",
            "created",
            "architecture",
            "parameters",
            "weights",
            "metrics",
            "dates",
            "far",
            "threshold",
        }
    )
    return facts | {
        "bands": list(card.bands), "history": list(card.history), "parity": card.parity.share_of_range
    }  # fmt: skip


def _result(path: Path, check: bool) -> dict[str, Any]:
    if not path.is_file():
        raise SceneError(f"{path} does not exist")
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        database.row_factory = sqlite3.Row
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'changes'").fetchone():
            with closing(database):
                return _changes(path, database, check)
        there = {row[1] for row in database.execute("PRAGMA table_info(scenes)")}
        # results of older versions are of objects alone
        kind = "kind" if "kind" in there else "'object' AS kind"
        columns = f"scene, {kind}, path, anomalies, threshold, rule, valid_fraction, provider, model_sha256, created"
        rows = [dict(r) for r in database.execute(f"SELECT {columns} FROM scenes")]
        statuses = dict(
            tuple(r) for r in database.execute("SELECT review_status, count(*) FROM anomalies GROUP BY 1")
        )
        state = database.execute("PRAGMA integrity_check").fetchone()[0] if check else "ok"
        database.close()
    except sqlite3.Error as error:
        raise SceneError(f"{path} is not a result of `satae score` or `satae series` ({error})") from error
    facts: dict[str, Any] = {
        "kind": "result",
        "path": str(path),
        "anomalies": sum(r["anomalies"] for r in rows),
    }
    if state != "ok":
        raise SceneError(f"{path} is damaged ({state}); score the scenes again")
    if check:
        facts["checked"] = True
    facts |= {"review": statuses, "scenes": rows, **freshness.of_result(path, rows)}
    # reviewed or not, a browser shows what there is
    return facts | ({"next": f"satae review {path}"} if facts["anomalies"] else {})


def _changes(path: Path, database: sqlite3.Connection, check: bool) -> dict[str, Any]:
    """Facts on a result of `satae series`; the state beside it knows by what it was made."""
    statuses = dict(
        tuple(r) for r in database.execute("SELECT review_status, count(*) FROM changes GROUP BY 1")
    )
    span = "count(*) AS dates, min(date) AS first_date, max(date) AS last_date"
    facts: dict[str, Any] = {
        "kind": "result of a series",
        "path": str(path),
        "changes": sum(statuses.values()),
        **database.execute(f"SELECT {span} FROM dates").fetchone(),
        "review": statuses,
        **_made_by(path.with_name(f"{path.stem}_state.tif")),
    }
    whole = database.execute("PRAGMA integrity_check").fetchone()[0] if check else "ok"
    if whole != "ok":
        raise SceneError(f"{path} is damaged ({whole}); score the dates again")
    for end in ("first_date", "last_date"):
        facts[end] = facts[end] and str(facts[end])[:10]
    if check:
        facts["checked"] = True
    return facts | ({"next": f"satae review {path}"} if facts["changes"] else {})


def _made_by(path: Path) -> dict[str, Any]:
    """What a state says of the result that lies beside it."""
    from satae.errors import ResultError
    from satae.series import dates, state

    try:
        said = state.header(path)
    except ResultError:
        return {"state": None}
    past = said.history
    return {
        "state": path.name,
        "model": said.model,
        "history": f"{len(past)} dates, {dates.text_of(min(past))} to {dates.text_of(max(past))}",
        "scored": len(said.scored),
        "scored_to": dates.text_of(max(s.day for s in said.scored)) if said.scored else None,
        "bands": list(said.bands),
        "far": said.far,
        "persistence": f"{said.keep[0]}/{said.keep[1]}",
        "least": said.least,
        "threshold": said.threshold if math.isfinite(said.threshold) else None,
        "satae_version": said.satae_version,
    }


def _regions(path: Path) -> dict[str, Any]:
    """A result of one layer, which is read whole; an empty GeoJSON has no columns to know it by."""
    import geopandas
    import pyogrio

    from satae import formats
    from satae.scene.links import check_links

    if not path.is_file():
        raise SceneError(f"{path} does not exist")
    formats.FORMATS[path.suffix.lower()].check("OGC:CRS84")
    check_links(path)
    read = geopandas.read_parquet if path.suffix.lower() == ".parquet" else pyogrio.read_dataframe
    try:
        rows = read(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError, OSError, ValueError) as error:
        raise SceneError(f"{path} is not a result of `satae score` ({error})") from error
    if len(rows) and not {"anomaly_id", "review_status"} <= set(rows.columns):
        raise SceneError(f"{path} is not a result of `satae score`: it has no anomaly_id and review_status")
    review = rows["review_status"].value_counts().to_dict() if len(rows) else {}
    return {"kind": "result", "path": str(path), "anomalies": len(rows), "review": review}
