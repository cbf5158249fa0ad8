"""The index of a run: a row an entry, what became of it and what it took, as Parquet, or CSV without pyarrow."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
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
COLUMNS = {
    "name": str, "key": str, "path": str, "state": str, "folder": str, "anomalies": int, "valid_fraction": float,
    "threshold": float, "domain": str, "damaged": int, "seconds": float, "cpu": float, "peak_mb": float, "code": int,
    "host": str, "reason": str,
}  # fmt: skip


def path_of(out: Path, shard: Shard) -> Path:
    """Where the index lies."""
    return out / f"index{shard.mark}.{'parquet' if find_spec('pyarrow') else 'csv'}"


def write(out: Path, shard: Shard, plans: Sequence[Path]) -> Path:
    """Write the index of the entries of some plans; gives where it lies."""
    # what a scene took is in the journals alone: a folder holds what would be the same anywhere
    target, known = path_of(out, shard), _known(out)
    with staging(target) as folder:
        draft = folder / target.name
        rows = (_row(out, line, known) for line in plan.lines(plans))
        (_parquet if target.suffix == ".parquet" else _csv)(draft, rows)
        publish(draft, target)
    return target


def _known(out: Path) -> dict[str, Mapping[str, Any]]:
    """What the journals say last of each key."""
    wanted = "state", "seconds", "cpu", "peak_mb", "code", "host", "reason"
    return {
        str(said.get("key")): {k: said[k] for k in wanted if k in said}
        for said in journal.lines(out)
        if said["state"] in (journal.DONE, journal.FAILED)
    }


def _row(out: Path, line: plan.Line, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    said = dict(known.get(line.key, {}))
    place = places.folder_of(out, line.name, line.key)
    found: dict[str, Any] = {"name": line.name, "key": line.key, "path": ";".join(line.paths), **said}
    try:
        about = store.summary(place)
    except ResultError:
        return found | {"state": said.get("state") if said.get("state") == journal.FAILED else MISSING}
    own = {k: about.row[k] for k in ("anomalies", "valid_fraction", "threshold", "domain")}
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
