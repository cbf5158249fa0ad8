"""Finds an installed satae and runs it in a process of its own, with progress and an end where it is cancelled."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Empty, Queue
from typing import Any

PROGRESS = re.compile(r"\]\s+(\d+) %")
PATIENCE = 10.0  # seconds that satae has to tidy up after it was told to end
# what QGIS sets for its own Python and libraries, with which those of another would not start
FOREIGN = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE", "PYTHONUSERBASE", "VIRTUAL_ENV", "QT_PLUGIN_PATH"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "GDAL_DATA", "GDAL_DRIVER_PATH"),
    *("GDAL_FILENAME_IS_UTF8", "VSI_CACHE", "PROJ_LIB", "PROJ_DATA"),
)


def places() -> list[Path]:
    """Where satae is looked for when PATH does not lead to it."""
    home, name = Path.home(), "satae.exe" if os.name == "nt" else "satae"
    folders = [
        home / ".local" / "bin",
        home / ".venv" / "bin",
        Path("/usr/local/bin"),
        Path("/opt/homebrew/bin"),
    ]
    if os.name == "nt":
        folders = [
            home / ".local" / "bin",
            home / ".venv" / "Scripts",
            home / "pipx" / "venvs" / "satae" / "Scripts",
        ]
    return [folder / name for folder in folders]


def executable(setting: str = "") -> list[str]:
    """The command that runs satae: as the setting or the variable SATAE names it, on PATH, or in the usual places.

    A Python may be named too, whose satae is run then. Empty where there is none.
    """
    named = setting or os.environ.get("SATAE", "")
    if named:
        python = Path(named).stem.lower().startswith("python")
        return [named, "-m", "satae"] if python else [named]
    on_path = shutil.which("satae", path=environment().get("PATH"))
    return next(([str(p)] for p in ([Path(on_path)] if on_path else places()) if p.is_file()), [])


def environment() -> dict[str, str]:
    """The environment of QGIS without what belongs to its own Python."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


class Cancellation(Exception):
    """The user cancelled."""


def run(
    argv: list[str],
    folder: Path,
    said: Callable[[str], None],
    progress: Callable[[float], None],
    stopped: Callable[[], bool],
) -> tuple[int, str, list[str]]:
    """The exit code of a command, what it printed, and the lines that it said meanwhile, each also given to `said`.

    `progress` is told per cents. Raises Cancellation where `stopped` became true; satae has tidied up then.
    """
    # a group of its own: a signal reaches it alone, and not QGIS
    new: dict[str, Any] = {"creationflags": 0x200} if os.name == "nt" else {"start_new_session": True}
    given = environment() | {"PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(argv, cwd=folder, env=given, **pipes, **text, **new) as process:
        lines: Queue[str] = Queue()
        printed: list[str] = []

        def listen(stream: Iterable[str]) -> None:
            for line in stream:
                lines.put(line.rstrip())

        # a thread a pipe: a full one would stop the process
        readers = [
            threading.Thread(target=listen, args=[process.stderr], daemon=True),
            threading.Thread(target=lambda: printed.extend(process.stdout or ()), daemon=True),
        ]
        for reader in readers:
            reader.start()
        heard: list[str] = []
        while readers[0].is_alive() or not lines.empty():
            if stopped():
                _end(process)
                raise Cancellation
            try:
                line = lines.get(timeout=0.1)
            except Empty:
                continue
            # lines of a stage end in its share of the work, others may hold per cents too
            share = PROGRESS.search(line)
            if share:
                progress(float(share[1]))
            heard.append(line)
            said(line)
        for reader in readers:
            reader.join()
        return process.wait(), "".join(printed), heard


def _end(process: subprocess.Popen[str]) -> None:
    """Ask it to end, and kill it where it does not."""
    # satae takes back what is half done; that may take a moment. It would not hear SIGINT where a script has started
    # QGIS in its background
    process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
