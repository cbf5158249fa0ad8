"""Spawned processes: each is shown one device, and one that is stuck in C is ended all the same."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import crowds
import pytest
from crowds import alive
from drill import Drill

from satae import interrupts
from satae.batch import devices, guard, places
from satae.batch import run as batch
from satae.batch.pool import Pool
from satae.batch.worker import Outcome

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2, 5"}, ("2", "5")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,-1,3"}, ("GPU-a",)),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({}, ("0", "1", "2")),
    ],
)
def test_devices_are_those_that_are_shown_or_that_the_driver_has(
    environment: dict[str, str], found: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("0000:17:00.0", "0000:65:00.0", "0000:ca:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(devices, "DRIVER", tmp_path)
    assert devices.gpus(environment) == found
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "none")
    assert environment or devices.gpus(environment) == ()


def test_each_process_is_shown_one_device_before_it_loads_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert devices.shares("cpu") == []
    told: list[tuple[str, Outcome]] = []

    def tell(task: Any, outcome: Outcome, attempt: int, last: bool) -> bool:
        told.append((task, outcome))
        return True

    Pool("drill:shown", lambda: 2, lanes=devices.shares("cuda")).run(iter("ab"), tell)
    assert {t: o.value for t, o in told} == {"a": "GPU-a", "b": "GPU-b"}
    # one dies, and who comes in its place is shown the device that is free again
    told.clear()
    tasks = iter([f"kill {tmp_path / 'killed'}"])
    Pool("drill:shown", lambda: 1, lanes=devices.shares("cuda")).run(tasks, tell)
    assert [(o.code, o.value) for _, o in told] == [(137, None), (0, "GPU-a")]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"


def test_what_fails_goes_to_other_processes_and_is_given_up_after_three(tmp_path: Path) -> None:
    names = ("kill", "full", "bug", "bad", "fine")
    tasks, told = [Drill(n, str(tmp_path / n)) for n in names], list[tuple[str, int, int, bool, int]]()

    def tell(task: Any, outcome: Outcome, attempt: int, last: bool) -> bool:
        told.append((task.what, outcome.code, attempt, last, outcome.process))
        return True

    gone: list[int] = []
    Pool("drill:attempted", lambda: 2, gone=gone.append).run(iter(tasks), tell)
    said = {name: [of[1:4] for of in told if of[0] == name] for name in names}
    for name, code in (("kill", 137), ("full", 3), ("bug", 1)):
        assert said[name] == [(code, 1, False), (code, 2, False), (code, 3, True)]
        processes = [of[4] for of in told if of[0] == name]
        assert len({*processes}) == 3 and {*processes} <= {*gone}
    # bad input is nobody's fault but its own
    assert said["bad"] == [(2, 1, True)] and said["fine"] == [(0, 1, True)]
    assert {n: len((tmp_path / n).read_text()) for n in names} == dict(
        zip(names, (3, 3, 3, 1, 1), strict=True)
    )


@pytest.mark.parametrize(
    ("device", "jobs", "expected"),
    [("cuda", 1, (3, 3)), ("cuda", 5, (5, 3)), ("auto", 1, (1, 3)), ("cpu", 2, (2, 0))],
)
def test_no_device_that_was_asked_for_is_idle(
    device: str, jobs: int, expected: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    asked: list[tuple[int, int]] = []

    class Crew:
        def __init__(self, function: str, slots: Any, *, lanes: Any, **more: Any) -> None:
            asked.append((slots(), len(lanes)))

        def run(self, tasks: Any, tell: Any) -> None: ...

    monkeypatch.setattr(batch, "Pool", Crew)
    inside = tmp_path / "in"
    inside.mkdir()
    for i in range(9):
        (inside / f"{i}.tif").write_text(f"{i}")
    (tmp_path / "m.onnx").write_text("m")
    options = batch.Options(
        tmp_path / "out",
        tmp_path / "m.onnx",
        lambda row: batch.Request(),
        device=device,
        jobs=jobs,
        memory=1 << 50,
    )
    batch.run([str(inside)], options)
    assert asked == [expected]


@LINUX
@pytest.mark.parametrize("how", ["", "held "])
def test_a_process_that_does_not_come_back_from_c_is_ended(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "GRACE", 0.5)
    begun, dropped = tmp_path / "begun", list[Any]()
    pool = Pool(
        "drill:stuck", lambda: 1, dropped=dropped.append, gone=lambda pid: places.sweep(tmp_path, dead=pid)
    )

    def asked() -> None:
        if begun.exists() and begun.read_text():
            raise KeyboardInterrupt

    monkeypatch.setattr(interrupts, "check", asked)
    with pytest.raises(KeyboardInterrupt):
        pool.run(iter([f"{how}{begun}"]), lambda *told: True)
    assert dropped == [f"{how}{begun}"] and not alive(int(begun.read_text()))
    assert list((tmp_path / places.PARTS).iterdir()) == []


DRIVER = """
import sys
from satae.batch.pool import Pool
if __name__ == "__main__":
    Pool("drill:stuck", lambda: 1).run(iter([sys.argv[1]]), lambda *told: True)
"""


@LINUX
@pytest.mark.parametrize("how", ["", "held "])
def test_a_process_that_does_not_come_back_from_c_ends_when_its_driver_is_killed(
    how: str, tmp_path: Path
) -> None:
    begun, script = tmp_path / "begun", tmp_path / "driver.py"
    script.write_text(DRIVER)
    place = os.pathsep.join([str(Path(crowds.__file__).parent), os.environ.get("PYTHONPATH", "")])
    driver = subprocess.Popen(
        [sys.executable, script, f"{how}{begun}"], env=os.environ | {"PYTHONPATH": place}
    )
    while not (begun.exists() and begun.read_text()):
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    end = time.monotonic() + 20
    while alive(int(begun.read_text())) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(int(begun.read_text()))
    # no thread of one that holds the interpreter can tidy up: what it began goes with the next run of this machine
    assert [p.name.partition(".")[0] for p in (tmp_path / places.PARTS).iterdir()] == ["stuck"] * bool(how)
    places.sweep(tmp_path)
    assert list((tmp_path / places.PARTS).iterdir()) == []
