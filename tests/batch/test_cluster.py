"""Scenes on a dask cluster of two processes: the results of one, whatever happens to workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from commands import refused
from crowds import REQUEST, begun, diary, expected, heatmaps, leftovers, ran, serial
from orders import obedient, order
from shared import Shared

from satae.batch import places
from satae.batch.cluster import Cluster
from satae.batch.shard import Shard
from satae.batch.task import Means, Task
from satae.batch.worker import Outcome

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


def test_a_driver_that_is_killed_and_two_parts_at_once_leave_what_one_run_does(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = serial(shared, model_path)
    inside, out = obedient(alone / "in", tmp_path / "in", monkeypatch), tmp_path / "out"
    order(inside, s0=["nap"], s1=["nap"])
    with cluster() as address:
        driver = begun(inside, out, model_path, address)
        driver.kill()
        driver.wait()
        (out / ".parts" / "begun").unlink()
        with ThreadPoolExecutor(2) as threads:
            both = [
                threads.submit(ran, inside, out, model_path, scheduler=address, shard=Shard(i, 2))
                for i in (0, 1)
            ]
            results = [one.result(60) for one in both]
    assert sum(r.before + r.scored for r in results) == 6 and not any(r.failures for r in results)
    (out / ".parts" / "begun").unlink(missing_ok=True)
    places.tidy(out)
    assert heatmaps(out) == expected(alone) and leftovers(out) == []


class Future:
    """A task that is done at once."""

    def __init__(self, key: str) -> None:
        self.key = key

    def add_done_callback(self, told: Callable[[Future], None]) -> None:
        told(self)

    def result(self) -> Outcome:
        return Outcome(0, value={"damaged": 0})


class Client:
    """A cluster of two workers that keeps what is submitted."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, *given: object, **more: object) -> None: ...

    def submit(self, *given: object, **more: Any) -> Future:
        self.asked.append(more)
        return Future(more["key"])

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {"a": {"nthreads": 1}, "b": {"nthreads": 1}}}

    def close(self) -> None: ...


@pytest.mark.parametrize(("gpu", "resources"), [(True, {"GPU": 1}), (False, None)])
def test_tasks_of_a_gpu_ask_for_one_and_no_two_tasks_have_one_key(
    gpu: bool, resources: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satae.batch.cluster.distributed", SimpleNamespace(Client=Client))
    monkeypatch.setattr(Client, "asked", [])
    for out in ("one", "other"):
        scene = Task("a", "k", ("a",), REQUEST, Means(tmp_path / out, tmp_path / "m.onnx", ""), blocks=2)
        tasks = iter([scene, *scene.parts])
        Cluster("tcp://x", "m:f", gpu=gpu).run(tasks, lambda *told: True)
    assert [more["resources"] for more in Client.asked] == [resources] * 6
    # the same scene in two folders must be scored into both
    assert len({more["key"] for more in Client.asked}) == 6


def test_an_address_where_nobody_answers_is_refused(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satae.batch.cluster.PATIENCE", 0.3)
    alone, line = serial(shared, model_path), ("--model", model_path, "--out", tmp_path / "out")
    said = refused(2, "run", alone / "in", *line, "--scheduler", "tcp://127.0.0.1:1")
    assert "no dask scheduler answers there" in said
