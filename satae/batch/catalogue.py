"""A static STAC catalogue of a run: a page of Items for every thousand scenes, each with its heatmap and source."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from satae.batch import store
from satae.batch.folders import CATALOGUE
from satae.batch.store import Summary
from satae.gis.layers import SceneLayer
from satae.report import stac
from satae.scoring.record import HEATMAP

NAME, ITEMS = CATALOGUE, "stac"
PAGE = 1000  # Items of a page, which programs load as a whole
ABOUT = "Regions that are out of place in many scenes, and heatmaps, by satae."


def write(folder: Path, found: Iterable[Summary]) -> None:
    """Write the catalogue of finished scenes, and its pages below it, to `folder`, from where it will be moved."""
    places, pages = iter(found), list[dict[str, str]]()
    while some := list(islice(places, PAGE)):
        name = f"{len(pages):05d}"
        inside = folder / ITEMS / name
        inside.mkdir(parents=True)
        links = []
        layers = [replace(store.bare(summary), heatmap=HEATMAP) for summary in some]
        for summary, layer, place in zip(some, layers, stac.places(layers), strict=True):
            item = _item(summary, layer, place)
            file = f"{summary.row['scene']}.json"
            _dump(inside / file, item)
            links.append({"rel": "item", "href": f"./{quote(file)}", "type": "application/geo+json"})
        above = {"root": "../../catalog.json", "parent": "../../catalog.json"}
        _dump(inside / NAME, _catalogue(f"satae-{name}", [*_links(above), *links]))
        pages.append({"rel": "child", "href": f"./{ITEMS}/{name}/{NAME}", "type": "application/json"})
    _dump(folder / NAME, _catalogue("satae", [*_links({"root": f"./{NAME}"}), *pages]))


def _item(summary: Summary, layer: SceneLayer, place: dict[str, Any]) -> dict[str, Any]:
    """The Item of a scene: where it lies, what was found, its heatmap, and what it was derived from."""
    found = stac.result(Path(HEATMAP), [layer], "application/json", place)
    up = f"../../{summary.folder.parent.name}/{quote(summary.folder.name)}"
    found["id"] = summary.row["scene"]
    found["assets"]["anomalies"]["href"] = f"{up}/{store.REGIONS}"
    found["assets"]["heatmap"]["href"] = f"{up}/{HEATMAP}"
    sources = [
        {"rel": "derived_from", "href": Path(path).absolute().as_uri()} for path in summary.about["files"]
    ]
    above = {"root": "../../catalog.json", "parent": f"./{NAME}"}
    return found | {"links": [*_links(above), *sources]}


def _catalogue(name: str, links: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "type": "Catalog", "stac_version": stac.VERSION, "id": name, "description": ABOUT, "links": links,
    }  # fmt: skip


def _links(places: dict[str, str]) -> Iterator[dict[str, str]]:
    for rel, href in places.items():
        yield {"rel": rel, "href": href, "type": "application/json"}


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False), encoding="utf-8")
