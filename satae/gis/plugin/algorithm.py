"""What the Processing toolbox shows of satae: an algorithm a command, and one that says what is installed."""

from __future__ import annotations

import html
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorLayer,
)

from .commands import COMMANDS, Command, Field
from .process import FOREIGN, Cancellation, environment, executable, places, run

try:
    from processing.core.ProcessingConfig import ProcessingConfig, Setting
except ImportError:  # a QGIS without Processing's own plugin has no options
    ProcessingConfig = Setting = None
__all__ = ["SETTING", "CommandAlgorithm", "Diagnostics", "ProcessingConfig", "Setting"]

SETTING = "SATAE_COMMAND"
MISSING = (
    "satae was not found. Install it in a Python of its own (pip install satae), then name its command under "
    "Settings > Options > Processing > Providers > satae, or in the variable SATAE."
)


def member(owner: Any, kind: str, name: str) -> Any:
    """A value of an enumeration, which Qt 6 keeps in its type and Qt 5 in the class too."""
    return getattr(getattr(owner, kind, owner), name)


def setting() -> str:
    """The command that the user named in the options."""
    return str(ProcessingConfig.getSetting(SETTING) or "") if ProcessingConfig else ""


def parameter(field: Field) -> Any:
    """The field as QGIS asks for it."""
    name, title, optional = field.name, field.title, field.optional
    if field.kind == "rasters":
        return QgsProcessingParameterMultipleLayers(
            name, title, member(QgsProcessing, "SourceType", "TypeRaster"), None, optional
        )
    if field.kind == "vector":
        return QgsProcessingParameterVectorLayer(name, title, [], None, optional)
    if field.kind in ("number", "whole"):
        # counts and measures, neither below zero
        kind = "Integer" if field.kind == "whole" else "Double"
        kind = member(QgsProcessingParameterNumber, "Type", kind)
        return QgsProcessingParameterNumber(name, title, kind, field.default, optional, 0)
    if field.kind == "flag":
        return QgsProcessingParameterBoolean(name, title, field.default)
    if field.kind in ("file", "folder"):
        what = member(QgsProcessingParameterFile, "Behavior", "File" if field.kind == "file" else "Folder")
        return QgsProcessingParameterFile(name, title, what, field.suffix, None, optional)
    if field.kind == "to_folder":
        return QgsProcessingParameterFolderDestination(name, title)
    if field.kind == "to_file":
        return QgsProcessingParameterFileDestination(name, title, f"{field.suffix} (*.{field.suffix})")
    return QgsProcessingParameterString(name, title, field.default, False, optional)


class CommandAlgorithm(QgsProcessingAlgorithm):
    """One command of satae, run in a process of its own."""

    def __init__(self, command: Command) -> None:
        super().__init__()
        self.command = command

    def createInstance(self) -> Any:
        """Another one of the same command."""
        return CommandAlgorithm(self.command)

    def name(self) -> str:
        """The name behind `satae:`."""
        return self.command.name

    def displayName(self) -> str:
        """The name in the toolbox."""
        return self.command.title

    def shortHelpString(self) -> str:
        """What the command does."""
        return self.command.help

    def initAlgorithm(self, config: Any = None) -> None:
        """Ask for what the command needs."""
        for field in self.command.fields:
            self.addParameter(parameter(field))

    def answer(self, field: Field, parameters: Any, context: Any) -> Any:
        """What the user said to a field, as satae takes it."""
        name = field.name
        if parameters.get(name) is None and field.optional:
            return field.default
        if field.kind == "rasters":
            return [source(layer) for layer in self.parameterAsLayerList(parameters, name, context)]
        if field.kind == "vector":
            layer = self.parameterAsVectorLayer(parameters, name, context)
            return source(layer) if layer else None
        if field.kind == "number":
            return self.parameterAsDouble(parameters, name, context)
        if field.kind == "whole":
            return self.parameterAsInt(parameters, name, context)
        if field.kind == "flag":
            return self.parameterAsBool(parameters, name, context)
        if field.kind in ("to_file", "to_folder"):
            return self.parameterAsFileOutput(parameters, name, context)
        return self.parameterAsString(parameters, name, context)

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> Any:
        """Run the command, and load what can be shown."""
        satae = executable(setting())
        if not satae:
            raise QgsProcessingException(MISSING)
        answers = {field.name: self.answer(field, parameters, context) for field in self.command.fields}
        out = Path(answers[self.command.output.name])
        out.parent.mkdir(parents=True, exist_ok=True)
        argv = [*satae, *self.command.words(answers)]
        argv.insert(len(satae) + 1, "--json")
        feedback.pushCommandInfo(subprocess.list2cmdline(argv))
        try:
            code, printed, heard = run(
                argv, out.parent, feedback.pushInfo, feedback.setProgress, feedback.isCanceled
            )
        except Cancellation:
            raise QgsProcessingException("cancelled; satae left nothing half done") from None
        except OSError as error:
            raise QgsProcessingException(f"{argv[0]} cannot be run: {error.strerror}") from error
        # 4: done, and what was damaged was left out as asked; else the last line says what to do
        if code not in (0, 4):
            raise QgsProcessingException(heard[-1] if heard else f"satae ended with exit code {code}")
        if code == 4:
            feedback.reportError("done with damage: see the lines above")
        self.load(printed, out, context)
        return {self.command.output.name: str(out)}

    def load(self, printed: str, out: Path, context: Any) -> None:
        """Hand the layers of the result to QGIS, which draws them in the styles that lie with them."""
        try:
            told = json.loads(printed)
        except ValueError:
            told = {}
        rasters = told.get("heatmaps", []) if isinstance(told, dict) else []
        layers = [(str(path), Path(path).stem) for path in rasters]
        vectors = [out] if out.suffix == ".gpkg" else sorted(out.glob("*.gpkg")) if out.is_dir() else []
        layers += [(f"{path}|layername={self.command.layer}", path.stem) for path in vectors]
        for uri, title in layers:
            # by name and not as a layer: QGIS opens it in its own thread
            details = QgsProcessingContext.LayerDetails(title, context.project(), self.command.output.name)
            # one each, for the context deletes them; and a name for each, else only their C++ half would live on
            STYLES.append(DefaultStyle())
            details.setPostProcessor(STYLES[-1])
            context.addLayerToLoadOnCompletion(uri, details)


