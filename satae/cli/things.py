"""What the files and folders are that satae writes beside tile sets, models and results: known by name, not opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SAMPLE = 1024  # bytes that tell a report of satae from other pages

# names of files that lie in folders of satae, and what they are
PARTS = {
    "tileset.json": "record of a tile set; name its folder to `satae info`",
    "footprints.geojson": "outlines of the tiles of a tile set",
    "tiles.npy": "pixels of a tile set; name its folder to `satae info`",
    "valid.npy": "valid pixels of a tile set; name its folder to `satae info`",
    "index.npy": "places of the tiles of a tile set; name its folder to `satae info`",
    "config.yaml": "recipe of a training run",
    "checkpoint.pt": "checkpoint, from which `satae train --resume` goes on",
    "history.jsonl": "losses of a training run",
    "history.csv": "losses of a training run, as a table",
    "evidence.json": "figures of a training run's diagnosis, as JSON",
    "diagnosis.md": "diagnosis of a training run, to be read",
    "curves.png": "losses of a training run, as a picture",
    "reconstructions.png": "tiles of a training run as the model sees them, as a picture",
}
# how the names of files end that lie beside a result
BESIDE = {
    "_heatmap.qml": "style of a heatmap for QGIS",
    "_stac.json": "STAC Item of a result",
    "_stac_model.json": "STAC Item of a model",
    "_reviewed_before.gpkg": "decisions of earlier reviews of a result",
}


def folder(path: Path) -> dict[str, Any] | None:
    """Facts on a folder of satae that is no tile set, None where it is none of satae's."""
    if (path / "config.yaml").is_file():
        from satae.cli import outcome

        holds = sorted(f"{p.name} ({PARTS[p.name]})" for p in path.iterdir() if p.name in PARTS)
        return {"kind": "training run", "path": str(path), **outcome.of_run(path), "holds": holds}
    for inner, kind in (("tileset.json", "folder of tile sets"), ("config.yaml", "folder of training runs")):
        if found := sorted(p.parent.name for p in path.glob(f"*/{inner}")):
            return {"kind": kind, "path": str(path), "holds": found}
    if (path / "journal.jsonl").is_file() and (path / "scenes").is_dir():
        made = sorted(p.name for p in (path / "scenes").iterdir() if p.is_dir())
        return {"kind": "run over many scenes", "path": str(path), "finished": len(made)}
    if path.name.endswith("_chips"):
        pictures = sum(p.suffix in (".png", ".jpg", ".webp") for p in path.iterdir())
        return {"kind": "pictures of the regions of a result", "path": str(path), "pictures": pictures}
    results = sorted(p.name for p in path.glob("*.gpkg") if (path / f"{p.stem}.html").is_file())
    return {"kind": "folder with results", "path": str(path), "holds": results} if results else None


def file(path: Path) -> dict[str, Any] | None:
    """Facts on a file of satae that is no scene, model or result, None where it is none of satae's."""
    meaning = PARTS.get(path.name) or next(
        (text for end, text in BESIDE.items() if path.name.endswith(end)), None
    )
    if meaning is None and path.suffix.lower() == ".html" and _is_report(path):
        meaning = "report of a result, which any browser opens"
    if meaning is None or not path.is_file():
        return None
    return {"kind": meaning, "path": str(path)}


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as page:
            return b'<meta name="generator" content="satae' in page.read(SAMPLE)
    except OSError:
        return False
