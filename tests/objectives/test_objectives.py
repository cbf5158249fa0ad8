"""Loss terms: invalid pixels have no weight, and float64 numpy says what the others weigh, trimmed or not."""

from __future__ import annotations

from typing import Any

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
    """The error of every valid pixel of the batch, float64, pixel by pixel as the definitions have it."""
    rebuilt, x, valid = (t.double().numpy() for t in batch())
    good = valid[:, 0] > 0
    each = np.zeros(good.shape)
    for n, r, c in zip(*np.nonzero(good), strict=True):
        each[n, r, c] = BY_HAND[kind](x[n], rebuilt[n], good[n], r, c)
    return each[good]


def pixelwise(error: Any) -> Any:
    """The mean over channels of an error of single numbers."""
    return lambda x, y, good, r, c: np.mean(
        [error(a, b) for a, b in zip(x[:, r, c], y[:, r, c], strict=True)]
    )


def edges(x: np.ndarray, y: np.ndarray, good: np.ndarray, r: int, c: int) -> float:
    total = 0.0
    for r2, c2 in ((r + 1, c), (r, c + 1)):
        if r2 < good.shape[0] and c2 < good.shape[1] and good[r2, c2]:
            total += np.mean(((y[:, r2, c2] - y[:, r, c]) - (x[:, r2, c2] - x[:, r, c])) ** 2)
    return total


def dissimilarity(x: np.ndarray, y: np.ndarray, good: np.ndarray, r: int, c: int) -> float:
    """Wang et al. 2004, equation 13, over the valid pixels of a window of 7, L = 4."""
    window = slice(max(0, r - 3), r + 4), slice(max(0, c - 3), c + 4)
    inside = good[window]
    found = []
    for a, b in zip(x[:, *window], y[:, *window], strict=True):
        a, b = a[inside], b[inside]
        c1, c2, cov = 0.04**2, 0.12**2, ((a - a.mean()) * (b - b.mean())).mean()
        light = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
        found.append(1 - light * (2 * cov + c2) / (a.var() + b.var() + c2))
    return float(np.mean(found))


def divergence(p: float, q: float) -> float:
    """Kullback and Leibler's, of two Bernoulli distributions."""
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


BY_HAND = {
    "mse": pixelwise(lambda a, b: (a - b) ** 2),
    "mae": pixelwise(lambda a, b: abs(a - b)),
    "surprise": pixelwise(lambda a, b: (a - b) ** 2),
    "huber": pixelwise(lambda a, b: (a - b) ** 2 / 2 if abs(a - b) <= 1 else abs(a - b) - 0.5),
    "bce": pixelwise(divergence),
    "edge": edges,
    "ssim": dissimilarity,
}


@EVERY
def test_a_term_is_a_mean_over_valid_pixels_and_channels(name: str):
    assert float(loss(name, *batch())) == pytest.approx(errors(name).mean(), rel=1e-4)


@EVERY
@pytest.mark.parametrize("trim", [0.97, 0.5, 0.001, 0.9999])
def test_trimming_leaves_the_worst_pixels_out(name: str, trim: float):
    every = np.sort(errors(name))
    kept = max(1, int(np.ceil(round(trim * len(every), 6))))
    assert float(loss(name, *batch(), trim=trim)) == pytest.approx(every[:kept].mean(), rel=1e-4, abs=1e-9)


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
    with pytest.raises(ConfigError, match=rf"objective = 'mae9': .*{', '.join(NAMES)}"):
        Objective(ObjectiveSettings(terms={"mae9": 1.0}))


def test_a_surprise_is_pending_only_of_what_predicts_a_distribution():
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


@pytest.mark.parametrize("delta", [0.1, 0.5, 5.0])
def test_delta_says_where_the_square_ends(delta: float):
    rebuilt, x, valid = batch()
    settings = ObjectiveSettings(terms={"huber": 1.0}, params={"huber": {"delta": delta}})
    gap = (rebuilt - x).abs().double()
    by_hand = torch.where(gap <= delta, gap**2 / 2, delta * (gap - delta / 2)).mean(dim=1, keepdim=True)
    found = Objective(settings)(Output(rebuilt), x, valid)
    assert float(found) == pytest.approx(float(by_hand[valid > 0.5].mean()), rel=1e-5)


def test_the_gradient_of_bce_is_that_of_the_plain_cross_entropy():
    rebuilt, x, _ = batch()
    rebuilt.requires_grad_(True)
    loss("bce", rebuilt, x, torch.ones_like(x[:, :1])).backward()
    ours, rebuilt.grad = rebuilt.grad.clone(), None
    torch.nn.functional.binary_cross_entropy(rebuilt, x).backward()
    assert torch.allclose(ours, rebuilt.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("side", "remedy"), [("input", "input.space=unit"), ("reconstruction", "sigmoid")])
def test_bce_is_refused_outside_of_0_to_1(side: str, remedy: str):
    rebuilt, x, valid = batch()
    (x if side == "input" else rebuilt)[valid.expand_as(x) > 0.5] -= 0.5
    with pytest.raises(ConfigError, match=rf"objective = 'bce': the {side} goes from -0.*{remedy}"):
        loss("bce", rebuilt, x, valid)


def test_edges_in_the_wrong_place_cost_and_a_wrong_level_does_not():
    x, ones = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    x[..., 4:] = 1
    assert loss("edge", x + 3, x, ones) < 1e-12 < loss("edge", x.roll(1, dims=3), x, ones)


def test_terms_with_settings_refuse_what_they_do_not_know():
    for params, said in [
        (
            {"huber": {"dleta": 1.0}},
            r"^objective.params.huber.dleta: huber has no such parameter; it has delta$",
        ),
        ({"huber": {"delta": -1.0}}, r"objective.params.huber.* delta -1.0 is not positive"),
        ({"hubert": {"delta": 1.0}}, r"objective = 'hubert': there is no such loss"),
    ]:
        with pytest.raises(ConfigError, match=said):
            Objective(ObjectiveSettings(terms={"huber": 1.0}, params=params))


def test_terms_of_the_code_are_told_from_those_of_the_reconstruction():
    assert [name for name in NAMES if not reconstructs([name])] == sorted((*PENALTIES, "surprise"))
    assert OBJECTIVES.names == NAMES
