"""The project's promises about its own shape: who imports whom, how long things are, what is documented."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from satae import cli

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "satae"

# From the ground up. A module imports from lines above its own, never from its own line or from below;
# `models` stands for every architecture in it. A new module gets a place here.
TIERS = [
    ["satae"],  # the version
    [
        "errors",
        "tifftags",
        "grid",
        "console",
        "manual",
        "qgisxml",
        "landscape",
        "metrics",
        "context",
        "blocks",
        "blend",
        "quality",
        "linear",
    ],
    [
        "qgisform",
        "bank",
        "pickled",
        "publish",
        "config",
        "choices",
        "normalize",
        "calibrate",
        "raster",
        "stream",
        "tiles",
        "synthetic",
    ],
    [
        "models",
        "mapping",
        "augment",
        "corrupt",
        "schedule",
        "checkpoint",
        "split",
        "card",
        "figures",
        "scene",
        "anomalies",
        "qgis",
        "layers",
        "maxima",
        "inside",
        "cifar",
    ],
    ["objectives", "scores", "patches", "formats", "review", "signature"],
    ["graph", "runtime", "describe", "matfile", "presets", "reviewtiles", "decisions"],
    ["feed", "lattice", "reviewserver", "preference"],
    ["pixels", "images", "step"],
    ["train", "export", "scan", "tiling"],
    ["evidence", "heldout", "heatmap", "shift", "baseline", "why", "precision", "deepness"],
    ["chips", "selection", "diagnosis", "stac", "fidelity"],
    ["overview"],
    ["report"],
    ["learn", "detect", "about", "catalogue", "options", "demo", "convert"],
    ["summary", "fitting"],
    ["feedback"],
    ["bench", "inject", "benchcifar"],
    ["benchreport"],
    ["benchinject", "cifarreport"],
    ["benchcli", "exportcli", "reviewcli"],
    ["cli"],
    ["__main__"],
]

DOORS = {
    "rasterio": "raster",
    "onnxruntime": "runtime precision",
    "albumentations": "augment",
    "matplotlib": "figures",
    "filelock": "publish",
    "typer": "cli benchcli exportcli reviewcli",
    "fastapi": "reviewserver",
    "uvicorn": "reviewserver",
}

# What a process that imports the first must not have loaded.
SPARED = {
    "satae.cli": ["numpy", "pydantic", "rasterio", "torch"],
    "satae.detect, satae.options": ["torch", "albumentations", "onnx", "matplotlib"],
    "satae.train": ["rasterio", "onnxruntime", "matplotlib"],
}

LONGEST_FILE = 400
LONGEST_FUNCTION = 60  # lines of the body without its docstring
LONGEST_EXEMPT = 90  # the training loop and the constructors of architectures

Function = ast.FunctionDef | ast.AsyncFunctionDef
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}


def module(path: Path) -> str:
    """The name in TIERS of a file of the package."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "satae" if first == "__init__" else first


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that is imported anywhere below `tree`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = "satae." * bool(node.level) + (node.module or "")
            yield from (f"{above}.{alias.name}".replace("..", ".") for alias in node.names)


def own(name: str) -> str | None:
    """The name in TIERS of an imported one, None for other people's."""
    first, *rest = name.split(".")
    if first != "satae":
        return None
    return rest[0] if rest and rest[0] in {module(path) for path in SOURCES} else "satae"


def functions() -> Iterator[tuple[str, Function]]:
    """Every function and method with its dotted place, such as 'train.fit'."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, Function):
                    inner = f".{node.name}" if isinstance(node, ast.ClassDef) else ""
                    yield f"{module(path)}{inner}.{child.name}", child


def body_lines(function: Function) -> int:
    """Lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def public(tree: ast.Module) -> Iterator[ast.ClassDef | Function]:
    """Public classes and functions of a module, and public methods of the former."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                methods = (child for child in node.body if isinstance(child, Function))
                yield from (m for m in methods if not m.name.startswith("_") and not self_evident(m))


def self_evident(method: Function) -> bool:
    """`forward` is what the class is for and is told there; a stub of a protocol, too."""
    stub = isinstance(method.body[0], ast.Expr) and ast.unparse(method.body[0]) == "..."
    return method.name == "forward" or stub


def commands() -> list[str]:
    """Names of the commands as they are typed."""
    return sorted(typer.main.get_command(cli.app).commands)


def test_every_module_has_one_place_in_the_tiers():
    assert sorted(name for tier in TIERS for name in tier) == sorted({module(path) for path in SOURCES})


def test_imports_point_downwards():
    tier = {name: number for number, names in enumerate(TIERS) for name in names}
    edges = {(module(path), own(name)) for path, tree in TREES.items() for name in imported(tree)}
    upward = {
        f"{one} imports {other}"
        for one, other in edges
        if other and one != other and tier.get(one, 0) <= tier.get(other, 99)  # a package may use itself
    }
    assert sorted(upward) == []


@pytest.mark.parametrize(("library", "door"), DOORS.items())
def test_heavy_library_has_one_door(library, door):
    users = {
        module(path)
        for path, tree in TREES.items()
        for name in imported(tree)
        if name.split(".")[0] == library
    }
    assert users == set(door.split())


@pytest.mark.parametrize(("start", "unwanted"), SPARED.items())
def test_importing_loads_no_more_than_it_must(start, unwanted):
    program = f"import sys, {start}\nprint(*(name for name in {unwanted} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_local_imports_are_only_in_cli():
    local = {place for place, function in functions() if list(imported(function))}
    commands = "cli.", "benchcli.", "exportcli.", "reviewcli."
    assert sorted(place for place in local if not place.startswith(commands)) == []


@pytest.mark.parametrize("folder", ["satae", "tests", "benchmarks"])
def test_no_file_is_too_long(folder):
    lengths = {path.name: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_too_long():
    def limit(place: str) -> int:
        constructor = place.startswith("models.") and place.endswith(".__init__")
        return LONGEST_EXEMPT if place == "train.descend" or constructor else LONGEST_FUNCTION

    lengths = {place: body_lines(function) for place, function in functions()}
    assert {place: length for place, length in lengths.items() if length > limit(place)} == {}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_and_all_that_is_public_have_docstrings(path):
    tree = TREES[path]
    assert ast.get_docstring(tree), "the module itself"
    assert [node.name for node in public(tree) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("document", ["README.md", "CHANGELOG.md"])
def test_every_command_is_documented(document):
    text = (ROOT / document).read_text()
    assert [name for name in commands() if not re.search(rf"\bsatae {name}\b", text)] == []


def test_every_command_has_help_with_an_example():
    helps = {name: command.help for name, command in typer.main.get_command(cli.app).commands.items()}
    assert [name for name, text in helps.items() if f"satae {name}" not in (text or "")] == []


def test_every_setting_of_a_recipe_has_a_comment():
    recipes = sorted((ROOT / "configs").glob("*.yaml"))
    assert recipes, "configs/ holds no recipe"
    settings = [
        (path.name, line)
        for path in recipes
        for line in path.read_text().splitlines()
        if line.strip()
        and not line.lstrip().startswith("#")
        and not line.partition("#")[0].rstrip().endswith(":")
    ]
    assert [f"{name}: {line}" for name, line in settings if " # " not in line] == []
