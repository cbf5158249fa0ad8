"""Scenes that are named by address, or whose item names assets on a server, as files on this machine."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin

from satae.console import Steps
from satae.errors import SceneError
from satae.fetch import cache, links, s3
from satae.fetch.cache import Remote
from satae.fetch.web import Web
from satae.publish import write_bytes
from satae.scene import items
from satae.scene.items import Item
from satae.scene.products import stac

FILES = (".tif", ".tiff", ".jp2", ".zip", ".tar")  # what is no item
TABLE = ".parquet"


@dataclass(frozen=True)
class Network:
    """Whether servers may be asked, and where what they give is kept."""

    allowed: bool = False
    folder: Path = field(default_factory=cache.default_folder)


def local(
    names: Sequence[str], bands: Sequence[int | str] | None, network: Network, steps: Steps
) -> list[Path]:
    """Paths, addresses and items as paths on this machine, an item each; only what `bands` need is fetched.

    Raises SceneError where something would have to be fetched and must not be, or cannot.
    """
    return [path for name in names for path in _Fetching(name, bands, network, steps).paths(name)]


class _Fetching:
    """One name, and the servers that may be asked for it: of private networks only the one in it."""

    def __init__(self, name: str, bands: Sequence[int | str] | None, network: Network, steps: Steps) -> None:
        self.bands, self.network, self.steps = bands, network, steps
        # not those that an item names
        named = [link for link in (name, s3.endpoint()) if items.is_link(link)]
        self.web = Web({str(links.split(link).hostname) for link in named})

    def paths(self, name: str) -> list[Path]:
        """The files or items of a name."""
        if not items.is_link(name):
            return [self._with_assets(path) for path in items.expand(Path(name))]
        self._check_allowed(name)
        link, _, asked = name.partition("#")
        links.check(link, self.web.named)
        path = unquote(links.split(link).path)
        end = PurePosixPath(path).suffix.lower()
        if end in FILES:
            return [self._file(link, cache.place(self.network.folder, link) / _safe(path.rpartition("/")[2]))]
        # an item of an API has no ending
        content = cache.document(link, self.web, items.MAX_BYTES)
        found = [f for f in items.features(content, table=end == TABLE) if not asked or f.get("id") == asked]
        if not found:
            raise SceneError(f"{links.bare(link)} holds no STAC item" + f" of the id {asked!r}" * bool(asked))
        folder = cache.place(self.network.folder, link)
        _check_distinct([str(f.get("id")) for f in found], f"items of {links.bare(link)}")
        return [self._item(items.parse(f, Path(str(f.get("id")))), f, folder, link) for f in found]

    def _check_allowed(self, what: str) -> None:
        if not self.network.allowed:
            raise SceneError(f"{links.bare(what)} is on a server; pass --allow-network to fetch it")

    def _with_assets(self, path: Path) -> Path:
        """A path as it is; an item that has assets on servers as one in the cache that has them beside it."""
        if not items.holds_items(path):
            return path
        item = items.item(path)
        away = [asset for asset in item.images if asset.is_remote]
        # numbers count what is here, as they do without a network
        counted = any(isinstance(band, int) for band in self.bands or ())
        if not away or (counted and len(away) < len(item.images)):
            return path
        wanted = [asset for asset in item.holding(self.bands) if asset.is_remote]
        if not any(asset in away for asset in wanted) and not (wanted and self.network.allowed):
            return path
        self._check_allowed(wanted[0].href)
        # by where it lies: two items may have one id
        folder = cache.place(self.network.folder, f"file://localhost{path.absolute().as_posix()}")
        return self._item(item, items.document(path), folder, "")

    def _item(self, item: Item, document: items.Object, folder: Path, base: str) -> Path:
        """An item in the cache, with the assets that are needed beside it and no others."""
        assets: dict[str, Any] = {}
        _check_distinct([asset.key for asset in item.assets], f"assets of {item.path}")
        folder = folder / _safe(item.id)
        folder.mkdir(exist_ok=True)
        for asset in item.holding(self.bands):
            link = urljoin(base, asset.href) if base.startswith("http") else asset.href
            target = folder / _safe(
                asset.key + PurePosixPath(links.bare(link).rpartition("/")[2]).suffix.lower()
            )
            if items.is_link(link):
                self._file(link, target, asset.size, asset.checksum)
            elif (here := stac.local(item, asset)) is not None and not base:
                shutil.copyfile(here, target)
            else:
                raise SceneError(
                    f"asset {asset.key} of {item.path} lies at {asset.href}, which is no address"
                )
            # what was not fetched is not named either
            assets[asset.key] = {**document["assets"][asset.key], "href": target.name}
        path = folder / f"{_safe(item.id)}.json"
        content = _without_secrets({**document, "assets": assets, "links": []})
        write_bytes(path, json.dumps(content, default=str).encode())
        return path

    def _file(self, link: str, target: Path, size: int | None = None, checksum: str = "") -> Path:
        links.check(link, self.web.named)
        with self.steps.stage(f"fetch {links.bare(link).rpartition('/')[2]}", unit="B") as bar:
            return cache.fetch(Remote(link, target, size, checksum), self.web, self.network.folder, bar)


def _without_secrets(value: Any) -> Any:
    """JSON whose addresses have no credentials."""
    if isinstance(value, dict):
        return {k: _without_secrets(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_secrets(v) for v in value]
    return links.bare(value) if isinstance(value, str) and items.is_link(value) else value


def _check_distinct(names: list[str], what: str) -> None:
    """SceneError where two names would be one file in the cache."""
    files = [_safe(name).lower() for name in names]
    if twice := [name for name, file in zip(names, files, strict=True) if files.count(file) > 1]:
        raise SceneError(f"two {what} have one name, {twice[0]!r} and {twice[1]!r}; fetch them one by one")


def _safe(name: str) -> str:
    """A name for a file, of one from elsewhere."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._-")[:120] or "file"
