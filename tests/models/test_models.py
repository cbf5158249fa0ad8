"""The contract of every architecture: shape, stride, code; a new file in models/ is tested by existing."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from detectors import NETS, fitted, image, mask, net_of

from satae import config, models
from satae.detector.graph import Input
from satae.errors import ConfigError
from satae.models import MODELS, Output, Sample
from satae.training import presets

CHANNELS = [1, 3, 13]
SIZES = [(16, 16), (17, 33), (31, 18)]
LEARNED = [name for name in models.NAMES if list(net_of(name).parameters())]
CLOSED = [name for name in models.NAMES if hasattr(net_of(name), "fit")]


def drawn(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x and an all-valid mask."""
    return torch.randn(*shape), torch.ones(shape[0], 1, *shape[2:])


def ran(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out: Output = net(x, torch.ones_like(x[:, :1]))
    return out.reconstruction


@NETS
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_reconstruction_has_the_shape_of_the_input(net: str, channels: int, height: int, width: int):
    x, valid = drawn(2, channels, height, width)
    out = net_of(net, channels)(x, valid)
    assert out.reconstruction.shape == x.shape and torch.isfinite(out.reconstruction).all()


@NETS
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_code_has_its_size_at_every_stride_and_a_surprise_is_one_number(
    net: str, channels: int, height: int, width: int
):
    made = net_of(net, channels)
    out = made(*drawn(2, channels, height, width))
    cells = math.ceil(height / made.stride), math.ceil(width / made.stride)
    assert out.code is None or out.code.shape == (2, made.code_size, *cells)
    assert (out.code is None) == (made.code_size == 0)
    assert out.surprise is None or (out.surprise.shape == (2, 1, height, width) and out.surprise.min() >= 0)


@NETS
def test_the_output_moves_with_the_input_by_the_stride(net: str):
    made = net_of(net)
    side, margin = 160, 56
    x = torch.randn(1, 3, side + made.stride, side)
    one, moved = ran(made, x[:, :, :side]), ran(made, x[:, :, made.stride :])
    inner = slice(margin, side - margin)
    below = slice(margin + made.stride, side - margin + made.stride)
    assert torch.allclose(one[..., below, inner], moved[..., inner, inner], atol=1e-5)


@NETS
def test_the_stride_is_the_smallest_such_step(net: str):
    made = net_of(net)
    x = torch.randn(1, 3, 160 + made.stride, 160)
    one = ran(made, x[:, :, :160])
    for step in range(1, made.stride):
        moved = ran(made, x[:, :, step : 160 + step])[..., 56:104, 56:104]
        differs = (one[..., 56 + step : 104 + step, 56:104] - moved).abs().max()
        assert differs > 30 * one[..., 56:104, 56:104].abs().max() * torch.finfo(x.dtype).eps


@NETS
def test_a_tile_does_not_know_of_the_others_in_its_batch(net: str):
    made, (x, _) = net_of(net), drawn(3, 3, 24, 24)
    assert torch.allclose(ran(made, x)[1:2], ran(made, x[1:2]), atol=1e-5)


@pytest.mark.parametrize("net", ["conv", "pca"])
@pytest.mark.parametrize("channels", [2, 3, 13, 200])
def test_the_code_of_what_sees_the_pixel_itself_is_smaller_than_the_patch_it_stands_for(
    net: str, channels: int
):
    made = models.build(net, channels, {})
    assert 1 <= made.code_size < channels * made.stride**2


@NETS
def test_the_context_asked_for_is_a_number_of_pixels(net: str):
    context = getattr(net_of(net), "context", 0)
    assert isinstance(context, int) and 0 <= context <= 128


@pytest.mark.parametrize("net", LEARNED)
def test_every_weight_learns(net: str):
    made = net_of(net).train()
    x, valid = drawn(4, 3, 32, 32)
    out = made(x, valid)
    loss = ((out.reconstruction - x) ** 2).mean()
    (loss if out.surprise is None else loss + out.surprise.mean()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())
    assert sum(float(p.grad.abs().sum()) for p in made.parameters()) > 0


def sample_of(x: torch.Tensor, valid: torch.Tensor, chosen: torch.Tensor) -> Sample:
    return lambda: iter([(x, valid, chosen)])


@pytest.mark.parametrize("net", CLOSED)
def test_a_closed_form_is_fitted_to_chosen_pixels_alone_and_repeatably(net: str):
    valid, inputs = mask(3, 20, 20), Input(fitted())
    chosen = valid * torch.tensor([1.0, 1.0, 0.0])[:, None, None, None]
    states = []
    for seed in (0, 0, 1):
        dn = image(3, 20, 20)
        dn[2] = image(1, 20, 20, seed=seed)[0]
        made = net_of(net)
        made.fit(sample_of(inputs(dn, valid), valid, chosen))
        states.append(made.state_dict())
    for other in states[1:]:
        assert all(torch.equal(states[0][key], other[key]) for key in other)
    fresh = net_of(net).state_dict()
    assert any(not torch.equal(fresh[key], states[0][key]) for key in fresh)


@NETS
def test_the_same_seed_builds_the_same_weights(net: str):
    one, two = (net_of(net).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


@NETS
def test_what_suits_an_architecture_is_a_recipe(net: str):
    suits = config.recipe_of(models.suits(net))
    settled = presets.complete_recipe(config.load(None, [f"model.name={net}"]), 4, 10.0)
    assert settled.model.name == net and settled.input == suits.input and settled.objective == suits.objective


@NETS
def test_no_context_or_code_depends_on_how_often_it_is_pending(net: str):
    made, (x, _) = net_of(net), drawn(1, 3, 24, 24)
    assert torch.equal(ran(made, x), ran(made, x))


def test_compression_sets_the_size_of_the_code_of_conv():
    assert models.build("conv", 4, {"compression": 8.0}).code_size == 8
    assert models.build("conv", 4, {"compression": 4}).code_size == 16


def test_the_families_of_the_literature_are_there():
    assert {"conv", "ring", "directional", "masked", "memory", "annulus", "pca", "rx", "rx_shrunk"} <= {
        *models.NAMES
    }


def test_an_unknown_architecture_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"model.name = 'unet9000': .*there are .*conv"):
        models.build("unet9000", 3, {})


@NETS
def test_an_unknown_parameter_is_refused_with_those_there_are(net: str):
    names = list(models.all_params(net, {}))
    have = rf"it has .*{names[0]}" if names else "it has none"
    with pytest.raises(ConfigError, match=rf"model.params.depht: {net} has no such parameter; {have}"):
        models.build(net, 3, {"depht": 3})


REFUSED = [
    ("conv", {"width": 0}), ("conv", {"width": 8.5}), ("conv", {"width": "wide"}), ("conv", {"width": 10**30}),
    ("conv", {"compression": -1.0}), ("conv", {"compression": float("nan")}),
    ("ring", {"target_px": 0.5}), ("ring", {"target_px": 99}), ("ring", {"target_px": float("nan")}),
    ("ring", {"hidden": 0}), ("directional", {"leading": 0}), ("masked", {"target_px": 17}),
    ("masked", {"width": 0}), ("annulus", {"rings": "9"}), ("annulus", {"rings": "9-8"}),
    ("annulus", {"rings": "4-9"}), ("annulus", {"rings": "9-999"}), ("annulus", {"combine": "max"}),
    ("annulus", {"target_px": 1e9}), ("annulus", {"target_px": float("inf")}), ("memory", {"size": 0}),
    ("memory", {"nearest": 0}), ("memory", {"size": 5, "nearest": 6}), ("memory", {"context": -1}),
    ("memory", {"ring": "3-5,5-9"}), ("pca", {"components": 0}),
    ("refined", {"size": 12}), ("refined", {"code": 0}), ("refined", {"width": 0}), ("refined", {"depth": -1}),
]  # fmt: skip


@pytest.mark.parametrize(("net", "params"), REFUSED, ids=str)
def test_a_parameter_out_of_range_is_refused_in_one_sentence(net: str, params: dict[str, float]):
    with pytest.raises(ConfigError, match=r"^model\.params[^\n]*$") as caught:
        models.build(net, 3, params)
    assert next(iter(params)).removesuffix("s") in str(caught.value)


@pytest.mark.parametrize("target", [1, 1.4, 2, 3, 5, 9, 16])
def test_guards_and_blocks_are_at_least_as_wide_as_the_target(target: float):
    ring = MODELS.params("ring", {"target_px": target}).sides()
    assert ring[0][0] + 1 > target and all(one[1] == other[0] for one, other in pairwise(ring))
    (inner, outer), *rest = MODELS.params("annulus", {"target_px": target}).sides()
    assert not rest and inner + 2 > 2 * target - 1 and outer > inner
    assert MODELS.params("masked", {"target_px": target}).block >= target


def test_a_number_written_as_text_has_the_type_of_its_parameter():
    assert models.build("conv", 4, {"compression": "1e1"}).code_size == np.round(64 / 10)
