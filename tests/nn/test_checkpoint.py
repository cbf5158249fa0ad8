"""Checkpoints: they need no trust, belong to one recipe and its tiles, and hold all that a run goes on with."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from detectors import toy
from scenes import make_tiles

from satae.errors import TilesError, TrainError
from satae.nn.checkpoint import CHECKPOINT


def test_a_checkpoint_needs_no_trust(trained, tmp_path):
    trained("train.epochs=1")
    content = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert {"model", "optimizer", "state", "torch_rng"} <= content.keys()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("dump", [torch.save, lambda trap, file: file.write(pickle.dumps(trap))])
def test_a_hostile_checkpoint_is_refused_and_not_run(trained, tmp_path, dump):
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / CHECKPOINT).open("wb") as file:
        dump({"identity": Trap(tmp_path / "sprung")}, file)
    with pytest.raises(TrainError, match=rf"{CHECKPOINT} is damaged; train again with --overwrite$"):
        trained("train.epochs=1")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("keep", [0, 10, 1_000])
def test_a_checkpoint_cut_short_is_refused(trained, tmp_path, keep: int):
    trained("train.epochs=1")
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TrainError, match="damaged"):
        trained("train.epochs=1")


@pytest.mark.parametrize("content", [torch.zeros(3), {}, {"identity": "x"}, [1, 2]])
def test_another_file_as_checkpoint_is_refused_in_one_sentence(trained, tmp_path, content: object):
    (tmp_path / "run").mkdir()
    torch.save(content, tmp_path / "run" / CHECKPOINT)
    with pytest.raises((TrainError, TilesError), match=r"--overwrite"):
        trained("train.epochs=1")


@pytest.mark.parametrize(
    "change", ["train.seed=1", "train.epochs=2", "model.params.width=5", "augment.gain=0.1"]
)
def test_a_checkpoint_of_another_recipe_is_refused(trained, change: str):
    trained("train.epochs=1")
    with pytest.raises(TilesError, match="another recipe or on other tiles"):
        trained("train.epochs=1", change)


def test_a_checkpoint_of_other_tiles_is_refused(trained):
    trained("train.epochs=1")
    with pytest.raises(TilesError, match="another recipe or on other tiles"):
        trained("train.epochs=1", tiles=make_tiles(toy(160)))


def test_a_discriminator_is_in_the_checkpoint_and_in_the_history(trained, tmp_path):
    done = trained("train.epochs=1", "objective.terms={mse: 1.0, adversarial: 0.1}")
    assert {"discriminator_loss", "discriminator_accuracy"} == done.state.history[0].measures.keys()
    assert 0 < done.state.history[0].measures["discriminator_accuracy"] <= 1
    content = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert content["rivals"]["adversarial"].keys() == {"judge", "optimizer"}
