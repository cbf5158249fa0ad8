"""The contract of every architecture: shape, stride, code; a new file in models/ is tested by existing."""

import numpy as np
import pytest
import torch

from satae import models
from satae.errors import ConfigError

CHANNELS = [1, 3, 5, 13, 200]
SMALL = {"width": 4}


def built(name: str, channels: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build(name, channels, SMALL).eval()


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 33), (31, 18)])
def test_the_reconstruction_has_the_shape_of_the_input(name: str, channels: int, height: int, width: int):
    x = torch.randn(2, channels, height, width)
    out = built(name, channels)(x)
    assert out.shape == x.shape and torch.isfinite(out).all()


@pytest.mark.parametrize("name", models.NAMES)
def test_the_output_moves_with_the_input_by_the_stride(name: str):
    net = built(name)
    side, margin = 160, 48
    x = torch.randn(1, 3, side + net.stride, side)
    with torch.no_grad():
        one, moved = net(x[:, :, :side]), net(x[:, :, net.stride :])
    inner = slice(margin, side - margin)
    below = slice(margin + net.stride, side - margin + net.stride)
    assert torch.allclose(one[..., below, inner], moved[..., inner, inner], atol=1e-5)


@pytest.mark.parametrize("name", models.NAMES)
def test_the_stride_is_the_smallest_such_step(name: str):
    net = built(name)
    if net.stride == 1:
        pytest.skip("moves with every pixel")
    x = torch.randn(1, 3, 161, 160)
    with torch.no_grad():
        one, moved = net(x[:, :, :160]), net(x[:, :, 1:])
    assert not torch.allclose(one[..., 49:113, 48:112], moved[..., 48:112, 48:112], atol=1e-5)


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_code_is_smaller_than_the_patch_it_stands_for(name: str, channels: int):
    net = models.build(name, channels, {})
    assert 1 <= net.code_size < channels * net.stride**2


@pytest.mark.parametrize("name", models.NAMES)
def test_every_weight_learns(name: str):
    net = built(name).train()
    x = torch.randn(4, 3, 32, 32)
    ((net(x) - x) ** 2).mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert sum(float(p.grad.abs().sum()) for p in net.parameters()) > 0


@pytest.mark.parametrize("name", models.NAMES)
def test_the_same_seed_builds_the_same_weights(name: str):
    one, two = (built(name).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_compression_sets_the_size_of_the_code_of_conv():
    assert models.build("conv", 4, {"compression": 8.0}).code_size == 8
    assert models.build("conv", 4, {"compression": 4}).code_size == 16


def test_there_is_the_plain_convolutional_autoencoder():
    assert "conv" in models.NAMES


def test_an_unknown_architecture_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"model.name = 'unet9000': .*there are .*conv"):
        models.build("unet9000", 3, {})


@pytest.mark.parametrize("name", models.NAMES)
def test_an_unknown_parameter_is_refused_with_those_there_are(name: str):
    with pytest.raises(
        ConfigError, match=rf"model.params.depht: {name} has no such parameter; it has .*width"
    ):
        models.build(name, 3, {"depht": 3})


@pytest.mark.parametrize(
    "params",
    [{"width": 0}, {"width": 8.5}, {"width": "wide"}, {"width": 10**30}, {"compression": -1.0},
     {"compression": float("nan")}],
)  # fmt: skip
def test_a_parameter_out_of_range_is_refused_in_one_sentence(params: dict[str, float]):
    with pytest.raises(ConfigError, match=r"^model\.params[^\n]*$") as caught:
        models.build("conv", 3, params)
    assert next(iter(params)) in str(caught.value)


def test_a_number_written_as_text_has_the_type_of_its_parameter():
    assert models.build("conv", 4, {"compression": "1e1"}).code_size == np.round(64 / 10)
