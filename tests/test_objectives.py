"""Loss terms: invalid pixels have no weight, and float64 numpy says what the others weigh, trimmed or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from satae.config import ObjectiveSettings
from satae.errors import ConfigError
from satae.models import Output
from satae.objectives import NAMES, OBJECTIVES, Objective, reconstructs

PENALTIES = ("adversarial", "contractive", "kl", "sparse_kl", "sparse_l1")
ERRORS = [name for name in NAMES if name not in (*PENALTIES, "perceptual")]  # that has tests of its own
PLAIN = ("mse", "mae", "huber", "surprise")  # the mean of something at each pixel by itself
EVERY = pytest.mark.parametrize("name", ERRORS)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Reconstruction, input, both in [0, 1], and valid."""
    rng = torch.Generator().manual_seed(seed)
    x, rebuilt = (torch.rand(3, 4, 12, 10, generator=rng) for _ in range(2))
    return rebuilt, x, (torch.rand(3, 1, 12, 10, generator=rng) < 0.7).float()


def loss(
    name: str, rebuilt: torch.Tensor, x: torch.Tensor, valid: torch.Tensor, **how: float
) -> torch.Tensor:
    """The loss of one term; the surprise is the sum of the squares."""
    progress = how.pop("progress", 1.0)
    out = Output(rebuilt, None, ((rebuilt - x) ** 2).sum(dim=1, keepdim=True))
    return Objective(ObjectiveSettings(terms={name: 1.0}, **how))(out, x, valid, progress)


@EVERY
@pytest.mark.parametrize("trim", [1.0, 0.9])
def test_a_loss_is_a_finite_scalar(name: str, trim: float):
    found = loss(name, *batch(), trim=trim)
    assert found.shape == () and torch.isfinite(found)


@EVERY
@pytest.mark.parametrize("trim", [1.0, 0.9])
def test_what_lies_under_the_mask_has_no_weight(name: str, trim: float):
    rebuilt, x, valid = batch()
    expected = loss(name, rebuilt, x, valid, trim=trim)
    hidden = valid.expand_as(x) == 0
    assert torch.equal(loss(name, rebuilt, torch.where(hidden, 1e6, x), valid, trim=trim), expected)
    assert torch.equal(loss(name, torch.where(hidden, -1e6, rebuilt), x, valid, trim=trim), expected)


@EVERY
@pytest.mark.parametrize("trim", [1.0, 0.9])
def test_invalid_pixels_get_no_gradient(name: str, trim: float):
    rebuilt, x, valid = batch()
    rebuilt.requires_grad_(True)
    loss(name, rebuilt, x, valid, trim=trim).backward()
    assert (rebuilt.grad[valid.expand_as(x) == 0] == 0).all()
    assert (rebuilt.grad != 0).any()


@EVERY
@pytest.mark.parametrize("trim", [1.0, 0.9])
def test_a_batch_with_no_valid_pixel_costs_nothing(name: str, trim: float):
    rebuilt, x, valid = batch()
    rebuilt.requires_grad_(True)
    found = loss(name, rebuilt, x, torch.zeros_like(valid), trim=trim)
    found.backward()
    assert found == 0 and (rebuilt.grad == 0).all()


@EVERY
def test_a_perfect_reconstruction_costs_nothing(name: str):
    _, x, valid = batch()
    assert abs(float(loss(name, x, x, valid))) < 1e-6


@EVERY
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_reconstruction_in_half_precision_gives_a_loss_in_full(name: str, half: torch.dtype):
    rebuilt, x, valid = batch()
    assert loss(name, rebuilt.to(half), x, valid).dtype == torch.float32


def errors(kind: str) -> np.ndarray:
    """The error of every valid pixel of the batch, float64."""
    rebuilt, x, valid = batch()
    apart = (rebuilt.double() - x.double()).numpy().transpose(0, 2, 3, 1)[valid[:, 0].numpy() > 0]
    return {
        "mse": (apart**2).mean(axis=1),
        "mae": np.abs(apart).mean(axis=1),
        "surprise": (apart**2).mean(axis=1),
    }[kind]


