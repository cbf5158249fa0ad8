"""The Dockerfile's pip lines, run without Docker: each target in a fresh environment, timed and checked.

Not a build of the image: the base image, apt and USER are left to Docker. Needs a package index.

    python benchmarks/docker_pip.py [score] [train]
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAINING_ONLY = ("torch", "albumentations", "onnx", "onnxscript", "matplotlib")
INSTRUCTION = re.compile(r"(?:[^\\\n]|\\\n|\\.)+")  # one line, and those that a backslash joins to it


def stages(dockerfile: str) -> dict[str, tuple[str, list[str]]]:
    """Stage name -> what it is FROM, and the shell text of its RUN instructions."""
    found: dict[str, tuple[str, list[str]]] = {}
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE)
    for word, _, rest in (line.partition(" ") for line in INSTRUCTION.findall(text)):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            runs = found.setdefault(name, (base, []))[1]
        elif word == "RUN":
            runs.append(re.sub(r"--mount=\S+", "", rest.replace("\\\n", " ")).strip())
    return found


def pip_lines(dockerfile: str, target: str) -> list[str]:
    """The shell lines with pip that build `target`, those of the stages below it first."""
    known = stages(dockerfile)
    base, runs = known[target]
    below = pip_lines(dockerfile, base) if base in known else []
    return below + [run for run in runs if "pip install" in run]


def importable(python: Path, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def check(target: str) -> None:
    """Install `target` as the Dockerfile does and raise where the outcome is not as promised."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        start = time.perf_counter()
        first = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", "PIP_QUIET": "1"}
        for line in pip_lines((ROOT / "Dockerfile").read_text(), target):
            print(f"{target}: {line}", flush=True)
            subprocess.run(["bash", "-euc", line], cwd=ROOT, env=first, check=True)
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        subprocess.run([python.parent / "satae", "--help"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for module in TRAINING_ONLY:
            assert importable(python, module) == (target == "train"), f"{target}: {module} is misplaced"
        recipes = list(Path(folder).glob("lib/*/site-packages/satae/configs/*.yaml"))
        assert recipes, f"{target}: no recipes were installed"
        print(f"{target}: ok, installed in {seconds:.0f} s, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["score", "train"]:
        check(name)
