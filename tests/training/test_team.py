"""Several processes that train one model: the losses of one process, its checkpoint, one voice."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import teams
import torch
from endings import CPU
from shared import Shared

from satae import config, interrupts, models
from satae.cli import ranks
from satae.errors import ConfigError, DeviceError
from satae.inference import runtime
from satae.models import BlindSpot
from satae.nn.checkpoint import CHECKPOINT, HISTORY, Epoch
from satae.tiles.store import load_all
from satae.training import loop, team
from satae.training import run as training
from satae.training.team import Team, check_shareable, muster

TWO = Team(0, 2)
TORCHRUN = sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def two(shared: Shared) -> tuple[Path, dict[str, Any]]:
    """What two processes made of `teams.work`: the folder, and what was found."""

    def make(folder: Path) -> None:
        (folder / "run").mkdir()
        known = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        started = [
            subprocess.Popen(
                [sys.executable, teams.__file__, folder], env={**os.environ, **known, "RANK": str(rank)}
            )
            for rank in range(2)
        ]
        assert [one.wait(240) for one in started] == [0, -9]

    folder = shared.made("two", make)
    return folder, json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("name", teams.CASES)
def test_two_processes_have_the_losses_of_one_with_the_whole_batch(name: str, shared: Shared) -> None:
    _, found = two(shared)
    alone = teams.history(teams.fitted(teams.CASES[name]))
    assert len(alone) == 3
    assert np.allclose(found[name], alone, rtol=1e-5, atol=0)


def test_one_process_goes_on_from_what_two_have_left(shared: Shared, tmp_path: Path) -> None:
    made, _ = two(shared)
    run = shutil.copytree(made / "run", tmp_path / "run")
    assert sorted(path.name for path in run.iterdir()) == [CHECKPOINT, HISTORY]
    content = torch.load(run / CHECKPOINT, weights_only=True)
    whole = teams.fitted(teams.PLAIN)
    assert content["model"].keys() == whole.model.state_dict().keys()
    assert json.loads(content["state"])["epoch"] == 1
    again = teams.fitted(teams.PLAIN, run=run)
    assert np.allclose(teams.history(again), teams.history(whole), rtol=1e-5, atol=0)


def test_who_loses_another_process_says_so_in_one_sentence(shared: Shared) -> None:
    assert two(shared)[1]["lost"] == team.LOST


def stop_after_one(done: int, total: int, epoch: Epoch | None) -> None:
    if epoch is not None:
        raise KeyboardInterrupt


def test_torchrun_goes_on_from_what_one_process_has_left_and_one_process_speaks(
    tile_set: Path, here: Path
) -> None:
    # little more than the least that may be shared out, and few tiles
    changes = ["model.name=conv", "model.params={width: 32, norm: none}", "train.batch=5", "train.epochs=2"]
    changes += ["train.min_steps=2", "train.sample=16", "train.validation=0.25"]
    sets, settings, run = load_all([tile_set]), config.load(None, changes), Path("runs/model")
    with pytest.raises(KeyboardInterrupt):
        training.train(sets, settings, Path("model.onnx"), run, device="cpu", report=stop_after_one)
    words = *TORCHRUN, "-m", "satae", "-q", "train", tile_set, "--device", "cpu", "--resume", "--json"
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    # one object, so that one process wrote to stdout
    said = json.loads(done.stdout)
    assert said["epochs"] == 2 and done.stderr == ""
    whole = loop.fit(sets, loop.plan(sets, config.load(run / "config.yaml")), None, device=CPU)
    lines = [json.loads(line) for line in (run / HISTORY).read_text().splitlines()]
    own = [[line[key] for key in ("train_loss", "val_loss", "gradient_norm")] for line in lines]
    assert np.allclose(own, teams.history(whole), rtol=1e-5, atol=0)
    assert runtime.load(Path("model.onnx"), "cpu").card.weights > team.LEAST
    assert [p.name for p in here.iterdir() if p.name.startswith(".")] == []


def process_of(rank: int, under: int) -> int:
    """The number of the process of a rank, among those that one has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == under and f"RANK={rank}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_process_ends_all_with_one_sentence_and_leaves_what_goes_on(
    tile_set: Path, here: Path
) -> None:
    changes = "model.name=conv", "model.params={width: 32}", "train.sample=16", "train.patience=500"
    words = [word for change in changes for word in ("--set", change)]
    command = *TORCHRUN, "-m", "satae", "-q", "train", tile_set, "--device", "cpu", "--epochs", "500", *words
    started = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    run = here / "runs" / "model"
    try:
        end = time.monotonic() + 120
        while not (run / CHECKPOINT).exists() and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(process_of(1, started.pid), signal.SIGKILL)
        said, errors = started.communicate(timeout=120)
    finally:
        started.kill()
    assert started.returncode == 1 and said == ""
    # of what it notices first it tells: that the other is gone, or that torchrun asks it to end for that
    told = [line for line in errors.splitlines() if line.startswith(("error: ", "interrupted"))]
    assert len(told) == 1 and told[0].startswith((f"error: {team.LOST}", interrupts.SAID)), errors
    assert "--resume" in told[0] and "RuntimeError" not in errors
    assert [path.name for path in here.rglob(".*")] == [] and not (here / "model.onnx").exists()
    assert torch.load(run / CHECKPOINT, weights_only=True)["model"]


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("rx", [], "nothing to learn by gradients"),
        ("ring", [], "learns from single pixels"),
        ("conv", [], r"has 29,254 weights; under 100,000"),
        ("conv", ["model.params={width: 40, dropout: 0.1}"], "draws random numbers"),
        ("variational", ["model.params.width=40"], "draws random numbers"),
        (
            "conv",
            ["model.params.width=40", "objective.terms={mse: 1, contractive: 0.1}"],
            "derivatives of the input",
        ),
        ("conv", ["model.params.width=40", "objective.terms={mse: 1, adversarial: 0.1}"], "adversarial"),
    ],
)
def test_what_is_small_or_cannot_be_shared_out_is_refused(name: str, changes: list[str], reason: str) -> None:
    settings = config.load(None, [f"model.name={name}", *changes])
    model = models.build(name, 4, settings.model.params)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ConfigError, match=f"^{name} .*{reason}.*; start satae train without torchrun$"):
        check_shareable(model, settings, 4, TWO)
    check_shareable(model, settings, 4, team.ALONE)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["cifar10", "cifar10_refined", "cifar10_restore"])
