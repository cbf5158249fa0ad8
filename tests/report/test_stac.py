"""STAC Items: against the schemas of STAC 1.1, the rules of its extensions, and what lies in the files they name."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import numpy as np
import onnxruntime
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rows import grid, layer

from satae import formats
from satae.errors import OutputError
from satae.gis.layers import SceneLayer
from satae.inference import runtime
from satae.report import stac
from satae.scene.describe import describe
from satae.scoring import run as scoring
from satae.scoring.outputs import Options

NAMES = {"type": "array", "items": {"type": "string", "minLength": 1}}
TASKS = {"type": "array", "uniqueItems": True, "items": {"enum": ["regression"]}, "minItems": 1}
TENSOR = {
    "type": "object",
    "required": ["shape", "dim_order", "data_type"],
    "properties": {
        "shape": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": -1}},
        "dim_order": {"type": "array", "uniqueItems": True, "items": {"pattern": "^[a-z-_]+$"}},
        "data_type": {"const": "float32"},
    },
}
CHECKSUM = {"type": "string", "pattern": "^1220[0-9a-f]{64}$"}


def bands_of(kind: str) -> dict[str, Any]:
    """The dimension `bands` is there exactly where bands are named."""
    has = {"properties": {kind: {"properties": {"dim_order": {"contains": {"const": "bands"}}}}}}
    none = {"properties": {kind: {"properties": {"dim_order": {"not": {"contains": {"const": "bands"}}}}}}}
    return {
        "if": {"properties": {"bands": {"minItems": 1}}, "required": ["bands"]},
        "then": has,
        "else": none,
    }


# What version 1.5.0 of the Machine Learning Model extension asks of an Item, as far as satae uses it.
MLM = {
    "properties": {
        "stac_extensions": {
            "contains": {"const": "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"}
        },
        "properties": {
            "required": ["mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output", "bands"],
            "properties": {
                "mlm:name": {"type": "string", "pattern": r"^[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]$"},
                "mlm:architecture": {"type": "string"},
                "mlm:tasks": TASKS,
                "mlm:framework": {"enum": ["PyTorch", "ONNX"]},
                "mlm:total_parameters": {"type": "integer", "minimum": 0},
                "mlm:input": {
                    "type": "array",
                    "items": {
                        "required": ["name", "input"],
                        "properties": {"input": TENSOR, "bands": NAMES, "value_scaling": {"type": "null"}},
                        **bands_of("input"),
                    },
                },
                "mlm:output": {
                    "type": "array",
                    "items": {
                        "required": ["name", "tasks", "result"],
                        "properties": {"result": TENSOR, "tasks": TASKS, "bands": NAMES},
                        **bands_of("result"),
                    },
                },
                "mlm:hyperparameters": {
                    "type": "object",
                    "minProperties": 1,
                    "patternProperties": {"^[0-9a-zA-Z_.-]+$": True},
                    "additionalProperties": False,
                },
            },
            "patternProperties": {"^(?!mlm:)": {}},
            "additionalProperties": False,
        },
        "assets": {
            "additionalProperties": {
                "required": ["roles", "mlm:artifact_type"],
                "properties": {
                    "roles": {"contains": {"const": "mlm:model"}},
                    "mlm:artifact_type": {"type": "string", "minLength": 1},
                    "file:checksum": CHECKSUM,
                },
                "not": {"anyOf": [{"required": [f"mlm:{k}"]} for k in ("name", "input", "output")]},
            }
        },
    }
}
PROJECTION = {
    "required": ["proj:code", "proj:shape", "proj:transform"],
    "properties": {
        "proj:code": {"type": ["string", "null"], "pattern": "^[A-Z]+:[0-9A-Z]+$"},
        "proj:shape": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer"}},
        "proj:transform": {"type": "array", "minItems": 6, "maxItems": 6, "items": {"type": "number"}},
    },
}


def checked(item: dict[str, Any]) -> pystac.Item:
    """A valid Item of STAC 1.1, read by pystac."""
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")
    return pystac.Item.from_dict(item)


@pytest.fixture(scope="module")
def folder(
    model_path: Path, model: runtime.Model, scene_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    made = tmp_path_factory.mktemp("stac")
    options = Options(workers=1, chips=0, stac=model_path, created="2026-01-02T03:04:05Z")
    result = scoring.score([describe([scene_path])], model, made / "é #1.gpkg", options)
    assert result.stac == made / "é #1_stac.json"
    return made


def item(folder: Path, tail: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"é #1_{tail}.json").read_text(encoding="utf-8"))
    return found


def test_the_result_is_an_item_whose_assets_are_there(folder: Path, scene_path: Path) -> None:
    found = checked(item(folder, "stac"))
    names = {key: unquote(asset.href) for key, asset in found.assets.items()}
    assert names == {"anomalies": "./é #1.gpkg", "heatmap": "./é #1_heatmap.tif"}
    assert all((folder / name).is_file() for name in names.values())
    assert found.properties["datetime"] == "2026-01-02T03:04:05Z"
    assert found.properties["keywords"] == ["anomaly-detection"]


def test_the_result_is_derived_from_scene_and_model(folder: Path, scene_path: Path) -> None:
    links = [link for link in item(folder, "stac")["links"] if link["rel"] == "derived_from"]
    paths = [folder / unquote(link["href"]) for link in links]
    assert [path.resolve() for path in paths] == [scene_path, folder / "é #1_stac_model.json"]
    checked(json.loads(paths[1].read_text(encoding="utf-8")))


def test_the_footprint_is_that_of_the_scene(folder: Path, scene_path: Path) -> None:
    found = item(folder, "stac")
    with rasterio.open(scene_path) as dataset:
        west, south, east, north = rasterio.warp.transform_bounds(dataset.crs, "OGC:CRS84", *dataset.bounds)
        heat = found["assets"]["heatmap"]
        jsonschema.validate(heat, PROJECTION)
        assert heat["proj:code"] == "EPSG:32632" and heat["proj:shape"] == [*dataset.shape]
        assert heat["proj:transform"] == list(dataset.transform)[:6]
    assert found["bbox"] == pytest.approx([west, south, east, north], abs=1e-4)
    assert shapely.geometry.shape(found["geometry"]).bounds == pytest.approx(found["bbox"])


def test_the_model_is_an_mlm_item(folder: Path, model_path: Path) -> None:
    found = item(folder, "stac_model")
    checked(found)
    jsonschema.validate(found, MLM)
    properties, asset = found["properties"], found["assets"]["model"]
    assert properties["mlm:tasks"] == ["regression"] and "anomaly-detection" in properties["keywords"]
    assert (folder / unquote(asset["href"])).resolve() == model_path
    assert asset["file:checksum"] == "1220" + hashlib.sha256(model_path.read_bytes()).hexdigest()


def test_inputs_and_outputs_are_those_of_the_onnx_file(folder: Path, model_path: Path) -> None:
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    properties = item(folder, "stac_model")["properties"]
    inputs = {t["name"]: t["input"]["shape"] for t in properties["mlm:input"]}
    outputs = {t["name"]: t["result"]["shape"] for t in properties["mlm:output"]}
    for said, held in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        assert said == {t.name: [d if isinstance(d, int) else -1 for d in t.shape] for t in held}
    assert inputs == {"image": [-1, 4, -1, -1], "valid": [-1, 1, -1, -1]}
    assert properties["mlm:input"][0]["bands"] == [b["name"] for b in properties["bands"]]


@pytest.mark.parametrize("break_it", ["mlm:name", "mlm:input", "mlm:tasks", "bands"])
def test_the_schema_notices_what_is_missing(folder: Path, break_it: str) -> None:
    found = item(folder, "stac_model")
    del found["properties"][break_it]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, MLM)


def of(*scenes: SceneLayer) -> dict[str, Any]:
    media_type = formats.FORMATS[".gpkg"].media_type
    found = stac.result(Path("out.gpkg"), scenes, media_type)
    checked(found)
    return found


def test_a_scene_without_crs_gives_an_item_without_geometry() -> None:
    given = layer(grid(None))
    given = replace(given, scene=replace(given.scene, threshold=float("nan")))
    found = of(given)
    assert found["geometry"] is None and "bbox" not in found
    assert found["properties"]["satae:scenes"][0]["threshold"] is None


def test_several_scenes_share_one_item() -> None:
    other = grid("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_200_000))
    found = of(layer(grid(), "a"), layer(other, "b"))
    assert sorted(found["assets"]) == ["anomalies", "heatmap_a", "heatmap_b"]
    assert found["geometry"]["type"] == "MultiPolygon"
    assert found["bbox"] == pytest.approx([9, 46.95, 15, 46.95], abs=0.02)
    assert found["properties"]["satae:anomalies"] == 2


def test_an_item_is_cut_at_the_antimeridian() -> None:
    found = of(layer(grid("EPSG:3832", Affine(10, 0, 3339584.72 - 320, 0, -10, 1e6))))
    assert len(found["geometry"]["coordinates"]) == 2
    assert found["bbox"][0] > 179 and found["bbox"][2] < -179


def test_training_scenes_without_a_place_give_no_geometry(model: runtime.Model) -> None:
    scenes = [scene.model_copy(update={"gsd_m": None}) for scene in model.card.scenes]
    lost = replace(model, card=model.card.model_copy(update={"scenes": scenes}))
    found = stac.model_item(lost, "./model.onnx")
    checked(found)
    assert found["geometry"] is None and "bbox" not in found


def test_settings_without_end_are_null(model: runtime.Model) -> None:
    recipe = model.card.recipe | {"far": {"away": np.inf}}
    found = stac.model_item(replace(model, card=model.card.model_copy(update={"recipe": recipe})), "./m.onnx")
    assert found["properties"]["mlm:hyperparameters"]["far"] == {"away": None}


def test_items_follow_overwriting(
    tmp_path: Path, model_path: Path, model: runtime.Model, scene_path: Path
) -> None:
    out, scene = tmp_path / "out.geojson", describe([scene_path])
    first, second = stac.targets(out)
    first.write_text('{"type": "Feature", "properties": {}}')
    with pytest.raises(OutputError, match=r"out_stac\.json exists; pass --overwrite"):
        scoring.score([scene], model, out, Options(workers=1, chips=0, stac=model_path))
    with pytest.raises(OutputError, match=r"out_stac\.json is a file that satae did not write"):
        scoring.score([scene], model, out, Options(workers=1, chips=0, stac=model_path, overwrite=True))
    assert [p.name for p in tmp_path.iterdir()] == [first.name]
    first.unlink()
    scoring.score([scene], model, out, Options(workers=1, chips=0, stac=model_path, overwrite=True))
    assert checked(json.loads(first.read_text())).assets["anomalies"].media_type == "application/geo+json"
    scoring.score([scene], model, out, Options(workers=1, chips=0, overwrite=True))
    assert not first.exists() and not second.exists()
    first.write_text('{"type": "Feature", "properties": {"mine": 1}}')
    scoring.score([scene], model, out, Options(workers=1, chips=0, overwrite=True))
    assert first.exists()
