"""The plugin asks QGIS for nothing that only Qt 5 or only Qt 6 has: by its source, and in stand-ins for both.

In Qt 6 a value of an enumeration is in its type alone (QgsProcessing.SourceType.TypeRaster), in Qt 5 in the class.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from inqgis import PYTHON, needs_qgis

import satae
from satae.gis.plugin import commands

PLUGIN = Path(satae.__file__).parent / "gis" / "plugin"
# attributes of classes of QGIS that are no values of an enumeration: an inner class, a function, a text
NO_VALUES = {"QgsProcessingContext.LayerDetails", "QgsApplication.processingRegistry", "Qgis.QGIS_VERSION"}


def nodes(kind: type) -> Iterator[Any]:
    for path in sorted(PLUGIN.glob("*.py")):
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kind))


def enumerations() -> set[tuple[str, str, str]]:
    """Class, type and value of each that the plugin asks for; a value chosen by a condition is two."""
    found = set()
    for call in nodes(ast.Call):
        if isinstance(call.func, ast.Name) and call.func.id == "member":
            owner, kind, name = call.args
            assert isinstance(owner, ast.Name) and isinstance(kind, ast.Constant)
            texts = [n.value for n in ast.walk(name) if isinstance(n, ast.Constant) and n.value[:1].isupper()]
            found |= {(owner.id, kind.value, text) for text in texts or ("Integer", "Double")}
    return found


ASKED = {
    ("QgsProcessing", "SourceType", "TypeRaster"),
    ("QgsProcessingParameterNumber", "Type", "Integer"),
    ("QgsProcessingParameterNumber", "Type", "Double"),
    ("QgsProcessingParameterFile", "Behavior", "File"),
    ("QgsProcessingParameterFile", "Behavior", "Folder"),
}


def test_values_of_enumerations_are_asked_for_by_type_and_name() -> None:
    assert enumerations() == ASKED
    direct = {
        f"{node.value.id}.{node.attr}"
        for node in nodes(ast.Attribute)
        if isinstance(node.value, ast.Name) and node.value.id.startswith(("Qgs", "Qgis", "Qt", "QIcon"))
    }
    assert direct == NO_VALUES


def test_qt_is_taken_from_qgis_and_nothing_of_qt_5_alone_is_called() -> None:
    modules = {n.module or "" for n in nodes(ast.ImportFrom)} | {
        a.name for n in nodes(ast.Import) for a in n.names
    }
    assert not [m for m in modules if m.startswith(("PyQt", "PySide"))]
    called = {n.func.attr for n in nodes(ast.Call) if isinstance(n.func, ast.Attribute)}
    assert not called & {"exec_", "print_", "toPyObject", "setMargin"}


class Named(type):
    """A class that has what is set on it and refuses all else, as one of QGIS does."""

    def __repr__(cls) -> str:
        return cls.__name__


def stand_in(scoped: bool) -> dict[str, ModuleType]:
    """qgis and processing as far as the plugin imports them, with enumerations as in Qt 6, or as in Qt 5."""
    core, icons = ModuleType("qgis.core"), ModuleType("qgis.PyQt.QtGui")
    for module, start in ((core, "Qgs"), (icons, "QIcon")):
        for name in {
            a.name for n in nodes(ast.ImportFrom) for a in n.names if a.name.startswith((start, "Qgis"))
        }:
            made: Any = Named(
                name, (), {"__init__": lambda self, *given, **more: setattr(self, "given", given)}
            )
            setattr(module, name, made)
    for owner, kind, value in ASKED:
        at: Any = getattr(core, owner)
        if scoped:
            at = at.__dict__.get(kind) or Named(kind, (), {})
            setattr(getattr(core, owner), kind, at)
        setattr(at, value, f"{kind}.{value}")
    return {
        "qgis": ModuleType("qgis"), "qgis.core": core, "qgis.PyQt": ModuleType("qgis.PyQt"), "qgis.PyQt.QtGui": icons,
    }  # fmt: skip


@pytest.mark.parametrize("scoped", [True, False], ids=["Qt 6", "Qt 5"])
def test_all_questions_are_made_with_either(scoped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in stand_in(scoped).items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("algorithm", "provider"):
        monkeypatch.delitem(sys.modules, f"satae.gis.plugin.{name}", raising=False)
    algorithm = importlib.import_module("satae.gis.plugin.algorithm")
    made = [algorithm.parameter(field) for command in commands.COMMANDS for field in command.fields]
    given = {value for one in made for value in one.given if isinstance(value, str)}
    assert {f"{kind}.{value}" for _, kind, value in ASKED} <= given
    assert len(made) == sum(len(c.fields) for c in commands.COMMANDS)
    for name in ("algorithm", "provider"):
        monkeypatch.delitem(sys.modules, f"satae.gis.plugin.{name}", raising=False)


@needs_qgis
def test_the_values_are_those_of_the_qgis_that_is_here() -> None:
    ask = f"import qgis.core as c; [getattr(getattr(getattr(c, o), k, getattr(c, o)), v) for o, k, v in {ASKED}]"
    done = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
