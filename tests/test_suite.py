"""The shape of the tests themselves: few fixtures, and nothing shared but through tests/support."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent
TREES = {path: ast.parse(path.read_text()) for path in TESTS.rglob("*.py")}
SUPPORT = {path.stem for path in (TESTS / "support").glob("*.py")}


def test_fixtures_are_few() -> None:
    decorated = [
        node.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        if any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert 10 < len(decorated) <= 30, sorted(decorated)  # plain functions where few tests need them


def test_what_tests_share_lies_in_support() -> None:
    rooms = {path.stem for path in TREES} - SUPPORT - {"conftest"}
    for path, tree in TREES.items():
        sources = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        assert not {source.split(".")[-1] for source in sources if not source.startswith("satae")} & rooms, (
            path
        )
