"""Architectures that must not see what they predict: the pixel, its guard, the hidden block."""

from __future__ import annotations

import pytest
import torch
from detectors import net_of

from satae.models import MODELS
from satae.nn.surroundings import odd

SIDE, MIDDLE = 65, 32
BLIND = pytest.mark.parametrize("net", ["ring", "directional", "density"])
TARGETS = pytest.mark.parametrize("target", [1, 2, 3, 5, 7])


def scene(channels: int = 3, side: int = SIDE) -> torch.Tensor:
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def predicted(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = net(x, torch.ones_like(x[:, :1])).reconstruction
    return out


@BLIND
@TARGETS
def test_what_is_inside_the_guard_does_not_change_its_own_prediction(net: str, target: int):
    made, x = net_of(net, target_px=float(target)), scene()
    half = odd(target) // 2
    inside = slice(MIDDLE - half, MIDDLE + half + 1)
    changed = x.clone()
    changed[..., inside, inside] += 3 * torch.randn(changed[..., inside, inside].shape)
    one, other = (predicted(made, z)[..., MIDDLE, MIDDLE] for z in (x, changed))
    assert torch.allclose(one, other, atol=1e-5)


@BLIND
@TARGETS
def test_what_is_just_outside_of_the_guard_does(net: str, target: int):
    made, x = net_of(net, target_px=float(target)), scene()
    changed = x.clone()
    changed[..., MIDDLE, MIDDLE + odd(target) // 2 + 1] += 30
    one, other = (predicted(made, z)[..., MIDDLE, MIDDLE] for z in (x, changed))
    assert not torch.allclose(one, other, atol=1e-3)


@BLIND
def test_an_invalid_pixel_is_not_seen(net: str):
    made, x = net_of(net), scene()
    valid = torch.ones_like(x[:, :1])
    valid[..., MIDDLE - 4 : MIDDLE + 1, MIDDLE + 3 : MIDDLE + 5] = 0
    with torch.no_grad():
        one, other = (made(torch.where(valid > 0, x, v), valid).reconstruction for v in (0.0, 50.0))
    assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("target", [1, 4, 5, 8, 11, 16])
def test_every_pixel_is_hidden_in_one_pass_in_a_block_that_holds_the_target(target: int):
    made = net_of("masked", target_px=float(target))
    hidden = made.passes(70, 53)
    assert (hidden.sum(dim=0) == 1).all()
    block = MODELS.params("masked", {"target_px": target}).block
    assert target <= block < target + 4 and made.stride == block
    assert hidden[0, :block, :block].all()
    assert not hidden[0, block : 2 * block].any() and not hidden[0, :, block : 2 * block].any()


@pytest.mark.parametrize("place", [(24, 24), (31, 31), (32, 24), (27, 36)])
def test_a_hidden_block_does_not_change_its_own_prediction(place: tuple[int, int]):
    made, x = net_of("masked", target_px=8.0), scene()
    first = [p // 8 * 8 for p in place]
    block = tuple(slice(f, f + 8) for f in first)
    changed = x.clone()
    changed[..., block[0], block[1]] += 5
    one, other = predicted(made, x), predicted(made, changed)
    assert torch.equal(one[..., block[0], block[1]], other[..., block[0], block[1]])
    assert not torch.allclose(one[..., block[0], block[1].stop], other[..., block[0], block[1].stop])


@pytest.mark.parametrize("target", [4, 8, 12, 16])
def test_the_middle_of_a_hidden_block_sees_past_all_its_sides(target: int):
    made = net_of("masked", target_px=float(target)).double()
    for weight in made.parameters():
        weight.data = weight.data.abs() + 0.05
    x = scene(side=8 * target).double()
    first = 4 * target
    middle = first + target // 2
    for row, col in (
        (first - 1, middle),
        (first + target, middle),
        (middle, first - 1),
        (middle, first + target),
    ):
        changed = x.clone()
        changed[..., row, col] += 1
        assert not torch.equal(
            predicted(made, changed)[..., middle, middle], predicted(made, x)[..., middle, middle]
        )


def test_training_hides_other_pixels_at_each_step_by_the_seed_of_torch():
    made = net_of("masked", target_px=8.0)
    made.train()
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append([made.passes(40, 40) for _ in range(3)])
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True))
    assert len({p.numpy().tobytes() for p in drawn[0]}) > 1
    assert all((p.sum(dim=0) == 1).all() for p in drawn[0])
    made.eval()
    assert torch.equal(made.passes(40, 40), made.passes(40, 40))


def test_the_masked_autoencoder_is_told_what_it_does_not_see():
    made, x = net_of("masked", target_px=4.0), scene(side=16)
    with torch.no_grad():
        shown = torch.zeros(1, 4, 16, 16)
        blind, told = made.inpaint(shown), made.inpaint(shown.index_fill(1, torch.tensor([3]), 1.0))
    assert not torch.allclose(blind, told)
    valid = torch.zeros(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(made(x, valid).reconstruction, made(0 * x, valid).reconstruction)
