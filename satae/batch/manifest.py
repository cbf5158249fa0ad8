"""What is named on the command line as entries: the files of a scene, its name, and options of its own.

A name is a scene, or something that lists scenes: a folder, a glob, a text list, a table (CSV or Parquet), STAC items.
Entries stream by; only their names are remembered, as numbers, for no two may have one.
"""

from __future__ import annotations

import csv
import difflib
import glob
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from satae.errors import ConfigError
from satae.later import Later
from satae.scene import items, products
from satae.scene.describe import file_name
from satae.tiles.store import tile_sets

if TYPE_CHECKING:
    import pyarrow.parquet as parquet
else:
    parquet = Later("pyarrow.parquet")

LISTS, TABLES = (".txt", ".lst", ".list"), (".csv", ".parquet")
IMAGES = (".tif", ".tiff", ".jp2", ".zip", ".til", ".vrt")
# of products, known by name alone
FOLDERS = (".safe",)
# bytes of a name, to which a hash is added
LONGEST = 100
# of a Parquet table at once
ROWS = 10_000
# of a text list; # without a space before it names one of several items in a file
COMMENT, QUOTED = re.compile(r"(^|\s)#.*"), re.compile(r"""\s*(["'])(.+)\1\s*(\s#.*)?$""")
# share of letters in common by which a column is taken for a slip; names of fewer letters are like too much
SLIP, LEAST = 0.8, 4
# columns that tables often have, of no effect
NOTES = ("date", "datetime", "id", "geometry", "bbox")

