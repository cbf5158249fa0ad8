"""The command `satae export`: a model into one for another program, or in fewer bits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satae.cli.flags import Json, Overwrite, check_model_name
from satae.cli.output import say

if TYPE_CHECKING:
    from satae.convert.run import Result


def export(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="runs/NAME or a model file.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. [default: the model's name and what was asked for]"),
    ] = None,
    flavor: Annotated[
        str, typer.Option(help="satae, or deepness for the QGIS plugin of that name.")
    ] = "satae",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    tilesets: Annotated[
        list[Path] | None,
        typer.Option(
            "--tiles",
            help="Tile sets to measure the loss on. [default: those below tiles that it learned from]",
        ),
    ] = None,
    nodata: Annotated[float | None, typer.Option(help="DN that marks fill, for deepness.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the same model for QGIS, or in fewer bits."""
    from satae.convert.run import Options, convert

    if out is not None:
        check_model_name(out)
    how = Options(flavor, precision, tuple(tilesets or ()), nodata, overwrite)
    made = convert(source, out, how, steps=context.obj)
    found, cut = made.fidelity, made.tiling
    content = {
        "out": str(made.out), "source": str(made.source), "flavor": flavor, "precision": made.card.precision,
        "bytes": made.size, "fidelity": found.model_dump() if found else None,
        "tile_size": cut.size if cut else None, "tiles_overlap": cut.percent if cut else None,
    }  # fmt: skip
    say(as_json, content, _lines(made))


def _lines(made: "Result") -> list[str]:
    card, found, cut = made.card, made.fidelity, made.tiling
    sizes = f"{made.size} bytes ({made.source}: {made.source_size})"
    lines = [f"{made.out}: {card.architecture} as {card.precision}, {sizes}"]
    if found:
        lines.append(
            f"loss on {found.pixels} held-out pixels: rank correlation of the map {found.rank_correlation:.4f}, "
            f"overlap of {found.regions} regions {found.overlap:.1%}"
        )
    if cut:
        from satae.convert.deepness import HIGHEST, SCALING

        known = "" if card.gsd_m else "; set the resolution in the plugin"
        lines.append(
            f"tiles of {cut.size} pixels, {cut.percent} % overlap; a layer value of {SCALING:g} is -log10 p = "
            f"{HIGHEST:g}{known}"
        )
    return lines
