"""Signals to commands in processes of their own: each ends the run, with nothing replaced and nothing left."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import SATAE, hear_interrupts
from scenes import MakeScene

INSTANTS = 20
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A module that swallows what comes while it is imported, and one that takes it for a fault of its own.
SWALLOW = (
    "import pathlib, time\npathlib.Path('ready').touch()\ntry: time.sleep(60)\nexcept BaseException: pass\n"
)
CONVERT = SWALLOW.replace("pass", "raise ImportError('broken')")
# What happens to a signal while an output is written, in lines of Python.
WRITING = """
import os, signal, sys
from pathlib import Path
from satae import interrupts, publish
interrupts.listen()
target = Path("out.txt")
def hit():
    os.kill(os.getpid(), signal.SIGINT)
"""


def begun(folder: Path, *words: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SATAE, *map(str, words)], cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts,
    )  # fmt: skip


def listens(process: subprocess.Popen[str]) -> bool:
    """Whether the first line of satae has run: SIGTERM is caught by it, and by nothing of Python's own start."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def contents(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc to see when a process listens")
@pytest.mark.slow
def test_a_signal_at_any_instant_ends_a_run_and_replaces_nothing(
    scene_path: Path, model_path: Path, tmp_path: Path
) -> None:
    line = ("score", scene_path, "--model", model_path, "--out", "out.gpkg", "--workers", 1, "--overwrite")
    with begun(tmp_path, *line, "--top", 1) as first:
        while not listens(first):
            time.sleep(0.001)
        started = time.monotonic()
        assert first.wait(120) == 0
    before, whole = contents(tmp_path), time.monotonic() - started
    ended = []
    for number in range(INSTANTS):
        # the first instants are imports, the last ones may be after the end
        with begun(tmp_path, *line, "--top", 3) as process:
            while not listens(process):
                time.sleep(0.001)
            time.sleep(whole * number / INSTANTS)
            process.send_signal(SIGNALS[number % len(SIGNALS)])
            out, error = process.communicate(timeout=60)
        ended.append(process.returncode)
        assert "Traceback" not in error and "Error" not in error, (number, error)
        if process.returncode == 0:
            before = contents(
                tmp_path
            )  # it was over, or its outputs were being put in place: all of them are
            assert "anomal" in out
        else:
            code = 128 + SIGNALS[number % len(SIGNALS)]
            assert process.returncode == code and "interrupted; nothing was replaced" in error, (
                number,
                error,
            )
        assert contents(tmp_path) == before, number
    # a machine that is less busy than at first is through before the later instants
    assert sum(code > 128 for code in ended) > INSTANTS / 4


@pytest.mark.parametrize("number", SIGNALS)
def test_every_way_to_be_ended_tidies_up_and_has_its_code(
    number: signal.Signals, make_scene: MakeScene, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(1, 3000, (3, 1024, 1024)).astype("uint16")
    scene = make_scene(image, folder=tmp_path)
    with begun(tmp_path, "tile", scene, "--size", 16, "--patches") as process:
        while not [*(tmp_path / "tiles").glob(".satae-*")]:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "Traceback" not in error, error
    assert [p.name for p in tmp_path.iterdir()] == [scene.name]


@pytest.mark.parametrize("module", [SWALLOW, CONVERT], ids=["swallows", "converts"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_an_import_that_handles_it_ends_the_run(module: str, number: int, tmp_path: Path) -> None:
    (tmp_path / "rasterio.py").write_text(module)
    place = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    with begun(tmp_path, "tile", "scene.tif", PYTHONPATH=place) as process:
        while not (tmp_path / "ready").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (128 + number, "interrupted; nothing was replaced\n")


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        ("hit()", 130, ""),  # nothing to tidy up: on the spot
        ("with publish.lock(target):\n  try: hit()\n  except KeyboardInterrupt: pass\n"
         "  publish.write_bytes(target, b'new')", 1, "old"),  # swallowed, and raised again before the rename
        ("with publish.lock(target):\n  publish.write_bytes(target, b'new')\n  hit()\n"
         "  publish.write_bytes(target, b'all')", 0, "all"),  # what belongs together is put in place together
        ("with publish.lock(target):\n  publish.write_bytes(target, b'new')\n  hit()\ninterrupts.check()", 1, "new"),
        ("with publish.lock(target):\n  publish.os.replace = lambda *a, do=os.replace: (hit(), do(*a))\n"
         "  publish.write_bytes(target, b'new')", 0, "new"),  # in the middle of it
    ],
    ids=["at once", "swallowed", "between two outputs", "after them", "in a rename"],
)  # fmt: skip
def test_what_a_signal_does_while_outputs_are_written(
    lines: str, code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "out.txt").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", WRITING + lines], cwd=tmp_path, capture_output=True, text=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    # an interrupt that is raised to the end is a negative code, or 130 by way of the door
    assert (done.returncode in (-2, 130)) if code == 1 else (done.returncode == code), done.stderr
    assert (tmp_path / "out.txt").read_text() == (said or "old")
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]
