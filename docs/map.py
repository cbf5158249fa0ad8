"""Writes the maps of the code into README.md and CONTRIBUTING.md: python docs/map.py

A line is the first line of the docstring of a file or folder. Run it after one was added or has another first line;
tests/docs/test_map.py compares.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "satae"
BEGIN, END = "<!-- map, written by python docs/map.py -->\n", "<!-- end of map -->"

# Variants first, then the pixel's way from file to layer, then the tools around it.
ROOMS = [
    *("models", "heads", "objectives", "formats"),
    *("scene", "tiles", "nn", "detector", "training", "inference", "scoring", "gis", "report", "decisions"),
    *("batch", "fetch", "convert", "review", "bench", "demo", "api", "cli"),
]

# What lies beside the package, and what in the package is no Python.
TOP = {
    "configs": "recipes for `satae train` and `satae series`, one YAML file each, every setting commented",
    "tiles": "the format of a tile set; the tile sets themselves stay out of git",
    "tests": "`tests/ROOM/test_MODULE.py` for `satae/ROOM/MODULE.py`; `conftest.py` has the fixtures",
    "benchmarks": "scripts that measure satae beside named peers and print what they find",
    "docs": "tutorial, commands, results, settings, benchmarks, design, log of experiments",
    "scripts": "what maintainers run by hand",
    "README.md": "what satae is, for whom, and how to use it, on one page",
    "CONTRIBUTING.md": "how to change satae",
    "CHANGELOG.md": "what a user notices of each version",
    "LICENSE": "Apache 2.0",
    "Makefile": "`make demo`, `make test`, `make check`, `make plugin`, `make clean`",
    "pyproject.toml": "dependencies, and the settings of ruff, mypy and pytest",
    "constraints.txt": "the versions that `make` installs",
    "requirements-score.txt": "dependencies of the Docker image that only scores",
    "Dockerfile": "two images: `train`, and `score` without torch",
    "environment.yml": "the environment for conda, held to pyproject.toml by a test",
    ".gitattributes": "how git joins the changelog",
    ".ci": "`.ci/run` is what the continuous integration runs",
    ".dockerignore": "what stays out of the images",
    ".gitignore": "what stays out of git",
}
OTHER = {
    "__init__.pyi": "The types of the public names.",
    "py.typed": "Tells type checkers that satae has types.",
    "gis/plugin/icon.svg": "The plugin's icon.",
    "gis/plugin/metadata.txt": "What QGIS is told of the plugin: its name, its version, and where it runs.",
    "report/courses.css": "The style of strips of dates and plots, in reports and in `satae review`.",
    "report/page.css": "The style of the report.",
    "review/web": "The page of `satae review`: plain JavaScript modules, no build step.",
}
UNLISTED = {"tests"}  # mirrors the package


def first_line(path: Path) -> str:
    """The first line of the docstring of a file or of a folder's `__init__.py`, or what is said of it here."""
    name = path.relative_to(ROOT).as_posix()
    if said := TOP.get(name) or OTHER.get(name.removeprefix("satae/")):
        return said
    source = path / "__init__.py" if path.is_dir() else path
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").splitlines()[0]


def line(path: Path) -> str:
    """A file or folder as an item of the list."""
    name = f"{path.name}/" if path.is_dir() else path.name.removesuffix(".py")
    return f"- `{name}` {first_line(path)}"


def inside(folder: Path) -> list[Path]:
    """The files and folders of a folder that have a line: files first, then rooms in their order."""
    paths = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
    paths += [p.parent for p in folder.glob("*/__init__.py")]
    paths += [PACKAGE / name for name in OTHER if (PACKAGE / name).parent == folder]
    rank = {name: place for place, name in enumerate(ROOMS)}
    return sorted(paths, key=lambda p: (p.is_dir(), rank.get(p.name, len(ROOMS)), p.name))


def entries(path: Path, depth: int = 0) -> Iterator[str]:
    """List items for a file or folder, and for all code below it."""
    yield "  " * depth + line(path)
    for each in inside(path) if path.name not in UNLISTED else []:
        yield from entries(each, depth + 1)


def rooms() -> str:
    """The map of README.md: the rooms of the package."""
    return "\n".join(line(path) for path in inside(PACKAGE) if path.is_dir())


def tree() -> str:
    """The map of CONTRIBUTING.md: every file of the package, and everything at the top level."""
    return "\n".join(item for path in [PACKAGE, *(ROOT / name for name in TOP)] for item in entries(path))


MAPS = {"README.md": rooms, "CONTRIBUTING.md": tree}


def page(name: str) -> str:
    """A page with its map as it should be."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}{MAPS[name]()}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    for name in MAPS:
        (ROOT / name).write_text(page(name), encoding="utf-8")
