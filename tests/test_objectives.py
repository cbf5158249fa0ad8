"""Loss terms: invalid pixels have no weight, and float64 numpy says what the others weigh."""

import numpy as np
import pytest
import torch

from satae.errors import ConfigError
from satae.objectives import OBJECTIVES, objective

EVERY = pytest.mark.parametrize("name", OBJECTIVES)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Reconstruction, input, valid."""
    rng = torch.Generator().manual_seed(seed)
    x, rebuilt = (torch.randn(3, 4, 12, 10, generator=rng) for _ in range(2))
    return rebuilt, x, (torch.rand(3, 1, 12, 10, generator=rng) < 0.7).float()


@EVERY
def test_a_loss_is_a_finite_scalar(name: str):
    loss = objective(name)(*batch())
    assert loss.shape == () and torch.isfinite(loss)


@EVERY
def test_what_lies_under_the_mask_has_no_weight(name: str):
    rebuilt, x, valid = batch()
    loss = objective(name)(rebuilt, x, valid)
    hidden = valid.expand_as(x) == 0
    assert torch.equal(objective(name)(rebuilt, torch.where(hidden, 1e6, x), valid), loss)
    assert torch.equal(objective(name)(torch.where(hidden, -1e6, rebuilt), x, valid), loss)


@EVERY
def test_invalid_pixels_get_no_gradient(name: str):
    rebuilt, x, valid = batch()
    rebuilt.requires_grad_(True)
    objective(name)(rebuilt, x, valid).backward()
    assert (rebuilt.grad[valid.expand_as(x) == 0] == 0).all()
    assert (rebuilt.grad != 0).any()


@EVERY
def test_a_batch_with_no_valid_pixel_costs_nothing(name: str):
    rebuilt, x, valid = batch()
    rebuilt.requires_grad_(True)
    loss = objective(name)(rebuilt, x, torch.zeros_like(valid))
    loss.backward()
    assert loss == 0 and (rebuilt.grad == 0).all()


@EVERY
def test_a_perfect_reconstruction_costs_nothing(name: str):
    _, x, valid = batch()
    assert objective(name)(x, x, valid) == 0


def test_mse_is_the_mean_over_valid_pixels_and_channels():
    rebuilt, x, valid = batch()
    squares = (rebuilt.double() - x.double()).numpy() ** 2
    expected = squares.transpose(0, 2, 3, 1)[valid[:, 0].numpy() > 0].mean()
    assert float(objective("mse")(rebuilt, x, valid)) == pytest.approx(expected, rel=1e-5)


def test_mse_of_a_known_error():
    x, valid = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
    valid[..., :2, :] = 1
    rebuilt = x.clone()
    rebuilt[:, 0, 0] = 3  # 4 of 8 valid pixels, one of two channels
    assert objective("mse")(rebuilt, x, valid) == 9 * 4 / (8 * 2)


def test_an_unknown_loss_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=rf"objective = 'mae9': .*{', '.join(OBJECTIVES)}"):
        objective("mae9")


def test_a_batch_is_not_a_mean_of_means():
    rebuilt, x, valid = (t[:2] for t in batch())
    valid[0, :, :-1] = 0
    whole = objective("mse")(rebuilt, x, valid)
    parts = [float(objective("mse")(rebuilt[i : i + 1], x[i : i + 1], valid[i : i + 1])) for i in (0, 1)]
    counts = valid.sum(dim=(1, 2, 3)).numpy()
    assert float(whole) == pytest.approx(np.average(parts, weights=counts), rel=1e-5)
