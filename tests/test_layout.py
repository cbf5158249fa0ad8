"""The project's promises about its own shape: who imports whom, how long things are, what is documented."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from satae.cli import app

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "satae"

# The rooms from the ground up, and the rooms that each may import from; all may use what lies flat in the package.
# A room that is drawn may lie anywhere below those that use it, and an arrow that nothing needs any more goes.
ARROWS = {
    "nn": "",
    "scene": "",
    "gis": "",
    "models": "nn",
    "heads": "nn",
    "objectives": "models nn",
    "detector": "models heads nn",
    "tiles": "scene",
    "inference": "scene",
    "fetch": "scene",
    "formats": "gis",
    "report": "formats gis inference scene",
    "decisions": "formats gis inference tiles scene",
    "scoring": "report decisions formats gis inference scene",
    "training": "detector objectives heads models nn inference tiles",
    "batch": "scoring training report decisions formats gis nn inference fetch tiles scene",
    "convert": "training inference tiles",
    "series": "report decisions gis inference scene",
    "review": "decisions report formats gis scene",
    "demo": "training scene",
    "bench": "batch series scoring training objectives models nn inference tiles scene",
    "api": "training scoring decisions inference tiles scene",
    "cli": "api batch series bench demo review convert training scoring decisions formats detector objectives heads "
    "models nn inference fetch tiles scene gis",
}
GROUND = [
    "errors",
    "grid",
    "geodesy",
    "composite",
    "publish",
    "console",
    "extras",
    "interrupts",
    "later",
    "heap",
    "config",
    "choices",
]  # flat, for all
START = ["satae", "__main__"]  # the public names, and what starts the commands

DOORS = {
    "rasterio": "scene.raster scene.output",
    "h5py": "scene.hdf",
    "onnxruntime": "inference.runtime convert.precision",
    "albumentations": "training.augment",
    "matplotlib": "training.figures",
    "filelock": "publish",
    "typer": "cli.about cli.app cli.bench cli.demo cli.door cli.export cli.flags cli.grouping cli.models cli.output "
    "cli.review cli.run cli.score cli.series cli.tile cli.train",
    "fastapi": "review.server",
    "uvicorn": "review.server review.connections",
    "obstore": "fetch.s3",
    "distributed": "batch.cluster",
}

# What a process that imports the first must not have loaded.
SPARED = {
    "satae.cli.app": ["numpy", "pydantic", "rasterio", "torch"],
    "satae": ["numpy", "rasterio", "onnxruntime", "torch", "typer"],
    "satae.api.tile": ["pandas", "geopandas", "scipy", "onnxruntime", "torch"],
    "satae.api.score, satae.api.train": ["torch", "albumentations", "onnx", "matplotlib", "geopandas"],
    "satae.scoring.run, satae.cli.options": ["torch", "albumentations", "onnx", "matplotlib"],
    "satae.scoring.run": ["pandas", "geopandas", "pyarrow", "pyogrio"],  # not held through a long scan
    "satae.cli.options, satae.tiles.cut, satae.cli.info": [
        "pandas",
        "geopandas",
        "pyarrow",
        "pyogrio",
        "scipy",
        "cv2",
        "satae.fetch",
    ],
    "satae.series.run": ["torch", "albumentations", "onnx", "onnxruntime", "pandas", "geopandas", "pyogrio"],
    "satae.training.loop": ["rasterio", "onnxruntime", "matplotlib"],
}

LONGEST_FILE = 400
LONGEST_FUNCTION = 60  # lines of the body without its docstring
LONGEST_EXEMPT = 90  # the training loop and the constructors of architectures

Function = ast.FunctionDef | ast.AsyncFunctionDef
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}


def module(path: Path) -> str:
    """The dotted name of a file below the package, such as 'scene.raster'; that of a room for its `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "satae"


MODULES = {module(path) for path in SOURCES}


def room(name: str) -> str:
    """The room of a module, or the module itself where it lies flat in the package."""
    return name.split(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that is imported anywhere below `tree`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = "satae." * bool(node.level) + (node.module or "")
            yield from (f"{above}.{alias.name}".replace("..", ".") for alias in node.names)


def own(name: str) -> str | None:
    """The module that an imported name is of or is, None for other people's."""
    first, *rest = name.split(".")
    if first != "satae":
        return None
    found = (".".join(rest[:length]) for length in range(len(rest), 0, -1))
    return next((name for name in found if name in MODULES), "satae")


EDGES = {  # (module, a module that it imports)
    (module(path), other)
    for path, tree in TREES.items()
    for name in imported(tree)
    if (other := own(name)) and other != module(path)
}


def functions() -> Iterator[tuple[str, Function]]:
    """Every function and method with its dotted place, such as 'training.loop.fit'."""
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
    return sorted(typer.main.get_command(app.app).commands)


def test_every_module_lies_in_a_room_or_on_the_ground():
    assert {room(module(path)) for path in SOURCES} == {*ARROWS, *GROUND, *START}


def test_the_rooms_are_ordered_from_the_ground_up():
    order = list(ARROWS)
    upward = [f"{a} -> {b}" for a in order for b in ARROWS[a].split() if order.index(b) >= order.index(a)]
    assert upward == []


def test_rooms_import_what_their_arrows_allow_and_no_arrow_is_idle():
    drawn = {(room(a), room(b)) for a, b in EDGES}
    between = {(a, b) for a, b in drawn if a != b and a in ARROWS and b in ARROWS}
    assert between == {(a, b) for a, others in ARROWS.items() for b in others.split()}
    assert [f"{a} -> {b}" for a, b in drawn if a in GROUND and b not in [*GROUND, "satae"]] == []


def test_a_walk_of_one_scene_through_score_enters_nine_rooms_at_most():
    rooms, todo = set(), ["scoring"]
    while todo:
        rooms.add(name := todo.pop())
        todo += set(ARROWS[name].split()) - rooms
    assert len({"cli", *rooms}) <= 9, rooms


def test_no_module_imports_itself_in_a_circle():
    below = {name: {b for a, b in EDGES if a == name} for name, _ in EDGES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in sorted(below.get(name, ())):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(below):
        visit(name, ())


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


def test_local_imports_are_only_where_commands_start_and_cutting_tiles_spares_geometries_pyproj_and_extras():
    local = {place for place, function in functions() if list(imported(function))}
    assert sorted(place for place in local if not place.startswith("cli.")) == [
        "__main__.main",
        "fetch.s3._signed",
        "gis.plugin.classFactory",
        "grid.Grid._geodesy",
        "grid.Grid.area_m2",
        "grid.Grid.polygons",
        "scene.aoi._geoparquet",
        "scene.aoi._read",
        "scene.describe._area",
        "scene.hdf._library",
        "scene.items._is_table",
        "scene.items._rows",
        "tiles.cut._outline",
    ]


@pytest.mark.parametrize("folder", ["satae", "tests", "benchmarks"])
def test_no_file_is_too_long(folder):
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_too_long():
    def limit(place: str) -> int:
        constructor = place.startswith("models.") and place.endswith(".__init__")
        return LONGEST_EXEMPT if place == "training.loop.descend" or constructor else LONGEST_FUNCTION

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
    helps = {name: command.help for name, command in typer.main.get_command(app.app).commands.items()}
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
