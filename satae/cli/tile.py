"""The command `satae tile`: scenes into tile sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satae.api import CORES
from satae.cli.flags import PIXELS, BadTiles, Json, Overwrite, PixelOptions, Workers
from satae.cli.output import exit_if_damaged, say
from satae.console import Steps, quantity

if TYPE_CHECKING:
    from satae.tiles.store import TileSet


def tile(
    context: typer.Context,
    scenes: Annotated[
        list[str], typer.Argument(metavar="SCENE", help="Files, folders of products, or addresses.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tile sets.")] = Path("tiles"),
    size: Annotated[int, typer.Option(help="Side of a tile in pixels.")] = 64,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbouring tiles share.")] = 0,
    counted: PixelOptions = PIXELS,
    min_valid: Annotated[
        float,
        typer.Option(help="Leave out tiles of which a smaller share counts; at an edge, of the part inside."),
    ] = 0.5,
    patches: Annotated[bool, typer.Option("--patches", help="Write a GeoTIFF a tile too.")] = False,
    on_bad_tile: BadTiles = "stop",
    workers: Workers = CORES,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Split scenes into tiles."""
    from satae.api import tile as cutting
    from satae.cli import options
    from satae.tiles.cut import Cut

    steps: Steps = context.obj
    Cut(
        size, overlap, min_valid, patches, workers
    )  # what is wrong with these is said before scenes are looked at
    limits = options.limits_of(counted, on_bad_tile)
    paths = options.local_paths(scenes, counted, steps)
    found = options.scenes_at(paths, counted.bands, counted.stack, limits, counted.gsd)
    cuts = cutting.tile(
        found, out, size=size, overlap=overlap, min_valid=min_valid, patches=patches, workers=workers,
        overwrite=overwrite, progress=steps,
    )  # fmt: skip
    rows = [_row(tiles) for tiles in cuts]
    say(as_json, {"tilesets": rows}, [_line(row) for row in rows])
    exit_if_damaged((str(s.path), tiles.damage) for s, tiles in zip(found, cuts, strict=True))


def _row(tiles: "TileSet") -> dict[str, Any]:
    record = tiles.record
    return {
        "path": str(tiles.path), "scene": record.scene, "tiles": len(tiles), "bands": len(record.bands),
        "size": record.size, "left_out": record.left_out, "left_out_pixels": record.left_out_pixels,
        "valid_pixels": record.valid_pixels,
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    left = f"; {quantity(row['left_out'], 'tile')} left out ({row['left_out_pixels']} valid pixels)"
    return (
        f"{row['path']}: {quantity(row['tiles'], 'tile')} of {row['size']} x {row['size']} pixels, "
        f"{quantity(row['bands'], 'band')}{left if row['left_out'] else ''}"
    )