Options = Mapping[str, str]
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A scene to be scored: its files, several being its bands; a name; options of its row in a table."""

    paths: tuple[str, ...]
    name: str
    options: tuple[tuple[str, str], ...] = ()
    # table and row, of one of a table
    where: str = field(default="", compare=False)

    def request(self, asked_of: Callable[[tuple[tuple[str, str], ...]], T]) -> T:
        """What its options come to by `asked_of`; a ConfigError of that names the table and the row."""
        try:
            return asked_of(self.options)
        except ConfigError as error:
            if not self.where:
                raise
            raise ConfigError(f"{self.where}: {error}") from error


def entries(
    names: Sequence[str],
    known: Sequence[str],
    *,
    stack: bool = False,
    empty: bool = False,
    images: Sequence[str] = IMAGES,
    ends: Sequence[str] = (),
) -> Iterator[Entry]:
    """The scenes that are named, each with a name of its own, in the order of the lists.

    `known` are the columns of a table that are options, `images` the ends of files that are scenes where a folder is
    named. With `stack` the names are the bands of one scene. No scene is called as another is with one of the `ends`
    behind its name. Raises ConfigError where a list cannot be read, and where
    no scene is named unless that may be (`empty`).
    """
    if not empty:
        _check_there(names)
    # (hash of a name: what goes by it)
    taken: dict[int, int] = {}
    found = iter([Entry(tuple(names), "")]) if stack else (e for n in names for e in _of(n, known, images))
    for entry in found:
        name = file_name(entry.name or Path(_bare(entry.paths[0])).stem, LONGEST)
        # the absolute place, so that one file named in two ways is one
        what = zlib.crc32("\n".join([*map(os.path.abspath, entry.paths), str(entry.options)]).encode())
        if any(taken.get(hash(name + end), what) != what for end in ("", *ends)):
            # a hash and not a count: others may come before it in a longer list, and its results stay its own
            name = f"{name}-{what:08x}"
        if hash(name) in taken:
            log.warning("%s is named twice, and scored once", ";".join(entry.paths))
            continue
        taken |= {hash(name + end): what for end in ("", *ends)}
        # whoever scores it may work in another folder
        paths = tuple(p if items.is_link(p) else os.path.join(os.getcwd(), p) for p in entry.paths)
        yield Entry(paths, name, entry.options, entry.where)
    if not taken and not empty:
        raise ConfigError(f"{', '.join(names[:3])}: no scene is named there; list GeoTIFF files or products")


def _check_there(names: Sequence[str]) -> None:
    """ConfigError where nothing that is named exists; one of several that is missing fails alone."""
    # lists, what is fetched, and one of several items in a file are looked for where they are read
    others = [n for n in names if is_list(n) or items.is_link(n) or items.ONE_OF_SEVERAL.match(n)]
    if names and not others and not any(os.path.exists(n.partition("#")[0]) for n in names):
        raise ConfigError(f"{names[0]} does not exist; name scenes, or a list or folder of scenes, that do")


def is_list(name: str) -> bool:
    """Whether a name lists scenes, and is none itself; items of STAC, of which each is one, are no list here."""
    path = Path(name)
    if items.is_link(name):
        return False
    try:
        if path.is_dir():
            # a product without its metadata is a damaged one, and no list of images
            return path.suffix.lower() not in FOLDERS and products.at(path) is None
        return path.suffix.lower() in (*LISTS, *TABLES) or (glob.has_magic(name) and not path.exists())
    except OSError:  # a name that no file can have; whoever reads the file says so
        return False


def names_scenes(names: Sequence[str]) -> bool:
    """Whether lists name scenes, or else tile sets.

    What names neither, such as a folder that is not there, is taken for tile sets. ConfigError where some do the one
    and some the other, in one list too, and where a list of no scenes names what is not there.
    """
    kinds = {name: _kind(name) for name in names}
    scenes = [name for name, kind in kinds.items() if kind]
    others = [name for name, kind in kinds.items() if kind is False]
    if scenes and others:
        raise ConfigError(f"{scenes[0]} names scenes and {others[0]} tile sets; pass the one or the other")
    return bool(scenes)


def _kind(name: str) -> bool | None:
    """True for scenes, False for tile sets, None where nothing tells."""
    path = Path(name)
    if items.is_link(name) or items.holds_items(path):
        return True
    if not is_list(name):
        return False if tile_sets(path) else None
    if path.is_dir():
        return False if tile_sets(path) else True if any(_in_folder(path, IMAGES)) else None
    if path.suffix.lower() in TABLES:
        return True
    # the first of each kind
    first: dict[str, str] = {}
    for found in (entry.paths[0] for entry in _of(name, (), IMAGES)):
        there = items.is_link(found) or os.path.exists(found.partition("#")[0])
        kind = "missing" if not there else "sets" if tile_sets(Path(found)) else "scenes"
        first.setdefault(kind, found)
        if {"sets", "scenes"} <= first.keys():
            raise ConfigError(
                f"{name} names scenes and tile sets, such as {first['scenes']} and {first['sets']}; list one kind"
            )
    # of scenes one that is missing stops none
    if "missing" in first and "scenes" not in first:
        raise ConfigError(f"{first['missing']}, which {name} names, does not exist")
    return "scenes" in first or (False if first else None)


def _bare(path: str) -> str:
    """A path or address without its query; an item of several goes by its id."""
    found = items.ONE_OF_SEVERAL.match(path)
    return found[2] if found else path.partition("?")[0].rstrip("/")


def _of(name: str, known: Sequence[str], images: Sequence[str]) -> Iterator[Entry]:
    """The entries that one name stands for."""
    path = Path(name)
    suffix = path.suffix.lower()
    if items.is_link(name) or items.ONE_OF_SEVERAL.match(name):
        yield Entry((name,), "")
    elif path.is_dir():
        yield from _in_folder(path, images)
    # a file may have such letters in its name
    elif not path.exists() and glob.has_magic(name):
        yield from (Entry((found,), "") for found in sorted(glob.iglob(name, recursive=True)))
    elif suffix in LISTS:
        yield from _listed(path)
    elif items.holds_items(path):
        yield from _items(path)
    elif suffix == ".csv":
        yield from _rows(_csv(path), path, known)
    elif suffix == ".parquet":
        yield from _rows(_parquet(path), path, known)
    else:
        yield Entry((name,), "")


def _in_folder(folder: Path, images: Sequence[str]) -> Iterator[Entry]:
    """A product, or the scenes below a folder by name: files of images, or items, and folders of products as one."""
    if products.at(folder) is not None:
        yield Entry((str(folder),), "")
        return
    there = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
    # JSON may be anything; where items lie, the images beside them are theirs
    kinds = set(images) & set(items.ENDS)
    listed = [f for f in there if f.suffix.lower() in kinds and items.holds_items(f)]
    for found in listed:
        yield from _items(found)
    for found in there:
        if found.is_dir():
            # not looked into: what it is, is found out where it is scored
            if found.suffix.lower() in FOLDERS:
                yield Entry((str(found),), "")
            else:
                yield from _in_folder(found, images)
        elif found.suffix.lower() in images and found.suffix.lower() not in kinds and not listed:
            yield Entry((str(found),), "")


def _listed(path: Path) -> Iterator[Entry]:
    """A scene a line, in quotes or without; empty lines are none, and what follows a # after a space is a comment."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                quoted = QUOTED.match(line)
                if text := quoted[2] if quoted else COMMENT.sub("", line).strip():
                    yield Entry((_beside(path, text),), "")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; name a list of scenes that does") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _items(path: Path) -> Iterator[Entry]:
    """An entry an item, by its id; a file of one is that item."""
    for found in items.expand(path):
        yield Entry((str(found),), "")


