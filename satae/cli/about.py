"""The command `satae info`: a file in, what it is out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from satae.cli.flags import Json
from satae.cli.output import say
from satae.console import Steps, printable

SHARED = ("rule", "provider", "model_sha256", "created")  # of a scene in a result, mostly that of all


def info(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A scene, tile set, model or result.")],
    check: Annotated[bool, typer.Option("--check", help="Read every block.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a file is."""
    from satae.cli.info import about

    steps: Steps = context.obj
    with steps.stage(f"read {printable(path.name)}"):
        content = about(path, check=check)
    say(as_json, content, _lines(content) + ["every block was read"] * (check and "scene" in content))


def _lines(content: dict[str, Any]) -> list[str]:
    """What is known, a line each, and tables of bands."""
    from satae.cli import products
    from satae.gis import kinds

    if content["kind"] == "product":
        return products.lines(content)
    scenes = content["scenes"] if content["kind"] == "result" and content.get("scenes") else []
    # what all scenes of a result share stands above their table
    shared = {key: scenes[0][key] for key in SHARED if len({scene[key] for scene in scenes}) == 1}
    every = [(scene["path"], scene["kind"]) for scene in scenes]
    told = {**content, **shared} | ({"scenes": kinds.scenes_in(every)} if scenes else {})
    # what to do next is the last thing to read
    told |= {"next": told.pop("next", None)}
    # what is not known is null in JSON, and no line
    known = {key: value for key, value in told.items() if value not in (None, "") and key != "band_table"}
    width = max(len(key) for key in known)
    lines = [f"{key:<{width}}  {_shown(value)}" for key, value in known.items()]
    bands = content.get("band_table", ())
    # of bands that have names alone these stand above
    if any(b["wavelength_nm"] or (b["scale"], b["offset"]) != (1, 0) for b in bands):
        lines += ["", *products.table(bands)]
    if scenes:
        alike = {*shared, *(["kind"] if len({kind for _, kind in every}) == 1 else [])}
        heads = [key for key in scenes[0] if key not in alike]
        rows = [["-" if s[key] is None else _shown(s[key]) for key in heads] for s in scenes]
        lines += ["", *products.columns(heads, rows)]
    return lines


def _shown(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_shown(v)}" for k, v in value.items() if v is not None) or "none"
    if isinstance(value, list):
        return ("; " if any(isinstance(v, dict) for v in value) else ", ").join(map(_shown, value)) or "none"
    return "unknown" if value is None else str(value)
