"""The commands of satae as QGIS offers them: what each asks for, and the words that are typed for it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """One question. `kind` is rasters, vector, file, folder, number, whole, text, flag, to_file or to_folder.

    What is answered goes behind `option`, or is an argument where there is none. `suffix` is that of files.
    """

    name: str
    title: str
    kind: str
    option: str = ""
    default: Any = None
    optional: bool = True
    suffix: str = ""


MORE = Field("MORE", "More options, as they are typed", "text")
OVERWRITE = Field("OVERWRITE", "Replace what is there", "flag", "--overwrite", default=False)


@dataclass(frozen=True)
class Command:
    """A command of satae; `output` is the question whose answer is what it makes, `layer` what of that is shown.

    `own` is what it asks for beside what all do; it `replaces` on request what is there.
    """

    name: str
    title: str
    help: str
    own: tuple[Field, ...]
    output: Field
    replaces: bool = True
    layer: str = "anomalies"

    @property
    def fields(self) -> tuple[Field, ...]:
        """All questions, in the order in which they are asked."""
        return (*self.own, MORE, *([OVERWRITE] if self.replaces else []), self.output)

    # '--json' is added by who runs it: it says which files were made

    def words(self, answers: Mapping[str, Any]) -> list[str]:
        """What is typed behind `satae`: options first, then arguments. What was not answered is left out."""
        options: list[str] = []
        arguments: list[str] = []
        for field in self.fields:
            answer = answers.get(field.name)
            if answer is None or answer == "" or answer is False or answer == []:
                continue
            if field.name == MORE.name:
                options += shlex.split(str(answer))
            elif field.kind == "flag":
                options.append(field.option)
            elif field.option:
                options += [field.option, str(answer)]
            else:
                arguments += answer if isinstance(answer, list) else [str(answer)]
        # an argument may begin with a dash
        return [self.name, *options, "--", *arguments]


def output(title: str, suffix: str = "") -> Field:
    """The question where the result goes: to a file, or to a folder where there is no suffix."""
    return Field(
        "OUTPUT", title, "to_file" if suffix else "to_folder", "--out", optional=False, suffix=suffix
    )


def feedback(purpose: str) -> Field:
    """The question for a result that an analyst went through."""
    return Field("FEEDBACK", f"Reviewed regions to {purpose}", "file", "--feedback", suffix="gpkg")


SCENES = Field("SCENES", "Scenes", "rasters", optional=False)
AOI = Field("AOI", "Only inside these polygons", "vector", "--aoi")
BANDS = Field("BANDS", "Bands, such as red,nir or 1-4", "text", "--bands")
MODEL = Field("MODEL", "Model", "file", "--model", optional=False, suffix="onnx")
RULES = (
    Field("FAR", "At most so many false alarms per 100 km² (10 where no rule is chosen)", "number", "--far"),
    Field("FDR", "Or: share of false regions, 0 to 1", "number", "--fdr"),
    Field("TOP", "Or: so many regions a scene", "whole", "--top"),
    Field("THRESHOLD", "Or: heat to report from", "number", "--threshold"),
)
COMMANDS = (
    Command(
        "tile",
        "Tile scenes",
        "Cuts scenes into tiles, from which a model is trained. Run it first, then train, then score.",
        (SCENES, Field("SIZE", "Side of a tile in pixels", "whole", "--size", default=64), BANDS, AOI),
        output("Folder of tile sets"),
    ),
    Command(
        "train",
        "Train a model",
        "Fits what is normal to tile sets, and writes one ONNX file. Recipe: empty for the one that suits the bands.",
        (
            Field("TILES", "Folder of tile sets", "folder", optional=False),
            Field("RECIPE", "Recipe", "text", "--config"),
            feedback("learn from"),
        ),
        output("Model", "onnx"),
    ),
    Command(
        "score",
        "Score scenes",
        "Finds what is out of place in scenes, and ranks it. Regions, heatmaps and a report are written; what can be "
        "shown is loaded with its style. Choose at most one rule.",
        (SCENES, MODEL, *RULES, BANDS, AOI, feedback("rank by")),
        output("Anomalies", "gpkg"),
    ),
    Command(
        "run",
        "Score many scenes",
        "Scores all that a list or a folder names, one finished folder a scene; typed again it does what is missing.",
        (
            Field("LIST", "List of scenes, table or STAC items", "file", optional=False),
            MODEL,
            Field("JOBS", "Scenes at once", "whole", "--jobs", default=1),
            *RULES,
            Field("COLLECT", "Put all into one result, which is loaded", "flag", "--collect", default=True),
        ),
        output("Folder of the run"),
        replaces=False,
    ),
    Command(
        "series",
        "Find changes in a series",
        "Finds what is out of place at one date among many of one place.",
        (
            Field("FOLDER", "Folder of scenes, one a date", "folder", optional=False),
            Field("HISTORY", "Dates that are normal, such as ..2025-06-30", "text", "--history"),
            Field("STATE", "Go on from this state", "file", "--state", suffix="tif"),
            Field("FAR", "False alarms per km² and year (1 where none is given)", "number", "--far"),
        ),
        output("Changes", "gpkg"),
        layer="changes",
    ),
)
