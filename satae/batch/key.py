"""What a result is known by: a hash of what a scene holds, of the model, and of what is asked for.

A thousand scenes of a gigabyte are not read whole to plan. A file counts by its size, its time of change, and blocks
of its bytes: the first and the last, which hold headers and tables of what lies where, and two between. The time tells
that pixels were edited in place, the blocks that a file was exchanged for another of the same size and time, as tools
that keep times do. A file that was merely copied without its time is another one: its scene is scored once more,
which costs time and is never wrong. Where it lies is no part of what it holds.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from satae import __version__
from satae.errors import SataeError
from satae.scene import items, products, readers
from satae.scene.source import Source

# bytes of a sample, what file systems read at least
BLOCK = 4096
# of a file, evenly spread
SAMPLES = 4
# files of a product that are sampled, the largest; of the others size and time count
SAMPLED = 32
# what holds its pixels itself
ALONE = (".tif", ".tiff", ".jp2", ".zip")
# what GDAL reads beside a file, behind its name ...
BESIDE = (".aux.xml", ".msk", ".ovr")
WORLD = (".tfw", ".tifw", ".wld", ".j2w", ".prj")  # ... and in place of its suffix
# of a key: 64 bits, for a million of results of one name and place
LENGTH = 16


@dataclass(frozen=True)
class Content:
    """What files hold, as a hash, and how many bytes they are."""

    digest: str
    size: int


def content(paths: Sequence[Path | str]) -> Content:
    """What the files of a scene hold; of those that are not there, and of addresses, how they are called."""
    digest, size = hashlib.sha256(), 0
    for named in paths:
        path = Path(named)
        if items.is_link(str(named)):
            digest.update(str(named).encode())
            continue
        found = sorted(_files(path))
        # a folder of a product may have hundreds of files, of which a few hold the pixels
        largest = sorted(found, key=lambda of: -of[1])[:SAMPLED]
        for file, length, stamp in found:
            # within a product the name matters, of a file alone it is the entry's business
            name = os.path.relpath(file, path) if file != path else ""
            digest.update(json.dumps([name, length, stamp]).encode())
            size += length
            if (file, length, stamp) in largest:
                _sample(file, length, digest)
        if not found:
            digest.update(str(path).encode())
        if items.ONE_OF_SEVERAL.match(str(path)):
            # whoever scores it says so
            with suppress(SataeError):
                # not the file: the other items in it are none of this one's business
                digest.update(json.dumps(items.document(path), sort_keys=True, default=str).encode())
    return Content(digest.hexdigest(), size)


def stamps(paths: Sequence[Path | str]) -> list[tuple[Path, int, int]]:
    """(file, bytes, time of change in ns) of all that a scene is read from; nothing of what lies on a server."""
    return [of for named in paths if not items.is_link(str(named)) for of in _files(Path(named))]


def key_of(name: str, holds: Content, model: str, asked: str) -> str:
    """The key of a result; `model` is the hash of its file, `asked` says what else changes what comes out."""
    text = json.dumps([__version__, name, holds.digest, model, asked])
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def file_hash(path: Path) -> str:
    """The SHA-256 of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(path: Path) -> Iterator[tuple[Path, int, int]]:
    """(file, bytes, time of change) of all that a scene is read from."""
    if path.is_dir():
        for folder, _, names in os.walk(path):
            yield from (of for name in names for of in _stamp(Path(folder, name)))
        return
    yield from _stamp(path)
    if path.suffix.lower() in ALONE:
        for end in BESIDE:
            yield from _stamp(Path(f"{path}{end}"))
        for end in WORLD:
            yield from _stamp(path.with_suffix(end))
        return
    # a file that names others, such as a VRT, a header or an item: they must be looked up
    with suppress(SataeError):
        others = dict.fromkeys(file for source in _sources(path) for file in source.files)
        yield from (of for file in others if file != path for of in _stamp(file))


def _sources(path: Path) -> list[Source]:
    """All that a product is read from, or the one source that a file is."""
    product = products.at(path)
    if product is None:
        return [readers.source(path)]
    return [*(s for s, _ in product.bands), *(e.source for e in (*product.fill, *product.clouds))]


def _stamp(path: Path) -> Iterator[tuple[Path, int, int]]:
    with suppress(OSError, ValueError):
        found = path.stat()
        yield path, found.st_size, found.st_mtime_ns


def _sample(path: Path, length: int, digest: hashlib._Hash) -> None:
    """Take blocks of a file in, all of it where it is as small as they are."""
    try:
        with path.open("rb", buffering=0) as file:
            if length <= SAMPLES * BLOCK:
                digest.update(file.read(SAMPLES * BLOCK))
                return
            for i in range(SAMPLES):
                # first and last block included
                file.seek((length - BLOCK) * i // (SAMPLES - 1))
                digest.update(file.read(BLOCK))
    # whoever scores it says so
    except OSError as error:
        digest.update(str(error.errno).encode())
