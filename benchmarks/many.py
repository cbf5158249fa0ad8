"""What many scenes cost beyond the scenes: planning, processes, the result of all; and whether memory stays flat.

    python benchmarks/many.py [--parts overhead,plan,pretend,collect,memory] [--entries 1000,100000] [--scenes 8]
                              [--side 768] [--results 1000] [--long 200]

Everything is made up, in a temporary folder. `overhead` compares the CPU time of one `satae run` with that of `satae
score` on each scene alone. `plan` looks at so many entries, which are names of one file: their blocks come from memory,
as on a local disk after a first look. `pretend` runs 1 of 10 of them through journal and processes with a scoring that
writes a finished folder and infers nothing. `collect` puts so many finished scenes together. `memory` scores many small
scenes in one process and compares the peaks of the first and the last tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from satae.batch import manifest, places, plan, store
from satae.batch import run as batch
from satae.batch.run import Options
from satae.batch.shard import Shard
from satae.batch.task import Request, Task
from satae.demo import synthetic
from satae.grid import Grid
from satae.scene import output, raster

SATAE = (sys.executable, "-m", "satae")
PARTS = ("overhead", "plan", "pretend", "collect", "memory")
TEMPLATE = "SATAE_TEMPLATE"  # a finished folder that pretended ones are made of
REQUEST = Request()
REQUEST_HASH = REQUEST.hash()


def main() -> None:
    """Measure what was asked for, each part in a process of its own, so that peaks are its own."""
    options = arguments()
    if options.alone:
        return PART[options.parts](options, Path(options.alone))
    with tempfile.TemporaryDirectory(prefix="satae-many-") as place:
        prepare(Path(place), options)
        for part in options.parts.split(","):
            line = [sys.executable, __file__, *sys.argv[1:], "--parts", part, "--alone", place]
            subprocess.run(line, check=True)


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--entries", default="1000,100000")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--results", type=int, default=1000)
    parser.add_argument("--long", type=int, default=200)
    parser.add_argument("--alone", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(place: Path, options: argparse.Namespace) -> None:
    """Scenes, a model, and one finished folder."""
    for number in range(options.scenes):
        scene(place / "scenes", number, options.side)
    for words in (["tile", "scenes/s0.tif", "scenes/s1.tif"], ["train"]):
        subprocess.run([*SATAE, *words], cwd=place, check=True, capture_output=True)
    scene(place / "one", 0, 256)
    last = [*SATAE, "run", "one", "--model", "model.onnx", "--out", "template"]
    subprocess.run(last, cwd=place, check=True, capture_output=True)


def scene(folder: Path, number: int, side: int) -> Path:
    """A made-up landscape, each in a place of its own."""
    folder.mkdir(exist_ok=True)
    image = ground(number % 16, side)
    grid = Grid(
        side,
        side,
        Affine(10, 0, 400_000 + 20_000 * (number % 20), 0, -10, 5_200_000),
        raster.wkt("EPSG:32632"),
    )
    path = folder / f"s{number}.tif"
    with output.writing(path, grid, bands=4, dtype="uint16", nodata=0) as out:
        out.write(image, grid.window)
    return path


@lru_cache(maxsize=16)
def ground(seed: int, side: int) -> np.ndarray[Any, Any]:
    """A made-up landscape, painted once."""
    return synthetic.scene(height=side, width=side, seed=seed).image


def cpu(line: list[object], folder: Path) -> float:
    """CPU seconds of a command and all processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*SATAE, *map(str, line)], cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def overhead(options: argparse.Namespace, place: Path) -> None:
    """One run against single commands."""
    model = ("--model", "model.onnx", "--workers", 1, "--device", "cpu")
    names = sorted((place / "scenes").glob("*.tif"))
    alone = sum(cpu(["score", n, *model, "--out", f"{n.stem}.gpkg"], place) for n in names)
    many = cpu(["run", "scenes", *model, "--out", "many"], place)
    result = cpu(["run", "--collect", "--out", "many"], place)
    print(f"{len(names)} scenes of {options.side} x {options.side} x 4, CPU s")
    print(f"  satae score, one by one   {alone:7.1f}")
    print(f"  satae run                 {many:7.1f}  ({many / alone - 1:+.1%})")
    print(f"  and the result of all     {result:7.1f}  ({(many + result) / alone - 1:+.1%} together)")
    print(f"  satae run, nothing to do  {cpu(['run', 'scenes', *model, '--out', 'many'], place):7.2f}")


def linked(place: Path, count: int) -> Path:
    """A list of so many names of one file."""
    folder = place / f"names-{count}"
    listed = place / f"names-{count}.txt"
    if listed.exists():
        return listed
    folder.mkdir()
    source = place / "one" / "s0.tif"
    for i in range(count):
        if i % 50_000 == 0:
            own = source if i == 0 else Path(shutil.copy2(source, folder / f"copy-{i}"))
        os.link(own, folder / f"x{i}.tif")
    listed.write_text("".join(f"{folder.name}/x{i}.tif\n" for i in range(count)))
    return listed


