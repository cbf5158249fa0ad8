"""Penalties on the code and terms that hold a network: against closed forms, exact Jacobians and torch's own."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from endings import Net, waves
from shared import run_of
from torch import Tensor, nn

from satae import config, models
from satae.config import ObjectiveSettings
from satae.errors import ConfigError
from satae.models import Output
from satae.nn.checkpoint import CHECKPOINT
from satae.objectives import Batch, Objective
from satae.objectives.adversarial import Adversarial, Params
from satae.objectives.contractive import Params as Probes
from satae.objectives.contractive import build as contractive

PENALTIES = ("adversarial", "contractive", "kl", "sparse_kl", "sparse_l1")


def term(name: str, code_size: int = 5, **params: Any) -> Objective:
    return Objective(ObjectiveSettings(terms={name: 1.0}, params={name: params}), code_size)


def encoded(seed: int = 0) -> tuple[Output, Tensor, Tensor]:
    """A variational output for tiles of 8 x 8 pixels with a code of 4 x 4 cells, of which some see no valid pixel."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 2, 8, 8, generator=rng)
    code, log_variance = (torch.randn(3, 5, 4, 4, generator=rng) for _ in range(2))
    valid = torch.ones(3, 1, 8, 8)
    valid[0, :, :2] = 0  # the first row of cells of the first tile
    valid[1, :, 0, 0] = 0  # a quarter of a cell
    return Output(x, code, None, log_variance), x, valid


def weights() -> np.ndarray:
    """The share of valid pixels of each cell (3, 4, 4)."""
    share = np.ones((3, 4, 4))
    share[0, 0], share[1, 0, 0] = 0, 0.75
    return share


def test_sparse_l1_is_the_mean_absolute_code_of_cells_with_valid_pixels():
    out, x, valid = encoded()
    by_hand = np.average(np.abs(out.code.double().numpy()).mean(axis=1), weights=weights())
    assert float(term("sparse_l1")(out, x, valid)) == pytest.approx(by_hand, rel=1e-5)


def test_sparse_kl_is_the_divergence_of_mean_activities():
    out, x, valid = encoded()
    active = np.tanh(np.abs(out.code.double().numpy()))
    rho = [np.average(active[:, i], weights=weights()) for i in range(5)]
    by_hand = np.mean([0.1 * np.log(0.1 / r) + 0.9 * np.log(0.9 / (1 - r)) for r in rho])
    assert float(term("sparse_kl", target=0.1)(out, x, valid)) == pytest.approx(by_hand, rel=1e-5)


def test_kl_is_that_of_torchs_normal_distributions():
    out, x, valid = encoded()
    normal = torch.distributions.Normal(out.code.double(), (out.log_variance.double() / 2).exp())
    each = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).numpy()
    nats = [np.average(each[:, i], weights=weights()) for i in range(5)]
    by_hand = sum(nats) * 16 / (2 * 8 * 8)  # cells over numbers of the input
    assert float(term("kl", warm=0.0)(out, x, valid)) == pytest.approx(by_hand, rel=1e-5)
    floor = sorted(nats)[2]
    free = sum(max(n, floor) for n in nats) * 16 / (2 * 8 * 8)
    assert float(term("kl", warm=0.0, free_bits=float(floor))(out, x, valid)) == pytest.approx(free, rel=1e-5)


