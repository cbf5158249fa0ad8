"""Scenes on a dask cluster of two processes: the results of one, whatever happens to workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from commands import refused
from crowds import REQUEST, about, begun, diary, everything, expected, heatmaps, leftovers, ran, serial, whole
from drill import Drill
from orders import obedient, order
from shared import Shared

from satae.batch import places
from satae.batch.cluster import Cluster, check_address
from satae.batch.shard import Shard
from satae.batch.task import Means, Task
from satae.batch.worker import Outcome

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # of a library that tests of ours are not about


@lru_cache(maxsize=1)
def cluster() -> Any:
    """Two processes of one thread with a GPU each, as they say, for all tests here."""
    return distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, resources={"GPU": 1},
        silence_logs=logging.CRITICAL,
    )  # fmt: skip


def teardown_module() -> None:
    if cluster.cache_info().currsize:
        cluster().close()


def few(workers: int) -> Any:
    """A cluster of its own, of so many processes."""
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )  # fmt: skip


def address() -> str:
    return str(cluster().scheduler_address)


def test_workers_that_are_killed_and_scenes_that_fail_change_no_result(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = serial(shared, model_path)
    inside, out = obedient(alone / "in", tmp_path / "in", monkeypatch), tmp_path / "out"
    (inside / "bad.tif").write_text("junk")
    order(inside, s2=["kill"], s3=["bug"])
    result = ran(inside, out, model_path, scheduler=address())
    again = ran(inside, out, model_path, scheduler=address())
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
    driver = begun(inside, out, model_path, address())
    driver.kill()
    driver.wait()
    (out / ".parts" / "begun").unlink()
    with ThreadPoolExecutor(2) as threads:
        both = [
            threads.submit(ran, inside, out, model_path, scheduler=address(), shard=Shard(i, 2))
            for i in (0, 1)
        ]
        results = [one.result(60) for one in both]
    assert sum(r.before + r.scored for r in results) == 6 and not any(r.failures for r in results)
    (out / ".parts" / "begun").unlink(missing_ok=True)
    places.tidy(out)
    assert heatmaps(out) == expected(alone) and leftovers(out) == []


def test_a_scene_that_is_split_over_workers_of_which_one_is_killed_is_the_unsplit_one(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, out = whole(shared, model_path), tmp_path / "out"
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    order(inside, tall=["", "kill"])
    size = (inside / "tall.tif").stat().st_size
    result = ran(inside, out, model_path, split=-(-size // 2), scheduler=address())
    assert (result.scored, result.failures) == (1, ())
    assert [said["state"] for said in diary(out)] == ["block"] * 2 + ["done"]
    # rows of regions and tiles are files too
    assert everything(out) == everything(alone / "out") and about(out) == about(alone / "out")
    assert len((inside / "tall.tried").read_text()) == 4 and leftovers(out) == []


def test_tasks_of_a_gpu_are_given_to_others_when_a_worker_dies_or_fails(tmp_path: Path) -> None:
    names = ("fine", "bug", "bad", "once")
    tasks, told = [Drill(n, str(tmp_path / n)) for n in names], list[tuple[str, int, int, bool]]()

    def tell(task: Any, outcome: Outcome, attempt: int, last: bool) -> bool:
        told.append((task.what, outcome.code, attempt, last))
        return True

    Cluster(address(), "drill:attempted", gpu=True).run(iter(tasks), tell)
    said = {name: [of[1:] for of in told if of[0] == name] for name in names}
    assert said["fine"] == [(0, 1, True)] and said["bad"] == [(2, 1, True)]
    assert said["bug"] == [(1, 1, False), (1, 2, False), (1, 3, True)]
    # the death of a worker is dask's business
    assert said["once"] == [(0, 1, True)] and (tmp_path / "once").read_text() == "xx"


def test_what_waits_on_a_busy_worker_is_taken_over_by_one_that_comes(tmp_path: Path) -> None:
    tasks, told = [Drill(n, str(tmp_path / n)) for n in ("meet 1", "meet 2")], list[tuple[int, int, str]]()

    def tell(task: Any, outcome: Outcome, attempt: int, last: bool) -> bool:
        told.append((outcome.code, attempt, outcome.worker))
        return True

    # of one worker, on which both wait: the first comes to no end before the second one is at work
    with few(1) as crew, ThreadPoolExecutor(1) as threads:
        done = threads.submit(Cluster(crew.scheduler_address, "drill:attempted").run, iter(tasks), tell)
        while not list(tmp_path.iterdir()) and not done.done():
            time.sleep(0.05)
        crew.scale(2)
        done.result(120)
    assert [said[:2] for said in told] == [(0, 1)] * 2 and len({said[2] for said in told}) == 2


@pytest.mark.parametrize(("gpu", "how"), [(False, ""), (True, " --resources GPU=1")])
def test_a_run_that_no_worker_is_there_for_says_so_and_ends(
    gpu: bool, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("satae.batch.cluster.SAY", 0.1)
    monkeypatch.setattr("satae.batch.cluster.END", 2.0)
    dropped = list[str]()
    with few(int(gpu)) as crew:
        own = Cluster(crew.scheduler_address, "m:f", gpu=gpu, dropped=lambda task: dropped.append(task.what))
        own.run(iter([Drill("fine", str(tmp_path))]), lambda *told: pytest.fail("nobody did it"))
    assert dropped == ["fine"]
    assert (
        f"has no worker for these scenes; start some, by `dask worker {crew.scheduler_address}" in caplog.text
    )
    assert f"--nthreads 1{how}`" in caplog.text


def test_processes_and_the_cluster_are_given_the_same_function_and_tasks(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, list[Task]]] = []

    class Crew:
        def __init__(self, *of: Any, **more: object) -> None:
            self.function = next(
                name for name in of if isinstance(name, str) and ":" in name and "/" not in name
            )

        def run(self, tasks: Iterator[Task], tell: object) -> None:
            given.append((self.function, [*tasks]))

    for name in ("Pool", "Cluster"):
        monkeypatch.setattr(f"satae.batch.run.{name}", Crew)
    monkeypatch.setattr("satae.batch.run.now", lambda: "2026-01-01T00:00:00Z")
    alone = serial(shared, model_path)
    for scheduler in (None, "tcp://x:1"):
        ran(alone / "in", tmp_path / "out", model_path, scheduler=scheduler, split=1 << 20)
    assert given[0] == given[1] and given[0][0] == "satae.batch.work:score" and len(given[0][1]) == 6


class Future:
    """A task that is done at once."""

    def __init__(self, key: str) -> None:
        self.key = key

    def add_done_callback(self, told: Callable[[Future], None]) -> None:
        told(self)

    def cancel(self) -> None: ...

    def result(self) -> Outcome:
        if self.key.startswith("satae-kill"):
            raise distributed.KilledWorker(self.key, SimpleNamespace(address="tcp://x"), 3)
        return Outcome(0, value={"damaged": 0, "foreign": False}, worker="tcp://x")


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


def test_what_dask_gave_up_is_tried_once_more_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satae.batch.cluster.distributed", SimpleNamespace(Client=Client))
    told: list[tuple[int, int, bool]] = []

    def tell(task: Any, outcome: Outcome, attempt: int, last: bool) -> bool:
        told.append((outcome.code, attempt, last))
        return "KilledWorker" in outcome.reason

    Cluster("tcp://x", "m:f").run(iter([Drill("kill", str(tmp_path))]), tell)
    assert told == [(1, 1, False), (1, 2, True)]


def test_a_scheduler_that_goes_away_ends_the_run_with_what_is_done(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(Client):
        def submit(self, *given: object, **more: Any) -> Future:
            done = Future(more["key"])
            if self.asked:
                monkeypatch.setattr(done, "result", cancelled)
            self.asked.append(more)
            return done

        def scheduler_info(self, n_workers: int) -> dict[str, Any]:
            return {"type": "Scheduler"}

    def cancelled() -> Outcome:
        raise distributed.client.FutureCancelledError("k", "scheduler-connection-lost")

    monkeypatch.setattr("satae.batch.cluster.distributed", SimpleNamespace(Client=Gone))
    monkeypatch.setattr(Gone, "asked", [])
    alone = serial(shared, model_path)
    result = ran(alone / "in", tmp_path / "out", model_path, scheduler="tcp://x:1")
    assert (result.scored, result.failures, result.dropped) == (1, (), 5)
    assert result.halt == "the cluster was lost"
    states = [said["state"] for said in diary(tmp_path / "out")]
    assert states == ["done", "dropped", "dropped"]


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "tcp://host",
        "tcp://host:0",
        "tcp://host:99999",
        "ftp://host:8786",
        "tcp://h:8786/x",
        "h:x",
    ],
)
def test_what_is_no_address_is_refused_before_dask_is_loaded(
    address: str, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satae.batch.cluster.distributed", None)
    line = ("run", tmp_path, "--model", model_path, "--out", tmp_path / "out", "--scheduler", address)
    assert f"--scheduler {address} is no address such as tcp://host:8786" in refused(2, *line)
    assert not (tmp_path / "out").exists()


def test_addresses_as_dask_has_them_are_taken() -> None:
    for good in ("tcp://host:8786", "10.0.0.1:8786", "tls://[::1]:8786", "wss://a.b:443"):
        check_address(good)


def test_an_address_where_nobody_answers_is_refused(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satae.batch.cluster.PATIENCE", 0.3)
    alone, line = serial(shared, model_path), ("--model", model_path, "--out", tmp_path / "out")
    said = refused(2, "run", alone / "in", *line, "--scheduler", "tcp://127.0.0.1:1")
    assert "no dask scheduler answers there" in said