def planning(options: argparse.Namespace, place: Path) -> None:
    """How long a list takes, and what of memory."""
    for count in map(int, options.entries.split(",")):
        listed, out, before = linked(place, count), place / f"plan-{count}", peak(anew=True)
        places.make(out)
        started, spent = time.monotonic(), time.process_time()
        made = plan.make(
            out, Shard(), manifest.entries([str(listed)], ()), lambda row: REQUEST_HASH, {"": "model"}, {}
        )
        first = next(made.to_do())
        wall, spent = time.monotonic() - started, time.process_time() - spent
        assert first.name
        print(
            f"plan of {made.total:,} entries: {wall:.1f} s, {spent:.1f} CPU s, {peak() - before:.0f} MB more"
        )


def pretending(options: argparse.Namespace, place: Path) -> None:
    """Journal, processes and index without inference."""
    count = max(map(int, options.entries.split(","))) // 10
    os.environ[TEMPLATE] = str(next((place / "template" / "scenes").iterdir()))
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    batch.SCORE = "many:pretend"
    listed, before, started, spent = (
        linked(place, count),
        peak(anew=True),
        time.monotonic(),
        time.process_time(),
    )
    run = Options(place / "pretended", place / "model.onnx", lambda row: REQUEST, jobs=2, threads=1)
    result = batch.run([str(listed)], run)
    wall, spent = time.monotonic() - started, time.process_time() - spent
    print(
        f"{result.scored:,} pretended scenes: {wall:.1f} s, {1000 * spent / count:.2f} CPU ms a scene in the driver, ",
        end="",
    )
    print(f"{peak() - before:.0f} MB more in it")


def pretend(task: Task) -> dict[str, Any]:
    """A finished folder, made of another one."""
    with places.part(task.means.out, task.key) as folder:
        renamed(Path(os.environ[TEMPLATE]), folder, task.name)
        # not put on disk: that is the disk's business, and no part of what is measured
        os.rename(folder, task.place)
    return {"anomalies": 0, "damaged": 0}


def renamed(source: Path, folder: Path, name: str) -> None:
    """Fill a folder with a finished one whose scene goes by another name."""
    about = json.loads((source / store.ABOUT).read_bytes())
    old = about["row"]["scene"]
    for path in source.iterdir():
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            (folder / path.name).write_text(text.replace(f'"{old}', f'"{name}'), encoding="utf-8")
        else:
            os.link(path, folder / path.name)


def collecting(options: argparse.Namespace, place: Path) -> None:
    """One result of many finished folders."""
    source, out = next((place / "template" / "scenes").iterdir()), place / "collected"
    places.make(out)
    shutil.copy(place / "template" / "run.json", out / "run.json")
    with (out / "plan.jsonl").open("wb") as file:
        for i in range(options.results):
            line = plan.Line(f"x{i}", f"{i:016x}", (f"x{i}.tif",), (), 1)
            folder = places.folder_of(out, line.name, line.key)
            folder.mkdir()
            renamed(source, folder, line.name)
            file.write(line.text)
    regions = len(json.loads((source / store.REGIONS).read_bytes()))
    tiles = len(np.load(source / store.TILES))
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*SATAE, "run", "--collect", "--out", str(out)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"result of {options.results:,} scenes of {regions} regions and {tiles} tiles: ", end="")
    print(f"{time.monotonic() - started:.1f} s, {spent:.1f} CPU s, {after.ru_maxrss / 1024:.0f} MB at most")


def memory(options: argparse.Namespace, place: Path) -> None:
    """The peaks of one process over many scenes."""
    inside = place / "long"
    for i in range(options.long):
        scene(inside, i, 256)
    out = place / "flat"
    cpu(["run", inside, "--model", "model.onnx", "--out", out, "--workers", 1, "--device", "cpu"], place)
    said = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    peaks, tenth = [s["peak_mb"] for s in said], max(1, len(said) // 10)
    first, last = (statistics.median(of) for of in (peaks[:tenth], peaks[-tenth:]))
    print(f"memory over {len(said)} scenes in {len({s['process'] for s in said})} process: ", end="")
    print(
        f"peaks of {first:.0f} MB in the first tenth, {last:.0f} MB in the last, {max(peaks):.0f} MB at most"
    )


def peak(*, anew: bool = False) -> float:
    """MB that this process held at most, of now on where it is to begin `anew` (Linux)."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


PART: dict[str, Callable[[argparse.Namespace, Path], None]] = dict(
    zip(PARTS, (overhead, planning, pretending, collecting, memory), strict=True)
)

if __name__ == "__main__":
    main()