def test_families_of_cifar_10_may_be_shared_out(name: str) -> None:
    settings = config.load(Path(name), [])
    torch.manual_seed(0)
    model, state = models.build(settings.model.name, 3, settings.model.params), torch.get_rng_state()
    check_shareable(model, settings, 3, TWO)
    # to have looked changes nothing of what is drawn later
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", models.NAMES)
def test_every_weight_has_a_part_in_the_reconstruction(name: str) -> None:
    # else DistributedDataParallel would wait for a gradient that does not come
    model = models.build(name, 4, {})
    if isinstance(model, BlindSpot) or not list(model.parameters()):
        return
    out = model.train()(torch.rand(2, 4, 32, 32), torch.ones(2, 1, 32, 32))
    (out.reconstruction**2).sum().backward()
    assert [key for key, weight in model.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_sample_of_a_batch_is_of_one_process(size: int) -> None:
    for count in range(12):
        parts = [Team(rank, size).part(count) for rank in range(size)]
        assert [i for part in parts for i in range(count)[part]] == list(range(count))
        lengths = [part.stop - part.start for part in parts]
        assert max(lengths) - min(lengths) <= 1 and max(lengths) == -(-count // size)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    known = {"RANK": "1", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    with (
        pytest.raises(
            DeviceError, match="started 4 processes here and torch sees 2 GPUs; pass --nproc-per-node 2"
        ),
        muster(torch.device("cuda"), known),
    ):
        pass


def test_of_several_processes_one_has_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks.has_the_word() and not ranks.is_silent()
    port = free_port()
    known = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "1"}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ranks, "PATIENCE", 0.5)
    assert ranks.is_silent()
    # who keeps the store is gone: rather several times than not at all
    assert ranks.has_the_word()
    store = torch.distributed.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    # rank 0 does not say anything in time, and is too late then
    assert ranks.has_the_word() and not ranks.has_the_word()
    monkeypatch.setenv("RANK", "0")
    assert not ranks.has_the_word()
    # torchrun has started all of them again
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert ranks.has_the_word()
    del store
