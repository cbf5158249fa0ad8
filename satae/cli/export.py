"""The command `satae export`: options in, one library call, the path and what the model loses out.

It is handed what every command shares, as those of `benchcli`; heavy imports live inside.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Say = Callable[[bool, dict[str, Any], list[str]], None]


def command(say: Say) -> Callable[..., None]:
    """The command, which says its result by `say`."""

    def export(
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
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
        ] = False,
    ) -> None:
        """Write the same model for QGIS, or in fewer bits."""
        from satae.convert.run import Options, convert
        from satae.errors import ConfigError

        if out is not None and out.suffix.lower() != ".onnx":
            raise ConfigError(f"--out {out} must end in .onnx")
        how = Options(flavor, precision, tuple(tilesets or ()), nodata, overwrite)
        made = convert(source, out, how)
        card, found, cut = made.card, made.fidelity, made.tiling
        content = {
            "out": str(made.out), "source": str(made.source), "flavor": flavor, "precision": card.precision,
            "bytes": made.size, "fidelity": found.model_dump() if found else None,
            "tile_size": cut.size if cut else None, "tiles_overlap": cut.percent if cut else None,
        }  # fmt: skip
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
        say(as_json, content, lines)

    return export
