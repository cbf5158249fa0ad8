"""A stopwatch for a first hour: what satae takes of it to install, tile, train, score and take a hundred decisions.

    python benchmarks/first_hour.py                        # the demo's scene; needs playwright and Chromium
    python benchmarks/first_hour.py --install scene.tif    # into a fresh environment first; needs a package index

SATAE_CHROMIUM names the browser where it is not found.

Who reads and decides takes longer: decisions are typed as fast as the page takes them. A decision counts when it is
stored in the file. CPU seconds are those of processes that ended in the step, so not of the page's server and browser.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DECISIONS = 100
# what is installed shall not be found beside what is here
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
QUIET = "--no-sandbox --disable-gpu --disable-background-networking --no-first-run"


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Print a row of the table when the step is over."""
    before, started = os.times(), time.monotonic()
    yield
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    wall = time.monotonic() - started
    spent = f"{cpu:.1f}" if cpu >= 0.05 else ""
    print(f"| {step} | {wall:.1f} | {spent} | {os.getloadavg()[0]:.1f} |", flush=True)


def decided(path: Path) -> int:
    """How many regions of a result have a decision in the file."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
        (number,) = file.execute(
            "SELECT count(*) FROM anomalies WHERE review_status <> 'unreviewed'"
        ).fetchone()
    return int(number)


def wait_for(path: Path, number: int) -> None:
    """Until so many decisions are stored."""
    until = time.monotonic() + 120
    while decided(path) < number:
        if time.monotonic() > until:
            raise SystemExit(f"only {decided(path)} of {number} decisions are stored")
        time.sleep(0.02)


def install(folder: Path) -> list[str]:
    """satae in an environment of its own, with the versions that the tests ran with; how it is called there."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{ROOT}[review]"]
    subprocess.run([str(word) for word in pip], check=True, env=CLEAN)
    return [str(python), "-m", "satae"]


def review(satae: Sequence[str], folder: Path, path: Path, given: Mapping[str, str] | None) -> None:
    """The page opened, and a key a region until DECISIONS are stored."""
    api: Any = importlib.import_module("playwright.sync_api")
    chromium = os.environ.get("SATAE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET.split())
        command = [*satae, "review", str(path)]
        with subprocess.Popen(command, cwd=folder, env=given, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                with timed("`satae review`, the page and the first decision"):
                    page = browser.new_page(viewport={"width": 1366, "height": 768})
                    page.goto(server.stdout.readline().strip())
                    page.wait_for_selector(".row[aria-selected=true]")
                    page.keyboard.press("a")
                    wait_for(path, 1)
                with timed(f"{DECISIONS} decisions in all"):
                    for number in range(1, DECISIONS):
                        page.keyboard.press("ars"[number % 3])
                    wait_for(path, DECISIONS)
            finally:
                browser.close()
                server.send_signal(signal.SIGINT)
                server.wait()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path, nargs="?", help="a scene of yours; by default that of the demo")
    parser.add_argument("--install", action="store_true", help="begin with a fresh environment")
    how = parser.parse_args()
    print("| step | seconds | CPU seconds | load after it |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder, satae = Path(place), [sys.executable, "-m", "satae"]
        given = CLEAN if how.install else None
        if how.install:
            with timed("install"):
                satae = install(folder / "environment")
        if how.scene is None:
            from satae.demo import run as demo
            from satae.demo import synthetic

            demo.write(synthetic.scene(), folder / "scene.tif")
        scene = how.scene.absolute() if how.scene else folder / "scene.tif"
        for words in (["tile", str(scene)], ["train"], ["score", "--top", str(DECISIONS)]):
            said = " ".join(words).replace(str(scene), "SCENE")
            with timed(f"`satae {said}`"):
                subprocess.run(
                    [*satae, "-q", *words], cwd=folder, env=given, check=True, stdout=subprocess.DEVNULL
                )
        review(satae, folder, folder / "anomalies.gpkg", given)


if __name__ == "__main__":
    main()
