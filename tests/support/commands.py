"""Commands as a user types them, in this process and in one of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from satae.cli import app

SATAE = (sys.executable, "-m", "satae")
# Code for a process of its own: what it held at most, in MiB. On Linux the maxrss of getrusage begins with what
# the process that started it held, here pytest.
PEAK = """
import resource, sys

def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 2**10
"""


def typed(*words: object) -> Any:
    """The result of a command line; a bug keeps its traceback."""
    result = CliRunner().invoke(app.app, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def told(*words: object) -> dict[str, Any]:
    """The JSON object on stdout, which holds nothing else."""
    result = typed(*words, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refused(code: int, *words: object) -> str:
    """The one sentence on stderr of a command that ends with `code`."""
    result = typed(*words)
    assert result.exit_code == code and result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and not lines[0].endswith(".")
    return lines[0]


def hear_interrupts() -> None:
    """For a process to be: what a shell or `nohup` starts is deaf to SIGINT or SIGHUP, and so are its children."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def started(folder: Path, *words: object, ready: Callable[[], bool]) -> subprocess.Popen[str]:
    """A command in `folder`, once `ready` holds."""
    process = subprocess.Popen(
        [*SATAE, *map(str, words)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def halfway(folder: Path) -> Callable[[], bool]:
    return lambda: any(p.stat().st_size for p in folder.glob(".satae-*/**/*.plain.tif"))
