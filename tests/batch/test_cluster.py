"""Scenes on a dask cluster of two processes: the results of one, whatever happens to workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import refused
from crowds import diary, expected, heatmaps, leftovers, ran, serial
from orders import obedient, order
from shared import Shared

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # of a library that tests of ours are not about


@contextmanager
def cluster(workers: int = 2) -> Iterator[str]:
    """The address of a scheduler with so many processes of one thread."""
    how = {
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
        "silence_logs": logging.CRITICAL,
    }
    with distributed.LocalCluster(n_workers=workers, **how) as found:
        yield found.scheduler_address


def test_workers_that_are_killed_and_scenes_that_fail_change_no_result(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = serial(shared, model_path)
    inside, out = obedient(alone / "in", tmp_path / "in", monkeypatch), tmp_path / "out"
    (inside / "bad.tif").write_text("junk")
    order(inside, s2=["kill"], s3=["bug"])
    with cluster() as address:
        result = ran(inside, out, model_path, scheduler=address)
        again = ran(inside, out, model_path, scheduler=address)
    assert (result.scored, [(f.name, f.code) for f in result.failures]) == (6, [("bad", 2)])
    assert heatmaps(out) == expected(alone)
    assert [(said["name"], said["code"]) for said in diary(out) if said["state"] == "again"] == [("s3", 1)]
    assert [len((inside / f"{n}.tried").read_text()) for n in ("s0", "s2", "s3", "bad")] == [1, 2, 2, 1]
    assert (again.scored, again.changed) == (0, False) and leftovers(out) == []


def test_an_address_where_nobody_answers_is_refused(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satae.batch.cluster.PATIENCE", 0.3)
    alone, line = serial(shared, model_path), ("--model", model_path, "--out", tmp_path / "out")
    said = refused(2, "run", alone / "in", *line, "--scheduler", "tcp://127.0.0.1:1")
    assert "no dask scheduler answers there" in said
