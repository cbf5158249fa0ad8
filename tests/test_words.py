"""The words of the library: reasons beside its lines, first lines that stand alone, names that are nouns or verbs."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "satae"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

# Verbs whose participle does not end in -ed, and words in -ed that are none.
IRREGULAR = {
    *(
        "built",
        "rebuilt",
        "made",
        "kept",
        "seen",
        "shown",
        "held",
        "drawn",
        "written",
        "sent",
        "told",
        "found",
    ),
    *("begun", "lost", "taken", "given", "laid", "bound", "grown", "known", "chosen", "hidden"),
}
OTHERS = {"seed", "feed", "heed", "speed", "need", "embed", "elapsed"}
# Names of settings and commands, terms of QGIS, predicates and effects that read as they should.
ALLOWED = {
    *("masked", "refined", "whitened", "planted", "pickled"),
    *("data_defined", "is_georeferenced", "exit_if_damaged", "as_stored"),
    *("connection_made", "connection_lost", "data_received"),  # asyncio's
}
# What a first line begins with that only says that it belongs to another one.
DANGLING = re.compile(r"(The same|As that|That of|Those of it|It |None|See )")


def comments(paths: Iterable[Path]) -> float:
    """The share of lines that are nothing but a comment."""
    lines = found = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        rows = text.splitlines()
        lines += len(rows)
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            own = token.type == tokenize.COMMENT and rows[token.start[0] - 1].lstrip().startswith("#")
            found += own and not token.string.startswith(("#!", "# noqa", "# type:", "# ruff"))
    return found / lines


def public(
    node: ast.Module | ast.ClassDef,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions, classes and their methods that have no underscore, nor lie in what has one."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and part.name[0] != "_":
            yield part
            if isinstance(part, ast.ClassDef):
                yield from public(part)


def participle(name: str) -> bool:
    """Whether the last word of a name is one, as in `Heeded` or `scenes_named`."""
    last = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)[-1].lower()
    return last in IRREGULAR or (last.endswith("ed") and len(last) > 4 and last not in OTHERS)


def test_forward_passes_say_shapes_and_reasons_beside_their_lines() -> None:
    rooms = [path for path in FILES if path.parent.name in ("models", "heads")]
    assert comments([*rooms, PACKAGE / "training" / "loop.py"]) >= 0.095


def test_the_library_says_why_beside_its_lines() -> None:
    assert comments(FILES) >= 0.029


def test_names_are_nouns_for_what_is_returned_and_verbs_for_effects() -> None:
    assert participle("Heeded") and participle("scenes_named") and not participle("FittedHead")
    names = {path.stem for path in FILES if path.stem[0] != "_"}
    names |= {part.name for tree in TREES.values() for part in public(tree)}
    assert sorted(name for name in names - ALLOWED if participle(name)) == []


def test_first_lines_of_docstrings_stand_alone() -> None:
    said = {
        f"{path.relative_to(PACKAGE)} {part.name}": (ast.get_docstring(part) or "").split("\n\n")[0]
        for path, tree in TREES.items()
        for part in public(tree)
        if not (isinstance(part, ast.FunctionDef) and ast.unparse(part.body[-1]) == "...")
    }
    said |= {
        str(path.relative_to(PACKAGE)): ast.get_docstring(tree) or ""
        for path, tree in TREES.items()
        if path.read_text(encoding="utf-8").strip()
    }
    assert DANGLING.match("The same of PCA.") and not DANGLING.match("The sample of a scene.")
    bare = {name for name in said if not name.endswith(" forward")}  # what it is stands above its class
    assert [name for name in sorted(bare) if len(said[name].split()) < 2] == []
    assert [name for name in sorted(bare) if DANGLING.match(said[name])] == []
