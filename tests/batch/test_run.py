"""Many scenes in one folder: resumed, in several processes and parts, after any kill, with the results of one."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import crowds
import pytest
from commands import SATAE, refused, typed
from crowds import (
    alive,
    begun,
    children,
    diary,
    everything,
    expected,
    finished,
    heatmaps,
    inline,
    leftovers,
    ran,
    rows,
    serial,
)
from orders import obedient, order
from servers import serving
from shared import Shared

from satae.batch import places
from satae.batch.folders import SceneFolders
from satae.batch.result import make
from satae.batch.run import Allowance
from satae.batch.shard import Shard

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def gone(processes: list[int], within: float = 12.0) -> bool:
    end = time.monotonic() + within
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, processes))


def test_two_processes_give_what_one_command_gives_though_some_are_killed_in_mid_scene(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    alone, out = serial(shared, model_path), finished(shared, model_path, tmp_path)
    assert heatmaps(out) == expected(alone) and leftovers(out) == []
    found = make(SceneFolders(out)).collection
    assert found is not None and found.scenes == 6
    for layer in ("anomalies", "tiles", "scenes"):
        assert rows(out / "anomalies.gpkg", layer).equals(rows(alone / "out.gpkg", layer)), layer
    killed = [said for said in diary(out) if said["state"] == "again"]
    assert sorted(said["name"] for said in killed) == ["s2", "s4", "s4"]
    assert all(said["code"] == 137 and "SIGKILL" in said["reason"] for said in killed)
    # each attempt in another process
    attempts = [said["process"] for said in diary(out) if said["name"] == "s4"]
    assert len(set(attempts)) == 3 and len(diary(out)) == 9


def test_a_second_run_scores_nothing(shared: Shared, model_path: Path, tmp_path: Path) -> None:
    alone, out = serial(shared, model_path), finished(shared, model_path, tmp_path)
    before, lines = everything(out), len(diary(out))
    again = ran(alone / "in", out, model_path, jobs=2)
    assert (again.scored, again.before, again.changed) == (0, 6, False)
    assert len(diary(out)) == lines and everything(out) == before and leftovers(out) == []


@LINUX
def test_a_run_with_nothing_to_do_is_over_in_two_seconds(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    alone, out = serial(shared, model_path), finished(shared, model_path, tmp_path)
    line = [*SATAE, "run", alone / "in", "--model", model_path, "--out", out]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*line, "--top", "3", "--chips", "2"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "0 scenes scored, 6 before" in done.stdout
    # of CPU, for the machine may have other things to do
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_what_failed_for_no_reason_of_its_own_is_tried_by_the_next_run_and_nothing_else_is(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, out = serial(shared, model_path), tmp_path / "out"
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    inline(monkeypatch)
    order(inside, s3=["bug"], s5=["full"])
    result = ran(inside, out, model_path)
    assert result.scored == 4 and leftovers(out) == []
    assert [(f.name, f.code) for f in result.failures] == [("s5", 3), ("s3", 1)]
    full, bug = (f.reason for f in result.failures)
    assert "No space left on device" in full and "ValueError: a bug" in bug
    again = ran(inside, out, model_path)
    assert (again.before, again.scored, again.failures) == (4, 2, ())
    assert [len((inside / f"{n}.tried").read_text()) for n in ("s0", "s3", "s5")] == [1, 2, 2]


@LINUX
def test_a_driver_that_is_killed_leaves_no_orphan_and_the_next_run_ends_what_it_began(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = serial(shared, model_path)
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    out = tmp_path / "out"
    order(inside, s0=["slow"])
    process = begun(inside, out, model_path)
    started = children(process.pid)
    process.kill()
    process.wait()
    assert started and gone(started)
    assert [p.name for p in out.glob(".parts/*") if p.is_dir()] == []  # they tidied up before they went
    (out / ".parts" / "begun").unlink()
    done = len(heatmaps(out))
    result = ran(inside, out, model_path, jobs=2)
    assert result.before == done < 6 and result.before + result.scored == 6
    assert heatmaps(out) == expected(alone) and leftovers(out) == []


@LINUX
def test_what_a_killed_machine_left_is_removed_by_the_next_run(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = serial(shared, model_path)
    inline(monkeypatch)
    out, host = tmp_path / "out", places.host()
    parts = out / ".parts"
    for name in (f"aa.{host}.999999999", "bb.elsewhere.5", "cc.elsewhere.6"):
        (parts / name).mkdir(parents=True)
    os.utime(parts / "bb.elsewhere.5", (0, 0))
    (out / "scenes").mkdir()
    with (out / "journal.jsonl").open("w") as file:
        file.write('{"state": "done", "key": "x"}\n{"state": "fai')  # torn by the same kill
    ran(alone / "in" / "s0.tif", out, model_path)
    assert [p.name for p in parts.iterdir()] == ["cc.elsewhere.6"]  # which may be at work
    lines = (out / "journal.jsonl").read_text().splitlines()
    assert lines[1] == '{"state": "fai' and json.loads(lines[2])["name"] == "s0"


@LINUX
def test_a_pre_empted_run_drops_its_scenes_within_ten_seconds(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = serial(shared, model_path)
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    out = tmp_path / "out"
    order(inside, s0=["slow"], s1=["slow"])
    process = begun(inside, out, model_path)
    started = children(process.pid)
    moment = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130 and time.monotonic() - moment < 10
    assert gone(started, 1.0) and [p for p in out.glob(".parts/*") if p.is_dir()] == []
    assert {said["name"] for said in diary(out) if said["state"] == "dropped"} & {"s0", "s1"}


def test_two_shards_at_once_are_one_run(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, out = serial(shared, model_path), tmp_path / "out"
    line = [
        *SATAE,
        "-q",
        "run",
        alone / "in",
        "--model",
        model_path,
        "--out",
        out,
        "--top",
        "3",
        "--chips",
        "2",
    ]
    environment = os.environ | {"JOB_COMPLETION_INDEX": "1"}
    other = subprocess.Popen([*line, "--shard", "auto/2"], stdout=subprocess.DEVNULL, env=environment)
    # neither is over before the other has begun
    while not (out / "plan-1-of-2.jsonl").exists():
        assert other.poll() is None
        time.sleep(0.02)
    inline(monkeypatch)
    result = ran(alone / "in", out, model_path, shard=Shard(0, 2))
    assert other.wait(120) == 0 and result.failures == ()
    places.tidy(out)
    assert heatmaps(out) == expected(alone) and leftovers(out) == []
    own = {name for i in range(6) if Shard(1, 2).holds(name := f"s{i}")}
    assert 0 < len(own) < 6
    assert {json.loads(t)["name"] for t in (out / "plan-1-of-2.jsonl").read_text().splitlines()} == own
    assert make(SceneFolders(out)).collection.missing == 0  # type: ignore[union-attr]
    assert rows(out / "anomalies.gpkg").equals(rows(alone / "out.gpkg"))


def test_a_scene_that_does_not_fit_is_tried_once(
    shared: Shared,
    model_path: Path,
    tmp_path: Path,
    make_scene: Any,
    landscape: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = serial(shared, model_path)
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    make_scene(landscape.image[:3], name="three.tif", folder=inside)
    out = tmp_path / "out"
    inline(monkeypatch)
    result = ran(inside, out, model_path)
    assert result.scored == 6 and [(f.name, f.code) for f in result.failures] == [("three", 2)]
    assert "3 bands" in result.failures[0].reason or "has no" in result.failures[0].reason
    again = ran(inside, out, model_path)
    assert again.scored == 0 and again.failures == result.failures and not again.changed
    assert (inside / "three.tried").read_text() == "x"
    ran(inside, out, model_path, retry=True)
    assert (inside / "three.tried").read_text() == "xx"
    # once it is another scene it is scored
    make_scene(landscape.image[:, :80, :80], name="three.tif", folder=inside)
    assert ran(inside, out, model_path).scored == 1


def test_a_model_that_cannot_be_used_is_no_fault_of_the_scenes(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = serial(shared, model_path)
    inline(monkeypatch)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model_path.read_bytes()[:-2000])
    said = refused(2, "run", alone / "in", "--model", broken, "--out", tmp_path / "out")
    assert "broken.onnx" in said and diary(tmp_path / "out") == []
    assert "does not exist" in refused(2, "run", alone / "in", "--model", "no.onnx", "--out", tmp_path / "o")


def test_too_many_failures_end_a_run_early(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = serial(shared, model_path)
    inside = obedient(alone / "in", tmp_path / "in", monkeypatch)
    for name in ("b0", "b1", "b2"):
        (inside / f"{name}.tif").write_bytes(b"no image " * 100_000)  # the largest come first
    inline(monkeypatch)
    result = ran(inside, tmp_path / "out", model_path, allowance=Allowance.of("1"))
    assert len(result.failures) == 2 and result.dropped == 7 and result.scored == 0
    assert [Allowance.of(t).is_over(3, 40) for t in ("2", "3", "5%", "7.5%", None)] == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_the_command_says_what_failed_and_ends_with_4(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = serial(shared, model_path)
    inline(monkeypatch)
    (tmp_path / "bad.tif").write_text("junk")
    names = tmp_path / "list.txt"
    names.write_text(f"# two\n\nbad.tif\n{alone / 'in' / 's0.tif'}\n")
    done = typed("run", names, "--model", model_path, "--out", tmp_path / "out", "--top", 3, "--json")
    assert done.exit_code == 4
    said = json.loads(done.stdout)
    assert (said["scored"], said["scenes"], [f["code"] for f in said["failures"]]) == (1, 2, [2])
    again = typed("run", names, "--model", model_path, "--out", tmp_path / "out", "--top", 3)
    assert again.exit_code == 4 and "bad.tif is not a GeoTIFF" in again.stderr
    assert "0 scenes scored, 1 before, 1 failed" in again.stdout


def test_what_lies_on_a_server_is_fetched_only_where_that_is_allowed(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = crowds.crowd(tmp_path, 1)
    inline(monkeypatch)
    with serving(alone, tmp_path / "log") as server:
        line = ("run", server.link("well", "s0.tif"), "--model", model_path, "--out", tmp_path / "out")
        said = typed(*line, "--cache", tmp_path / "cache")
        assert said.exit_code == 4 and "pass --allow-network to fetch it" in said.stderr
        assert server.requests == []
        assert typed(*line, "--cache", tmp_path / "cache", "--allow-network", "--retry").exit_code == 0
    assert list(heatmaps(tmp_path / "out")) == ["s0"]
