"""A plugin of QGIS (3.22 to 4.x) that runs an installed satae from the Processing toolbox; standard library alone.

`make plugin` packs this folder. QGIS imports it as `satae_processing`, under its own Python (3.9 and later), and
nothing of satae is imported here: what is run is the command.
"""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """The plugin, as QGIS asks for it."""
    # not above: what needs no QGIS can be imported without one
    from .provider import Plugin

    return Plugin()