@EVERY
def test_a_term_is_a_mean_over_valid_pixels_and_channels(name: str):
    assert float(loss(name, *batch())) == pytest.approx(errors(name).mean(), rel=1e-5)


@EVERY
@pytest.mark.parametrize("trim", [0.97, 0.5, 0.001, 0.9999])
def test_trimming_leaves_the_worst_pixels_out(name: str, trim: float):
    every = np.sort(errors(name))
    kept = max(1, int(np.ceil(round(trim * len(every), 6))))
    assert float(loss(name, *batch(), trim=trim)) == pytest.approx(every[:kept].mean(), rel=1e-5)


def test_trimmed_pixels_get_no_gradient():
    rebuilt, x, valid = batch()
    rebuilt[0, :, 0, 0] += 100
    valid[0, 0, 0, 0] = 1
    rebuilt.requires_grad_(True)
    loss("mse", rebuilt, x, valid, trim=0.97).backward()
    assert (rebuilt.grad[0, :, 0, 0] == 0).all()


@pytest.mark.parametrize(("progress", "trimmed"), [(0.0, False), (0.2, False), (0.21, True), (1.0, True)])
def test_nothing_is_trimmed_while_training_warms_up(progress: float, trimmed: bool):
    whole, part = (loss("mse", *batch(), trim=t, warm=0.2, progress=progress) for t in (1.0, 0.8))
    assert (part < whole) == trimmed


def test_as_many_as_asked_for_are_kept_though_shares_are_not_exact():
    x = torch.zeros(1, 1, 10, 10)
    rebuilt = torch.arange(1.0, 101.0).sqrt().reshape(1, 1, 10, 10)
    for kept in (7, 14, 28, 29, 55, 57, 97):  # 0.29 * 100 is less than 29, 0.07 * 100 more than 7
        found = loss("mse", rebuilt, x, torch.ones_like(x), trim=kept / 100)
        assert float(found) == pytest.approx((kept + 1) / 2, rel=1e-5)


def test_terms_add_up_by_their_weights():
    rebuilt, x, valid = batch()
    both = Objective(ObjectiveSettings(terms={"mse": 2.0, "mae": 0.5}))(Output(rebuilt), x, valid)
    assert float(both) == pytest.approx(2 * errors("mse").mean() + 0.5 * errors("mae").mean(), rel=1e-5)


def test_mse_of_a_known_error():
    x, valid = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
    valid[..., :2, :] = 1
    rebuilt = x.clone()
    rebuilt[:, 0, 0] = 3  # 4 of 8 valid pixels, one of two channels
    assert loss("mse", rebuilt, x, valid) == 9 * 4 / (8 * 2)


def test_an_unknown_loss_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=rf"objective = 'mae9': .*{', '.join(OBJECTIVES)}"):
        Objective(ObjectiveSettings(terms={"mae9": 1.0}))


def test_a_surprise_is_asked_only_of_what_predicts_a_distribution():
    rebuilt, x, valid = batch()
    with pytest.raises(
        ConfigError, match=r"^objective = 'surprise': the architecture predicts no distribution"
    ):
        Objective(ObjectiveSettings(terms={"surprise": 1.0}))(Output(rebuilt), x, valid)


def test_a_batch_is_not_a_mean_of_means():
    rebuilt, x, valid = (t[:2] for t in batch())
    valid[0, :, :-1] = 0
    whole = loss("mse", rebuilt, x, valid)
    parts = [float(loss("mse", rebuilt[i : i + 1], x[i : i + 1], valid[i : i + 1])) for i in (0, 1)]
    counts = valid.sum(dim=(1, 2, 3)).numpy()
    assert float(whole) == pytest.approx(np.average(parts, weights=counts), rel=1e-5)