def source(layer: Any) -> str:
    """The file of a layer."""
    return str(layer.source().split("|")[0])


class DefaultStyle(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer the style that lies with it, which Processing leaves out."""

    def postProcessLayer(self, layer: Any, context: Any, feedback: Any) -> None:
        """Load the style."""
        layer.loadDefaultStyle()
        layer.triggerRepaint()


STYLES: list[DefaultStyle] = []


class Diagnostics(QgsProcessingAlgorithm):
    """Says which satae is found and what it can do, for whom something does not work."""

    def createInstance(self) -> Any:
        """Another one."""
        return Diagnostics()

    def name(self) -> str:
        """The name behind `satae:`."""
        return "diagnostics"

    def displayName(self) -> str:
        """The name in the toolbox."""
        return "Diagnostics"

    def shortHelpString(self) -> str:
        """What it is for."""
        return (
            "Says where satae was looked for and found, its version, and which of its commands QGIS can run."
        )

    def initAlgorithm(self, config: Any = None) -> None:
        """Ask where the page goes."""
        page = QgsProcessingParameterFileDestination("OUTPUT", "Page", "HTML (*.html)")
        self.addParameter(page)

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> Any:
        """Look, say it, and write it down."""
        out = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        rows = facts()
        for name, value in rows:
            feedback.pushInfo(f"{name}: {value}")
        lines = (f"<tr><th>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in rows)
        page = '<!doctype html><meta charset="utf-8"><title>satae in QGIS</title><h1>satae in QGIS</h1>'
        Path(out).write_text(f"{page}<table>{''.join(lines)}</table>\n", encoding="utf-8")
        return {"OUTPUT": out}


def facts() -> list[tuple[str, str]]:
    """What is known of satae, QGIS and what lies between them."""
    satae = executable(setting())
    rows = [
        ("QGIS", Qgis.QGIS_VERSION),
        ("system", platform.platform()),
        ("Python of QGIS", platform.python_version()),
    ]
    if not satae:
        looked = ", ".join(["PATH", *map(str, places())])
        return [*rows, ("satae", MISSING), ("looked in", looked)]
    rows.append(("satae", " ".join(satae)))
    try:
        version = _asked([*satae, "--version"])
        known = _asked([*satae, "--help"]).split()
    except (OSError, subprocess.SubprocessError) as error:
        return [*rows, ("fault", f"it cannot be run: {error}")]
    rows.append(("version", version.strip()))
    for command in COMMANDS:
        rows.append(
            (f"satae:{command.name}", "ready" if command.name in known else "not in this version of satae")
        )
    kept = [name for name in FOREIGN if name in os.environ]
    return [*rows, ("not handed on", ", ".join(kept) or "nothing")]


def _asked(argv: list[str]) -> str:
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    return done.stdout
