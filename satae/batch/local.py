"""The files of a scene on this machine: what lies on a server is fetched, where that is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from satae.console import SILENT, Steps
from satae.later import Later
from satae.scene import items

if TYPE_CHECKING:
    from satae.fetch import scenes as fetching
else:
    # with it come clients of servers, which files do not need
    fetching = Later("satae.fetch.scenes")


def files(
    paths: Sequence[str],
    bands: Sequence[int | str] | None,
    *,
    network: bool = False,
    cache: Path | None = None,
    steps: Steps = SILENT,
) -> list[Path]:
    """Paths and addresses of a scene as paths; SceneError where something must not be fetched, or cannot be."""
    if not any(items.is_link(p) or items.holds_items(Path(p)) for p in paths):
        return [Path(p) for p in paths]
    folder = {} if cache is None else {"folder": cache}
    return fetching.local(paths, bands, fetching.Network(network, **folder), steps)
