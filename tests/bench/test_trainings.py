"""`satae bench cifar10 --devices`: the figures of trainings in turn, a device each, and failures that stop no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from archives import batches, write_binary
from commands import refused, typed
from trials import Order

from satae import config
from satae.bench import cifar_report, report
from satae.bench.contest import Contest as ContestOfScenes
from satae.bench.contest import mat_cases
from satae.bench.families import ClassResult, families
from satae.bench.lanes import lanes_of, spread
from satae.bench.trainings import Contest
from satae.errors import ConfigError, TrainError

BENCH = "bench", "cifar10", "--data", "cifar", "--task", "one-class", "--epochs", 1, "--classes", "cat,horse"
SMALL = "--set", "model.params.width=4", "--set", "train.min_steps=2"


def rows(folder: str) -> list[dict[str, Any]]:
    """Figures without the seconds that they took."""
    said = json.loads(Path(folder, "bench.json").read_text())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in said["rows"]]


def test_devices_give_the_figures_of_one_after_the_other_and_what_fails_stops_no_other(here: Path) -> None:
    write_binary(here / "cifar", batches(100))
    assert typed(*BENCH, *SMALL, "--families", "dense", "--out", "turns").exit_code == 0
    Path("wild.yaml").write_text("model: {name: dense}\ntrain: {learning_rate: 1.0e+30}\n")
    result = typed(*BENCH, *SMALL, "--families", "dense,wild.yaml", "--devices", "cpu,cpu", "--out", "both")
    assert result.exit_code == 4, result.stderr
    assert rows("both") == rows("turns")
    said = json.loads(Path("both/bench.json").read_text())
    assert list(said["mean"]) == ["dense"]
    assert [text.partition(": ")[0] for text in sorted(said["failed"])] == [
        "cat, wild, seed 0",
        "horse, wild, seed 0",
    ]
    assert all(text.endswith("(exit code 2)") and "not finite" in text for text in said["failed"])
    assert result.stderr.count("note: ") == 2 and all(
        f"note: {text}" in result.stderr for text in said["failed"]
    )
    # figures apart from the time that they took, the last of a line
    one, other = (Path(folder, "table.txt").read_text().splitlines() for folder in ("turns", "both"))
    assert [line.split()[:-1] for line in one[:3]] == [line.split()[:-1] for line in other[:3]]
    pictures = [Path(folder, "reconstructions.png").read_bytes() for folder in ("turns", "both")]
    assert pictures[0] == pictures[1]


def test_a_training_has_a_device_and_one_that_dies_is_told_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    steps: list[tuple[float, float]] = []

    def progress(done: float, total: float, note: str) -> None:
        steps.append((done, total))

    todo = [Order(what) for what in ("0", "kill", "bug", "3", "4")]
    found, failed = spread("trials:obey", todo, ["0", "1", "cpu"], progress)  # type: ignore[arg-type]
    assert [number for number, _ in found] == ["0", "3", "4"]  # type: ignore[misc]
    assert {shown for _, shown in found} <= {"GPU-a", "GPU-b", ""}  # type: ignore[misc]
    assert sorted(failed)[0].startswith("the bug: ValueError: a bug") and failed[0].endswith(")")
    assert (
        sorted(failed)[1]
        == "the kill: the process was ended by SIGKILL, as where memory is used up (exit code 137)"
    )
    assert steps == [(done, 5) for done in range(6)]
    with pytest.raises(TrainError, match="no training came to its end; the first to fail was the kill"):
        spread("trials:obey", [Order("kill")], ["cpu"], progress)  # type: ignore[list-item]


def test_devices_go_by_their_number_among_those_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    shown = [lane["CUDA_VISIBLE_DEVICES"] for lane in lanes_of(["1", "0", "cpu", "1"])]
    assert shown == ["7", "4", "", "7"]
    for names in (["4"], ["0", ""], ["gpu"]):
        with pytest.raises(ConfigError, match=f"--devices {','.join(names)}: there are 0, 1, cpu"):
            lanes_of(names)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="--devices 0: there is cpu alone"):
        lanes_of(["0"])


def test_what_is_chosen_twice_or_is_not_there_is_refused_before_anything_is_trained(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    write_binary(here / "cifar", batches(40))
    assert "choose one" in refused(2, *BENCH, "--devices", "cpu", "--device", "cpu")
    assert "there is cpu alone" in refused(2, *BENCH, "--devices", "0,1")
    assert [path.name for path in here.iterdir()] == ["cifar"]


def test_a_class_without_all_its_seeds_has_no_figure_and_its_family_no_mean() -> None:
    def row(normal: str, seed: int) -> ClassResult:
        return ClassResult("dense", seed, normal, 8, {"error": 0.75}, {"error": 0.5}, 1, 1, 1.0)

    known = [row("cat", 0), row("cat", 1), row("dog", 1)]
    line = cifar_report.lines(known, ["cat", "dog", "frog"])[1]
    assert line.split() == ["dense,", "error", "0.7500", "none", "none", "none", "1.0"]
    contest = Contest("one-class", families(["dense"], []), classes=(3, 5), seeds=(0, 1))
    assert cifar_report.content(contest, known)["mean"] == {}
    whole = [*known, row("dog", 0)]
    assert cifar_report.content(contest, whole)["mean"] == {"dense": {"error": 0.75}}


def contest_on(mats: Path, out: Path, **how: Any) -> dict[str, Any]:
    """What RX and its shrunk kin have on made-up cubes, without the seconds that it took."""
    fast = ContestOfScenes(config.load(None, ["model.name=rx"]), "rx", classics=("rx_shrunk",))
    said, _, _ = report.run("had", lambda work: mat_cases(mats, work), fast, out, **how)
    return {key: value for key, value in said.items() if key != "out"}


def test_devices_give_the_figures_and_pictures_of_scenes_as_one_after_the_other_does(here: Path) -> None:
    rng = np.random.default_rng(0)
    Path("mats").mkdir()
    for name in ("one", "two"):
        truth = np.zeros((48, 56), np.uint8)
        truth[8:11, 10:13] = truth[30:33, 40:43] = 1
        cube = rng.normal(1000, 30, (48, 56, 4)) + 200 * truth[..., None]
        scipy.io.savemat(f"mats/{name}.mat", {"data": cube.astype(np.uint16), "map": truth})
    alone = contest_on(Path("mats"), Path("turns"))
    assert contest_on(Path("mats"), Path("both"), devices=["cpu"]) == alone
    for name in ("maps_one.png", "maps_two.png", "roc.png"):
        assert Path("both", name).read_bytes() == Path("turns", name).read_bytes()


def test_a_classic_that_failed_is_left_out_and_without_the_recipe_there_is_no_table(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        def __init__(self, method: str) -> None:
            self.method = method

    contest = ContestOfScenes(config.load(None, ["model.name=rx"]), "rx", classics=("pca", "rx_shrunk"))
    monkeypatch.setattr(report, "trials", lambda *given: iter(()))
    parts = [[Found("rx")], [Found("pca")]]
    monkeypatch.setattr(
        report, "spread", lambda *given: (parts, ["one, rx_shrunk, seed 0: gone (exit code 1)"])
    )
    left, found, failed = report._spread([None], contest, here, ["cpu"], lambda *given: None)  # type: ignore[list-item]
    assert (
        left.methods == ("rx", "pca") and [one.method for one in found] == ["rx", "pca"] and len(failed) == 1
    )
    parts.pop(0)
    with pytest.raises(TrainError, match=r"one, rx_shrunk, seed 0: gone \(exit code 1\)"):
        report._spread([None], contest, here, ["cpu"], lambda *given: None)  # type: ignore[list-item]
