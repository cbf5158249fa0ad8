"""Training: interrupted runs end as unbroken ones, bad numbers stop it, and it learns what there is to learn."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from detectors import toy
from endings import CPU, losses, recipe, same_weights, stop_at
from scenes import make_tiles

from satae import config, models, objectives
from satae.detector.graph import Input
from satae.errors import ConfigError, DeviceError, TilesError, TrainError
from satae.nn import normalize
from satae.nn.checkpoint import CHECKPOINT, Epoch
from satae.objectives import mae, mse
from satae.training import loop
from satae.training.feed import Feed
from satae.training.loop import plan


@pytest.mark.parametrize(
    ("step", "between_epochs"), [(3, True), (6, True), (5, False), (2, False), (9, False)]
)
def test_an_interrupted_run_ends_bit_for_bit_as_the_unbroken_one(trained, step: int, between_epochs: bool):
    whole = trained("train.epochs=3", run="whole")
    with pytest.raises(KeyboardInterrupt):
        trained("train.epochs=3", report=stop_at(step, between_epochs=between_epochs))
    again = trained("train.epochs=3")
    assert same_weights(whole, again)
    assert losses(whole) == losses(again)


def test_a_run_interrupted_after_every_epoch_ends_as_the_unbroken_one(trained):
    whole = trained("train.epochs=3", run="whole")
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            trained("train.epochs=3", report=stop_at(3 * epoch, between_epochs=True))
    assert same_weights(whole, trained("train.epochs=3"))


def test_a_finished_run_that_is_resumed_is_not_trained_further(trained):
    one = trained("train.epochs=2")
    steps: list[int] = []
    other = trained("train.epochs=2", report=lambda done, total, epoch: steps.append(done))
    assert not steps and same_weights(one, other)


def test_another_seed_gives_other_weights(trained):
    one, other = (trained("train.epochs=1", f"train.seed={s}", run=f"run{s}") for s in (0, 1))
    assert not same_weights(one, other)


def test_what_torch_drew_before_does_not_matter(trained):
    one = trained("train.epochs=1", run="one")
    torch.rand(100)
    assert same_weights(one, trained("train.epochs=1", run="other"))


def test_the_loss_falls_on_what_can_be_learned(trained):
    done = trained("train.epochs=12", "train.min_steps=15", "train.learning_rate=0.01", "augment.noise=0")
    history = done.state.history
    assert history[-1].val_loss < 0.5 * history[0].val_loss
    assert done.state.best_loss < 0.2


def garbage(image: np.ndarray, valid: np.ndarray, fill: str) -> np.ndarray:
    drawn = np.random.default_rng(1).normal(0, 1e6, image.shape)
    values = {"random": drawn, "zero": 0, "nan": np.nan, "inf": np.inf}[fill]
    return np.where(valid, image, values).astype(np.float32)


@pytest.mark.parametrize("fill", ["random", "nan", "inf"])
def test_what_lies_under_the_mask_does_not_change_the_weights(trained, fill: str):
    valid = np.random.default_rng(0).random((128, 128)) < 0.7
    sets = [make_tiles(garbage(toy(), valid, f), valid) for f in ("zero", fill)]
    changes = "train.epochs=2", "augment.gain=0.1"
    one, other = (trained(*changes, tiles=s, run=f"run{i}") for i, s in enumerate(sets))
    assert losses(one) == losses(other)
    assert same_weights(one, other)


def breaking_after(calls: int) -> objectives.Term:
    """The mean squared error, NaN after so many calls."""
    count = iter(range(10_000))

    def loss(out: models.Output, batch: objectives.Batch) -> torch.Tensor:
        return mse.error(out, batch) * (1.0 if next(count) < calls else math.nan)

    return loss


def test_a_loss_that_is_not_finite_stops_with_the_tiles_named_and_the_checkpoint_kept(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(mae, "build", lambda params, code_size: breaking_after(6))
    with pytest.raises(TrainError, match=r"not finite in epoch 2, step \d .*made row \d+ col \d+") as caught:
        trained("objective=mae")
    assert str(tmp_path / "run" / CHECKPOINT) in str(caught.value)
    content = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert json.loads(content["state"])["epoch"] == 1
    assert all(torch.isfinite(t).all() for t in content["model"].values())


def test_a_loss_that_is_never_finite_says_that_nothing_was_saved(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(mae, "build", lambda params, code_size: breaking_after(0))
    with pytest.raises(TrainError, match=r"epoch 1, step 1 .*none was saved yet"):
        trained("objective=mae")
    assert not list((tmp_path / "run").iterdir())


def test_weights_that_explode_stop_the_training(trained):
    with pytest.raises(TrainError, match=r"not finite.*lower train.learning_rate"):
        trained("train.learning_rate=1e30")


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> list[dict[str, torch.Tensor]]:
    """Let held-out losses be `values`; gives the weights that each was asked for."""
    seen: list[dict[str, torch.Tensor]] = []

    def evaluate(model: torch.nn.Module, *_: object) -> float:
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return values[len(seen) - 1]

    monkeypatch.setattr(loop, "evaluate", evaluate)
    return seen


def test_early_stopping_waits_for_its_patience_and_keeps_the_best_weights(trained, monkeypatch):
    seen = scripted(monkeypatch, [3.0, 1.0, 2.0, 1.0, 0.5])
    done = trained("train.epochs=9", "train.patience=2")
    assert done.state.finished and done.state.epoch == 4 and done.state.best_epoch == 2
    assert all(torch.equal(w, seen[1][k]) for k, w in done.model.state_dict().items())
    assert not done.model.training


def test_a_stop_for_lack_of_patience_survives_an_interruption(trained, monkeypatch):
    scripted(monkeypatch, [3.0, 1.0, 2.0, 2.0])
    with pytest.raises(KeyboardInterrupt):
        trained("train.epochs=9", "train.patience=2", report=stop_at(9, between_epochs=True))
    scripted(monkeypatch, [2.0, 0.1])
    assert trained("train.epochs=9", "train.patience=2").state.epoch == 4


@pytest.mark.parametrize(
    ("capability", "setting", "expected"),
    [
        ((9, 0), "auto", torch.bfloat16),
        ((8, 0), "auto", torch.bfloat16),
        ((7, 5), "auto", torch.float16),
        ((9, 0), "fp32", None),
        ((9, 0), "fp16", torch.float16),
        ((7, 5), "bf16", torch.bfloat16),
    ],
)
def test_precision_follows_what_the_chip_computes_in(monkeypatch, capability, setting, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert loop.precision_of(setting, torch.device("cuda")) is expected


def test_a_cpu_trains_in_fp32_unless_told_otherwise():
    assert loop.precision_of("auto", CPU) is None and loop.precision_of("fp32", CPU) is None
    assert loop.precision_of("bf16", CPU) is torch.bfloat16


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_trains_and_resumes_too(trained, precision: str):
    changes = "train.epochs=2", f"train.precision={precision}"
    whole = trained(*changes, run="whole")
    with pytest.raises(KeyboardInterrupt):
        trained(*changes, report=stop_at(3, between_epochs=True))
    assert same_weights(whole, trained(*changes))
    assert whole.state.history[-1].train_loss < 5


def test_cuda_is_refused_where_there_is_none_and_auto_takes_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"^--device cuda: .*--device auto"):
        loop.device_of("cuda")
    assert loop.device_of("auto") == loop.device_of("cpu") == CPU


def test_the_history_is_one_json_object_a_line(trained, tmp_path):
    done = trained("train.epochs=2")
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [Epoch(**json.loads(line)) for line in lines] == done.state.history
    assert [p.name for p in sorted((tmp_path / "run").iterdir())] == [CHECKPOINT, "history.jsonl"]


def test_progress_counts_every_step_and_reports_every_epoch(trained):
    seen: list[tuple[int, int, bool]] = []
    trained("train.epochs=2", report=lambda done, total, e: seen.append((done, total, e is not None)))
    assert [s[0] for s in seen if not s[2]] == list(range(1, seen[0][1] + 1))
    assert [s[0] for s in seen if s[2]] == [seen[0][1] // 2, seen[0][1]]


def test_the_normaliser_is_fitted_to_valid_pixels_of_training_tiles():
    image, valid = toy(), np.random.default_rng(0).random((128, 128)) < 0.5
    tiles = make_tiles(np.where(valid, image, 1e9).astype(np.float32), valid)
    planned = plan([tiles], recipe())
    pixels = [tiles.images[t][:, tiles.valid[t]].T for _, t in planned.split.train]
    expected = normalize.fit(np.concatenate(pixels), whitened=True)
    assert np.array_equal(planned.normalizer.low, expected.low)
    assert planned.normalizer.high.max() < 1e4


def test_constant_tiles_are_refused_in_one_sentence():
    with pytest.raises(TrainError, match="every band is constant"):
        plan([make_tiles(np.full((2, 128, 128), 7, np.uint16))], recipe())


def test_a_dead_band_is_warned_of_and_trained_with(trained, caplog):
    image = np.concatenate([toy(), np.full((1, 128, 128), 7, np.float32)])
    done = trained("train.epochs=1", tiles=make_tiles(image))
    assert "b4 is 7 in every training tile" in caplog.text
    assert math.isfinite(done.state.best_loss)


def test_a_single_tile_is_refused_in_one_sentence():
    with pytest.raises(TilesError, match=r"^1 tile cannot be split"):
        plan([make_tiles(toy(32))], recipe())


@pytest.mark.parametrize("change", ["objective=mae9", "model.name=unet9", "augment.crop=33"])
def test_a_recipe_that_asks_for_what_there_is_not_is_refused_before_training(change: str):
    toy_tiles = make_tiles(toy())
    with pytest.raises(ConfigError):
        plan([toy_tiles], recipe(change))


@pytest.mark.parametrize("bands", [1, 2, 13])
@pytest.mark.parametrize("space", ["whitened", "bands", "unit"])
def test_any_number_of_bands_is_trained_on_in_every_space(trained, bands: int, space: str):
    image = np.random.default_rng(0).integers(0, 4_000, (bands, 96, 96)).astype(np.uint16)
    done = trained("train.epochs=1", f"input.space={space}", tiles=make_tiles(image))
    assert math.isfinite(done.state.best_loss)


def test_crops_train(trained):
    assert trained("train.epochs=1", "augment.crop=16").state.epoch == 1


@pytest.mark.parametrize(
    "changes",
    [
        ["train.optimizer=sgd", "train.schedule=plateau", "train.patience=3"],
        ["train.optimizer=rmsprop", "train.schedule=onecycle"],
        ["train.optimizer=adamw", "train.schedule=constant", "train.weight_decay=0.1"],
        ["corrupt.gaussian=0.2", "corrupt.masking=0.1", "corrupt.salt=0.1"],
        ["objective.terms={mse: 1.0, adversarial: 0.1}"],
        ["objective.terms={mse: 1.0, contractive: 0.1}"],
        ["objective.terms={ssim: 1.0, edge: 0.1, sparse_kl: 0.1}"],
    ],
    ids=lambda c: c[-1],
)
def test_every_way_to_train_goes_on_after_an_interruption_as_if_there_had_been_none(trained, changes):
    whole = trained("train.epochs=3", *changes, run="whole")
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            trained("train.epochs=3", *changes, report=stop_at(3 * epoch, between_epochs=True))
    again = trained("train.epochs=3", *changes)
    assert same_weights(whole, again) and losses(whole) == losses(again)
    assert [e.measures for e in whole.state.history] == [e.measures for e in again.state.history]
    assert math.isfinite(whole.state.best_loss)


def test_the_history_tells_the_gradient_of_every_layer_and_what_was_clipped(trained):
    done = trained("train.epochs=1", "train.clip=1e-9")
    (only,) = done.state.history
    layers = {n.removesuffix(".weight") for n, p in done.model.named_parameters() if p.dim() > 1}
    assert only.gradients.keys() == layers and min(only.gradients.values()) > 0
    assert (
        only.clipped == 1.0
        and trained("train.epochs=1", "train.clip=1e9", run="b").state.history[0].clipped == 0
    )


def test_a_denoiser_is_given_noise_to_learn_from_and_clean_tiles_to_be_judged_by(trained, monkeypatch):
    seen: list[tuple[bool, bool]] = []

    class Watching(objectives.Objective):
        def __call__(self, out: Any, x: Any, *rest: Any) -> torch.Tensor:
            entered = rest[2] if len(rest) > 2 else None
            seen.append((entered is not None, entered is not None and not torch.equal(entered, x)))
            return super().__call__(out, x, *rest)

    monkeypatch.setattr(loop, "Objective", Watching)
    trained("train.epochs=1", "corrupt.gaussian=0.1")
    assert seen[:3] == [(True, True)] * 3 and set(seen[3:]) == {(False, False)}


@pytest.mark.parametrize(
    ("change", "said"),
    [("objective.terms={mse: 1.0, edge: 1.0}", "objective = 'edge'"), ("corrupt.masking=0.1", "corrupt")],
)
def test_what_needs_whole_tiles_is_refused_where_single_pixels_are_learned_from(change, said):
    toy_tiles = make_tiles(toy())
    wanted = config.load(None, ["model.name=directional", change])
    with pytest.raises(
        ConfigError, match=rf"^{said}: it needs whole tiles, and directional learns from single"
    ):
        plan([toy_tiles], wanted)


def test_without_a_folder_nothing_is_written_and_the_weights_are_the_same(trained, tmp_path):
    toy_tiles = make_tiles(toy())
    whole, planned = trained("train.epochs=2"), plan([toy_tiles], recipe("train.epochs=2"))
    model = planned.model
    feed = Feed([toy_tiles], Input(planned.normalizer), planned.recipe, planned.split, CPU)
    loss_of = objectives.Objective(planned.recipe.objective)
    chosen = planned.split
    state = loop.descend(loop.Task(model, feed, chosen.train, chosen.held_out, planned.recipe, loss_of, CPU))
    assert [p.name for p in tmp_path.iterdir()] == ["run"] and not model.training
    assert state.best_loss == whole.state.best_loss
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), whole.model.parameters(), strict=True))


def test_the_share_of_training_that_is_behind_reaches_the_loss(trained, monkeypatch):
    seen: list[float] = []

    class Watching(objectives.Objective):
        def __call__(
            self, out: Any, x: Any, valid: Any, progress: float = 1.0, entered: Any = None
        ) -> torch.Tensor:
            seen.append(progress)
            return super().__call__(out, x, valid, progress, entered)

    monkeypatch.setattr(loop, "Objective", Watching)
    trained("train.epochs=2")
    training = [p for p in seen if p < 1]
    assert training == [i / 6 for i in range(6)]


@pytest.mark.parametrize(
    ("changes", "moves"),
    [
        ((), False),
        (("model.params.norm=none",), True),
        (("objective.terms={mse: 1.0, sparse_l1: 0.1}",), True),
    ],
)
def test_an_offset_that_a_batch_norm_takes_away_again_is_learned_where_a_loss_sees_it(changes, moves):
    planned = plan([make_tiles(toy())], recipe("train.epochs=1", *changes))
    before = planned.model.encoder[-1].bias.clone()
    after = loop.fit([make_tiles(toy())], planned, None, device=CPU).model.encoder[-1].bias
    assert torch.equal(before, after) != moves