def _csv(path: Path) -> Iterator[Options]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            # as spreadsheets write it where a comma is in numbers
            between = ";" if ";" in head and "," not in head else ","
            for row in csv.DictReader(chain([head], file), delimiter=between):
                yield {str(k).strip(): v.strip() for k, v in row.items() if isinstance(v, str)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _parquet(path: Path) -> Iterator[Options]:
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS):
                for row in batch.to_pylist():
                    yield {k: _text(v) for k, v in row.items()}
    except ModuleNotFoundError as error:
        raise ConfigError("to read a list from Parquet: pip install 'satae[parquet]'") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _text(value: Any) -> str:
    """A cell as CSV has it: empty where there is nothing, and not a number where pandas has nothing."""
    if value is None or value != value:
        return ""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _rows(rows: Iterator[Options], table: Path, known: Sequence[str]) -> Iterator[Entry]:
    """Rows of a table with a column `path`; several files of one scene are separated by ;"""
    told: set[str] = set()
    for number, row in enumerate(rows, 1):
        given = {k.lower().replace("-", "_"): v for k, v in row.items() if v != ""}
        if "path" not in given:
            what = f"row {number} has none" if "path" in map(str.lower, row) else f"it has {', '.join(row)}"
            raise ConfigError(f"{table} needs a column path with the file of each scene; {what}")
        others = given.keys() - {"path", "name", *known, *NOTES} - told
        if others:
            _check_columns(others, [c for c in ("name", *known) if c not in given], table)
            told |= others
            log.warning(
                "%s: columns that are no options have no effect: %s", table, ", ".join(sorted(others))
            )
        paths = tuple(_beside(table, p.strip()) for p in given["path"].split(";") if p.strip())
        # an empty cell that went through pandas
        options = tuple((k, given[k]) for k in known if k in given and given[k].lower() != "nan")
        yield Entry(paths, given.get("name", ""), options, f"{table}, row {number}")


def _check_columns(others: set[str], absent: Sequence[str], table: Path) -> None:
    """ConfigError for a column that is an option but for a slip: all scenes would be scored without it."""
    meant = [name for name in absent if len(name) >= LEAST]
    for name in sorted(others):
        swapped = [known for known in meant if sorted(known) == sorted(name)]
        if close := swapped or difflib.get_close_matches(name, meant, 1, SLIP):
            raise ConfigError(
                f"{table} has a column {name}, which is no option; did you mean {close[0]}? Rename it to that, or to "
                "something less like it"
            )


def _beside(table: Path, text: str) -> str:
    """A path of a list: from the folder of the list on, else from the folder that is worked in."""
    if items.is_link(text) or os.path.isabs(text):
        return text
    found = str(table.parent / text)
    return found if os.path.exists(found.partition("#")[0]) or not os.path.exists(text) else text


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{path} cannot be read as a list of scenes: {' '.join(str(error).split())}")
