"""The index of a run: a row an entry, what became of it and what it took, as Parquet, or CSV without pyarrow."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satae.batch import journal, places, plan, store
from satae.batch.shard import Shard
from satae.errors import ResultError
from satae.later import Later
from satae.publish import publish, staging

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet as parquet
else:
    pyarrow = Later("pyarrow")
    parquet = Later("pyarrow.parquet")

# at once
ROWS = 5_000
# the state of what was not tried
MISSING = "missing"
# what of a line of the journal is in the index
JOURNAL = ("state", "seconds", "cpu", "peak_mb", "code", "host", "reason")
COLUMNS = {
    "name": str, "kind": str, "key": str, "path": str, "state": str, "folder": str, "anomalies": int,
    "valid_fraction": float, "threshold": float, "domain": str, "damaged": int, "seconds": float, "cpu": float,
    "peak_mb": float, "code": int, "host": str, "reason": str,
}  # fmt: skip


def path_of(out: Path, shard: Shard) -> Path:
    """Where the index lies."""
    return out / f"index{shard.mark}.{'parquet' if find_spec('pyarrow') else 'csv'}"


def write(out: Path, shard: Shard, plans: Sequence[Path]) -> Path:
    """Write the index of the entries of some plans; gives where it lies."""
    target = path_of(out, shard)
    with staging(target) as folder, closing(_said(out)) as said:
        draft = folder / target.name
        rows = (_row(out, line, said) for line in plan.lines(plans))
        (_parquet if target.suffix == ".parquet" else _csv)(draft, rows)
        publish(draft, target)
    return target


def _said(out: Path) -> sqlite3.Connection:
    """What the journals say last of each key, in a database that SQLite keeps in a file where it is large."""
    # what a scene took is in the journals alone: a folder holds what would be the same anywhere
    database = sqlite3.connect("")
    database.execute("CREATE TABLE said (key TEXT PRIMARY KEY, line TEXT) WITHOUT ROWID")
    over = (said for said in journal.lines(out) if said.get("state") in (journal.DONE, journal.FAILED))
    rows = ((said.get("key"), json.dumps({k: said[k] for k in JOURNAL if k in said})) for said in over)
    database.executemany("INSERT OR REPLACE INTO said VALUES (?, ?)", rows)
    return database


def _row(out: Path, line: plan.Line, said: sqlite3.Connection) -> dict[str, Any]:
    last = said.execute("SELECT line FROM said WHERE key = ?", (line.key,)).fetchone()
    found: dict[str, Any] = {"state": MISSING, **(json.loads(last[0]) if last else {})}
    found |= {"name": line.name, "kind": line.kind or None, "key": line.key, "path": ";".join(line.paths)}
    place = places.folder_of(out, line.name, line.key)
    try:
        about = store.summary(place)
    except ResultError:
        # a folder that somebody removed is missing, whatever the journal says
        return found if found["state"] == journal.FAILED else found | {"state": MISSING}
    own = {k: about.row[k] for k in ("kind", "anomalies", "valid_fraction", "threshold", "domain")}
    folder = place.relative_to(out).as_posix()
    return found | own | {"state": journal.DONE, "folder": folder, "damaged": len(about.about["damage"])}


def _parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(some, schema=schema))


def _csv(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(COLUMNS), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
