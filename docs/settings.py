"""Writes docs/settings.md from the recipes in configs: python docs/settings.py

Run it after a recipe or a setting has changed; tests/docs/test_settings.py compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings

What `satae train` does is a recipe: a YAML file that says which model is trained, on which input, by which loss, and
how its errors become a score. `python docs/settings.py` makes this page from the recipes in [configs](../configs).

    satae train                                           # chooses a recipe itself, see below
    satae train --config areas                            # a recipe of satae, by its name
    satae train --config my.yaml                          # your own: what it leaves out is chosen as without it
    satae train --set train.epochs=60 --set model.params.width=32

`satae models` lists what `model.name`, `objective.terms` and `score` can name, with their own parameters. The recipe of
a finished run, with every setting as it was used, is `runs/model/config.yaml`.

## What is chosen without a recipe

| scene | recipe |
|---|---|
| embeddings: AlphaEarth, Tessera | [embeddings](../configs/embeddings.yaml): directions far from all others |
| 17 bands or more | [hyperspectral](../configs/hyperspectral.yaml): small objects, by their spectrum |
| fewer bands, pixels of 15 m or more, no `target` size | [areas](../configs/areas.yaml): areas such as burn scars |
| all others | [sentinel2](../configs/sentinel2.yaml): objects of some pixels, such as ships |

What bands are, their number and the pixel size alone decide (`satae/training/presets.py`), never the content of a
scene. How these recipes were chosen stands in the [log](log.md).
"""
LINE = re.compile(r"( *)(\w+):(?: ([^#\s].*?))?(?: # (.*))?")  # indent, name, value, comment
TABLE = ["| setting | default | meaning |", "|---|---|---|"]


def cell(text: str) -> str:
    """Text that a table can hold."""
    return text.replace("|", "\\|")


def settings(lines: list[str]) -> Iterator[str]:
    """A table for each part of default.yaml."""
    part = ""
    for found in filter(None, map(LINE.fullmatch, lines)):
        indent, name, value, comment = found.groups(default="")
        if not indent:
            part = name
            yield from ("", f"### {part}", "")
            yield from [f"{comment[:1].upper()}{comment[1:]}.", ""] if comment and not value else []
            yield from TABLE
        if value:
            yield row(f"{part}.{name}" if indent else part, value, comment)


def row(name: str, value: str, comment: str) -> str:
    """A line of the table: the default is the value, or where that is `auto` what stands in brackets."""
    found = re.match(r"\((.+?)\) (?=\S)", comment)
    default = found[1] if found else value
    return f"| `{name}` | `{default}` | {cell(comment[found.end() if found else 0 :])} |"


def recipes() -> Iterator[str]:
    """A line for each recipe: the first sentence of the comment that it begins with."""
    for path in sorted(CONFIGS.glob("*.yaml")):
        comment = path.read_text(encoding="utf-8").split("\n\n")[0].replace("\n# ", " ").removeprefix("# ")
        sentence = re.split(r"[.:](?: |$)", comment)[0]
        if path.stem != "default":
            yield f"| [{path.stem}](../configs/{path.name}) | {cell(sentence)} |"


def page() -> str:
    """The whole of docs/settings.md."""
    lines = (CONFIGS / "default.yaml").read_text(encoding="utf-8").splitlines()
    listed = ["## Recipes", "", "| recipe | what it is |", "|---|---|", *recipes(), ""]
    every = [
        "## Every setting",
        "",
        "A default is what counts where neither recipe nor architecture say anything else.",
    ]
    return "\n".join([HEAD, *listed, *every, *settings(lines)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
