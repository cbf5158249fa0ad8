"""The command `satae tile`: scenes into tile sets."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satae.api import CORES
from satae.cli import rows
from satae.cli.flags import PIXELS, BadTiles, Json, Overwrite, PixelOptions, Workers
from satae.cli.output import DAMAGED, NAMED, exit_if_damaged, note, say
from satae.console import Steps, quantity
from satae.errors import SceneError

if TYPE_CHECKING:
    from satae.tiles.cut import Cut
    from satae.tiles.store import TileSet


def tile(
    context: typer.Context,
    scenes: Annotated[
        list[str],
        typer.Argument(metavar="SCENE|MANIFEST", help="Files, products, addresses, or what lists them."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tile sets.")] = Path("tiles"),
    size: Annotated[int, typer.Option(help="Side of a tile in pixels.")] = 64,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbouring tiles share.")] = 0,
    counted: PixelOptions = PIXELS,
    min_valid: Annotated[
        float,
        typer.Option(help="Leave out tiles of which a smaller share counts; at an edge, of the part inside."),
    ] = 0.5,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Keep no more than so many tiles a scene. [default: all]")
    ] = None,
    patches: Annotated[bool, typer.Option("--patches", help="Write a GeoTIFF a tile too.")] = False,
    on_bad_tile: BadTiles = "stop",
    workers: Workers = CORES,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Split scenes into tiles."""
    from satae.api import tile as cutting
    from satae.batch.manifest import is_list
    from satae.cli import options
    from satae.tiles.cut import Cut

    steps: Steps = context.obj
    # what is wrong with these is said before scenes are looked at
    how = Cut(size, overlap, min_valid, patches, workers, sample)
    if not counted.stack and any(map(is_list, scenes)):
        _cut_all(scenes, counted, on_bad_tile, out, how, overwrite, steps, as_json)
        return
    limits = options.limits_of(counted, on_bad_tile)
    paths = options.local_paths(scenes, counted, steps)
    found = options.scenes_at(paths, counted.bands, counted.stack, limits, counted.gsd)
    cuts = cutting.tile(
        found, out, size=size, overlap=overlap, min_valid=min_valid, patches=patches, workers=workers,
        sample=sample, overwrite=overwrite, progress=steps,
    )  # fmt: skip
    rows = [_row(tiles) for tiles in cuts]
    say(as_json, {"tilesets": rows}, [_line(row) for row in rows])
    exit_if_damaged((str(s.path), tiles.damage) for s, tiles in zip(found, cuts, strict=True))


def _cut_all(
    names: list[str], counted: PixelOptions, on_bad_tile: str, out: Path, how: "Cut", overwrite: bool, steps: Steps,
    as_json: bool,
) -> None:  # fmt: skip
    """Cut the scenes of lists one after the other; one that cannot be used is named, and stops none."""
    from satae.api.tile import make_folder
    from satae.batch import manifest
    from satae.batch.sets import Member, Sets

    entries = manifest.entries(names, list(rows.COLUMNS))
    asked_of = partial(rows.asked_of, counted=counted, on_bad_tile=on_bad_tile)
    scenes = [Member(e.paths, e.name, e.request(asked_of)) for e in entries]
    make_folder(out)
    sets = Sets(out, how, overwrite, counted.allow_network, counted.cache, steps)
    # before anything is cut
    sets.check(scenes)
    made, failed = list[dict[str, Any]](), list[dict[str, str]]()
    for scene in scenes:
        try:
            tiles = sets.make(scene)
            made.append(_row(tiles) | ({"damaged": len(tiles.damage)} if tiles.damage else {}))
        except SceneError as error:
            failed.append({"path": ";".join(scene.paths), "reason": str(error)})
    if len(failed) == len(scenes):
        raise SceneError(f"none of {quantity(len(scenes), 'scene')} could be cut: {failed[0]['reason']}")
    note(f["reason"] for f in failed[:NAMED])
    left = [f"{quantity(len(failed), 'scene')} could not be cut"] if failed else []
    say(as_json, {"tilesets": made, "failures": failed}, [*map(_line, made), *left])
    if failed or any("damaged" in row for row in made):
        raise typer.Exit(DAMAGED)


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
