"""The plugin and its provider: they put satae into the Processing toolbox, and its command into the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsApplication, QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithm import SETTING, CommandAlgorithm, Diagnostics, ProcessingConfig, Setting
from .commands import COMMANDS


class Provider(QgsProcessingProvider):
    """satae's algorithms."""

    def id(self) -> str:
        """The name before the colon."""
        return "satae"

    def name(self) -> str:
        """The name in the toolbox."""
        return "satae"

    def icon(self) -> Any:
        """The icon in the toolbox."""
        return QIcon(str(Path(__file__).with_name("icon.svg")))

    def load(self) -> bool:
        """Offer the option that names the command, then the algorithms."""
        if ProcessingConfig:
            title = "Command satae, or a Python that has it (empty: as found)"
            ProcessingConfig.addSetting(Setting(self.name(), SETTING, title, "", valuetype=Setting.FILE))
            ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def loadAlgorithms(self) -> None:
        """An algorithm a command, and the diagnostics."""
        for command in COMMANDS:
            self.addAlgorithm(CommandAlgorithm(command))
        self.addAlgorithm(Diagnostics())


class Plugin:
    """What QGIS starts: with a window or, as in qgis_process, without."""

    def __init__(self) -> None:
        self.provider: Provider | None = None

    def initProcessing(self) -> None:
        """Register the provider."""
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """A window has nothing beside the provider."""
        self.initProcessing()

    def unload(self) -> None:
        """Take the provider away again."""
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