def test_free_bits_take_the_gradient_of_what_is_below_them():
    out, x, valid = encoded()
    code = out.code.requires_grad_(True)
    term("kl", warm=0.0, free_bits=100.0)(out, x, valid).backward()
    assert (code.grad == 0).all()


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (1.0, 1.0)])
def test_the_weight_of_kl_warms_up(progress: float, share: float):
    out, x, valid = encoded()
    whole = float(term("kl", warm=0.0)(out, x, valid))
    assert float(term("kl", warm=0.4)(out, x, valid, progress)) == pytest.approx(share * whole, rel=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_cells_without_a_valid_pixel_and_empty_batches_cost_nothing(name: str):
    torch.manual_seed(0)
    loss, (out, x, valid) = term(name), encoded()
    entered = x.clone().requires_grad_(True)
    pooled = nn.functional.avg_pool2d(entered, 2).sum(dim=1, keepdim=True)

    def cost(code: Tensor, good: Tensor) -> Tensor:
        torch.manual_seed(1)
        return loss(out._replace(code=code + 0.1 * pooled), x, good, 1.0, entered)

    hidden = out.code.clone()
    hidden[0, :, 0] = 50.0
    assert torch.equal(cost(out.code, valid), cost(hidden, valid)) and cost(out.code, valid) > 0
    assert cost(out.code, torch.zeros_like(valid)) == 0


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_asks_for_a_code(name: str):
    _, x, valid = encoded()
    with pytest.raises(ConfigError, match=rf"^objective = '{name}': the architecture has no code"):
        term(name)(Output(x), x, valid)


def test_kl_asks_for_a_distribution():
    out, x, valid = encoded()
    with pytest.raises(ConfigError, match=r"^objective = 'kl': the architecture has no log-variance"):
        term("kl")(out._replace(log_variance=None), x, valid)


class Small(nn.Module):
    """2 channels of 4 x 4 pixels -> a code of 3 numbers in 2 x 2 cells."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.Tanh(), nn.Conv2d(4, 3, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def exact(net: Small, x: Tensor) -> float:
    """The squared Frobenius norm of the Jacobian of each tile, over the number of cells, from torch."""
    norms = [
        float((torch.autograd.functional.jacobian(lambda z: net(z[None])[0], tile) ** 2).sum()) for tile in x
    ]
    return sum(norms) / (len(x) * 4)


def test_the_contractive_penalty_over_all_signs_is_the_exact_norm(monkeypatch):
    net, x = Small().double(), torch.randn(1, 2, 4, 4, dtype=torch.float64)
    every = itertools.product([0, 1], repeat=12)  # 3 numbers in 4 cells
    signs = (torch.tensor(s).reshape(1, 3, 2, 2) for s in every)
    monkeypatch.setattr(torch, "randint", lambda *a, **k: next(signs))
    entered = x.clone().requires_grad_(True)
    penalty = contractive(Probes(probes=1), 3)
    batch = Batch(x, torch.ones(1, 1, 4, 4), 1.0, entered)
    mean = np.mean([float(penalty(Output(x, net(entered)), batch).detach()) for _ in range(2**12)])
    assert mean == pytest.approx(exact(net, x), rel=1e-4)


def test_the_contractive_penalty_estimates_the_norm_and_has_its_gradient():
    net, x = Small(), torch.randn(6, 2, 4, 4)
    entered = x.clone().requires_grad_(True)
    penalty = contractive(Probes(probes=64), 3)
    batch = Batch(x, torch.ones(6, 1, 4, 4), 1.0, entered)
    torch.manual_seed(0)
    found = penalty(Output(x, net(entered)), batch)
    assert float(found.detach()) == pytest.approx(exact(net, x), rel=0.1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    before = exact(net, x)
    for _ in range(10):
        optimizer.zero_grad()
        penalty(Output(x, net(entered)), batch).backward()
        optimizer.step()
    assert exact(net, x) < 0.8 * before


def test_nothing_is_differentiated_on_held_out_tiles():
    x = torch.randn(2, 2, 4, 4)
    with torch.no_grad():
        assert term("contractive")(Output(x, Small()(x)), x, torch.ones(2, 1, 4, 4)) == 0


def test_a_code_that_does_not_follow_from_the_input_is_refused():
    out, x, valid = encoded()
    entered = x.clone().requires_grad_(True)
    code = out.code.clone().requires_grad_(True) * 2
    with pytest.raises(ConfigError, match="the code does not follow from the input"):
        term("contractive")(out._replace(code=code), x, valid, 1.0, entered)


def judged(prior: str, code: Tensor, steps: int = 400) -> float:
    """The accuracy in the end of a discriminator that learned on a code (n, D)."""
    torch.manual_seed(0)
    found = Adversarial(Params(prior=prior), code.shape[1])  # type: ignore[arg-type]
    x = torch.zeros(len(code), 1, 1, 1)
    for _ in range(steps):
        found.learn(Output(x, code[..., None, None]), Batch(x, torch.ones_like(x)))
    accuracy = [right for _, right in found.seen[-50:]]
    assert found.measures()["discriminator_accuracy"] > 0 and found.seen == []
    return sum(accuracy) / len(accuracy)


@pytest.mark.parametrize("prior", ["gaussian", "uniform"])
def test_a_discriminator_knows_a_code_that_is_not_as_its_prior_and_is_at_a_loss_where_it_is(prior: str):
    drawn = torch.randn(2000, 3) if prior == "gaussian" else torch.rand(2000, 3) * 2 - 1
    assert judged(prior, drawn) < 0.6
    assert judged(prior, drawn * 0.1 + 1) > 0.95


def test_deceiving_the_discriminator_moves_the_code_to_the_prior():
    torch.manual_seed(0)
    shift, spread = nn.Parameter(torch.full((2,), 3.0)), nn.Parameter(torch.full((2,), 0.2))
    found, noise = Adversarial(Params(learning_rate=2e-3), 2), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([shift, spread], lr=2e-2)
    x = torch.zeros(256, 1, 1, 1)
    for _ in range(600):
        code = shift + spread * torch.randn(256, 2, generator=noise)
        out, batch = Output(x, code[..., None, None]), Batch(x, torch.ones_like(x), 1.0, x)
        optimizer.zero_grad()
        found(out, batch).backward()
        optimizer.step()
        found.learn(out, batch)
    assert shift.abs().max() < 1 and spread.abs().min() > 0.4 and spread.abs().max() < 1.8


def test_the_step_of_the_model_leaves_the_discriminator_as_it_was():
    torch.manual_seed(0)
    found, (out, x, valid) = Adversarial(Params(), 5), encoded()
    code = out.code.requires_grad_(True)
    before = [p.clone() for p in found.judge.parameters()]
    found(out, Batch(x, valid, 1.0, x)).backward()
    assert code.grad is not None and all(map(torch.equal, before, found.judge.parameters()))
    found.learn(out, Batch(x, valid, 1.0, x))
    assert not all(map(torch.equal, before, found.judge.parameters()))
    assert math.isclose(float(found(out, Batch(x, valid))), 0.0)


def test_a_perceptual_distance_is_that_of_the_codes_of_the_run(model_path):
    run = run_of(model_path)
    x, y = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16)
    valid = torch.ones(2, 1, 16, 16)
    recipe = config.load(run / "config.yaml")
    net = models.build(recipe.model.name, 4, recipe.model.params).eval()
    net.load_state_dict(torch.load(run / CHECKPOINT, weights_only=True)["best_weights"])
    with torch.no_grad():
        one, other = net(x, valid).code.double().numpy(), net(y, valid).code.double().numpy()
    y.requires_grad_(True)
    found = term("perceptual", run=str(run))(Output(y), x, valid)
    assert float(found.detach()) == pytest.approx(((one - other) ** 2).mean() / one.var(), rel=1e-4)
    found.backward()
    assert (y.grad != 0).any()
    assert term("perceptual", run=str(run))(Output(x), x, valid) == 0


def test_what_lies_under_the_mask_is_not_perceived(model_path):
    run = run_of(model_path)
    x, y = torch.randn(2, 4, 17, 18), torch.randn(2, 4, 17, 18)
    valid = (torch.rand(2, 1, 17, 18) < 0.7).float()
    loss, hidden = term("perceptual", run=str(run)), valid.expand_as(x) == 0
    expected = loss(Output(y), x, valid)
    assert torch.equal(
        loss(Output(torch.where(hidden, 1e6, y)), torch.where(hidden, -1e6, x), valid), expected
    )


def test_a_run_that_cannot_be_perceived_by_is_refused(model_path, tmp_path):
    run = run_of(model_path)
    with pytest.raises(
        ConfigError, match=r"^objective.params.perceptual.run: name the folder of an earlier run"
    ):
        term("perceptual")
    with pytest.raises(ConfigError, match=r"holds no finished run|is no file"):
        term("perceptual", run=str(tmp_path))
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match="holds no finished run"):
        term("perceptual", run=str(tmp_path))
    x = torch.zeros(1, 3, 16, 16)
    with pytest.raises(ConfigError, match="another number of channels than 3"):
        term("perceptual", run=str(run))(Output(x), x, torch.ones(1, 1, 16, 16))


def test_the_mean_is_the_code_and_draws_are_only_for_training():
    torch.manual_seed(0)
    net, x = Net(2, variational=True), waves(4, 0)
    net.eval()
    one, other = (net(x, x[:, :1]) for _ in range(2))
    assert torch.equal(one.reconstruction, other.reconstruction) and one.log_variance.shape == one.code.shape
