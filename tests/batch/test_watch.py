"""What arrives is scored once it is complete, and each region is told of once, whatever is killed between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import SATAE, refused, typed
from crowds import diary, finished, inline, options, ran, serial
from shared import Shared

from satae.batch import run as batch
from satae.batch import watch
from satae.batch.manifest import entries
from satae.batch.shard import Shard
from satae.batch.watch import Arrivals, Teller

# a command that appends what it is given to a file, and fails on the regions that another one names
COMMAND = """
import json, sys
said = json.load(sys.stdin)
if said["anomaly_id"] in open(sys.argv[2]).read():
    sys.exit("not now")
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(said) + "\\n")
"""


def command(folder: Path) -> str:
    (folder / "tell.py").write_text(COMMAND)
    (folder / "not").touch()
    return f"'{sys.executable}' '{folder / 'tell.py'}' '{folder / 'told'}' '{folder / 'not'}'"


def told(folder: Path) -> list[str]:
    path = folder / "told"
    return [json.loads(t)["anomaly_id"] for t in path.read_text().splitlines()] if path.exists() else []


def complete(arrivals: Arrivals, folder: Path) -> list[str]:
    return [e.name for e in arrivals.complete(entries([str(folder)], (), empty=True))]


def test_a_file_is_complete_when_its_size_and_time_are_at_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [1000.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: moment[0])
    arrivals = Arrivals(rest=10)

    def look(after: float) -> bool:
        moment[0] += after
        return arrivals.are_new(entries([str(tmp_path)], (), empty=True))

    assert look(0) and complete(arrivals, tmp_path) == []
    (tmp_path / "new.tif").write_bytes(b"x")
    (tmp_path / "old.tif").write_bytes(b"x")
    os.utime(tmp_path / "old.tif", (1, 1))
    assert look(0) and complete(arrivals, tmp_path) == ["old"]
    # it grows, and is at rest again
    (tmp_path / "new.tif").write_bytes(b"xx")
    assert not look(11) and not look(9.9) and complete(arrivals, tmp_path) == ["old"]
    assert look(0.1) and complete(arrivals, tmp_path) == ["new", "old"]
    # the same size at another time is another file
    os.utime(tmp_path / "new.tif", (time.time(), time.time() + 5))
    assert look(30) and complete(arrivals, tmp_path) == ["old"]
    assert not look(0)
    (tmp_path / "old.tif").unlink()
    assert look(1) and complete(arrivals, tmp_path) == []


def test_every_region_is_told_of_once_over_restarts_and_what_failed_again(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    alone, out = serial(shared, model_path), finished(shared, model_path, tmp_path)
    # a list of one scene; those of the others are there and not listed
    ran(alone / "in" / "s0.tif", out, model_path)
    line = command(tmp_path)
    assert Teller(out, line).tell(Shard()) == 3
    first = told(tmp_path)
    assert len(set(first)) == 3 and Teller(out, line).tell(Shard()) == 0
    # of the next scene one region is refused at first, and the file of what was told is torn
    ran(alone / "in", out, model_path)
    found = [
        said["anomaly_id"] for p in out.glob("scenes/*/regions.json") for said in json.loads(p.read_text())
    ]
    assert len(found) > 12
    (tmp_path / "not").write_text(next(name for name in found if name.startswith("s3-")))
    teller = Teller(out, line)
    assert teller.tell(Shard()) == len(found) - 4 and teller.failed
    with (out / watch.TOLD).open("ab") as file:
        file.write(b'{"scene": "s')
    (tmp_path / "not").write_text("nothing")
    teller = Teller(out, line)
    assert teller.tell(Shard()) == 1 and not teller.failed
    assert sorted(told(tmp_path)) == sorted(found)
    assert Teller(out, line).tell(Shard()) == 0
    said = json.loads((tmp_path / "told").read_text().splitlines()[0])
    assert said["scene"] == "s0" and said["path"].endswith("s0.tif") and said["score"] > 0
    # by rank in each scene
    ranks = [json.loads(text)["rank"] for text in (tmp_path / "told").read_text().splitlines()]
    scores = [json.loads(text)["score"] for text in (tmp_path / "told").read_text().splitlines()]
    assert ranks[:3] == [1, 2, 3] and scores[:3] == sorted(scores[:3], reverse=True) and min(ranks) == 1
    assert 9 < said["lonlat"][0] < 10 and 46 < said["lonlat"][1] < 48


def test_scenes_that_arrive_are_scored_until_the_command_is_interrupted(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    alone, inside = serial(shared, model_path), tmp_path / "in"
    inside.mkdir()
    shutil.copy2(alone / "in" / "s0.tif", inside)
    os.utime(inside / "s0.tif", (1, 1))
    line = [*SATAE, "-q", "run", inside, "--model", model_path, "--out", tmp_path / "out", "--top", "3"]
    words = ["--watch", "--on-anomaly", command(tmp_path), "--device", "cpu"]
    process = subprocess.Popen([*line, *words], stderr=subprocess.PIPE, text=True)
    for number, count in enumerate((3, 6)):
        end = time.monotonic() + 60
        while len(told(tmp_path)) < count and time.monotonic() < end:
            assert process.poll() is None
            time.sleep(0.05)
        if number == 0:
            # under a hidden name until it is whole, as rsync has it
            shutil.copy2(alone / "in" / "s1.tif", inside / ".s1.tif.part")
            os.utime(inside / ".s1.tif.part", (1, 1))
            (inside / ".s1.tif.part").rename(inside / "s1.tif")
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[1]
    assert process.returncode in (130, 143) and "what was finished is in place" in said
    assert [said["name"] for said in diary(tmp_path / "out")] == ["s0", "s1"] and len(told(tmp_path)) == 6


def test_what_failed_is_not_tried_at_every_look(
    shared: Shared, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, inside = serial(shared, model_path), tmp_path / "in"
    inline(monkeypatch)
    inside.mkdir()
    shutil.copy2(alone / "in" / "s0.tif", inside)
    (inside / "bad.tif").write_text("junk")
    for path in inside.iterdir():
        os.utime(path, (1, 1))
    arrivals = Arrivals()
    given = options(tmp_path / "out", model_path, arrivals=arrivals)

    def turns() -> Iterator[batch.Result]:
        for _ in range(2):
            arrivals.are_new(batch.entries_of([str(inside)], given))
            yield batch.run([str(inside)], given)

    first, second = turns()
    assert first.scored == 1 and second.scored == 0 and [f.name for f in second.failures] == ["bad"]
    assert [said["name"] for said in diary(tmp_path / "out") if said["state"] == "failed"] == ["bad"]


def test_regions_on_which_the_command_fails_are_counted(
    shared: Shared, model_path: Path, tmp_path: Path
) -> None:
    scene = serial(shared, model_path) / "in" / "s0.tif"
    line = (
        "run",
        scene,
        "--model",
        model_path,
        "--out",
        tmp_path / "o",
        "--top",
        3,
        "--device",
        "cpu",
        "--json",
    )
    done = typed(*line, "--on-anomaly", "false")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["told"], said["not_told"]) == (4, 0, 3)
    assert "3 regions not passed on" in done.stderr and done.stderr.count("false ended with 1\n") == 3
    # a shell where one is asked for
    done = typed(*line, "--on-anomaly", f"sh -c 'cat >> {tmp_path}/a && echo >> {tmp_path}/a'")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["told"], said["not_told"]) == (0, 3, 0)
    assert len((tmp_path / "a").read_text().splitlines()) == 3


def test_watching_asks_for_a_model_and_for_a_command_that_is_one(tmp_path: Path) -> None:
    assert "--watch needs --model" in refused(2, "run", tmp_path, "--watch", "--out", tmp_path / "o")
    said = typed("run", tmp_path, "--model", "m.onnx", "--on-anomaly", " ", "--out", tmp_path / "o")
    assert said.exit_code == 2 and "names no command" in said.stderr
    said = typed("run", tmp_path, "--model", "m.onnx", "--on-anomaly", "no-such x", "--out", tmp_path / "o")
    assert (
        said.exit_code == 2 and "there is no program no-such" in said.stderr and not (tmp_path / "o").exists()
    )
