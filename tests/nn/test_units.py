"""Layers against plain loops in float64: what they compute, how far they reach, what they do only in training."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from satae.errors import ConfigError
from satae.models import build
from satae.nn import units
from satae.nn.units import Attention, PixelNorm, Residual, Shuffle, Squeeze, Style, layer, separable

FAMILIES = ["attention", "conv", "dense", "mobile", "residual", "shuffle", "skip", "variational"]
FAMILY = pytest.mark.parametrize("family", FAMILIES)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def jittered(made: nn.Module) -> nn.Module:
    """In float64 and evaluation mode, with weights and statistics that are not those of the start."""
    torch.manual_seed(1)
    for values in itertools.chain(made.parameters(), made.buffers()):
        if values.dtype.is_floating_point:
            values.data += 0.3 * torch.rand(values.shape)
    return made.double().eval()


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (8, 2), (12, 3), (3, 1)])
def test_pixel_norm_is_that_of_the_channels_of_one_pixel(channels: int, groups: int):
    made, x = jittered(PixelNorm(channels, groups)), drawn(2, channels, 3, 4)
    parts = x.numpy().reshape(2, groups, channels // groups, 3, 4)
    centred = parts - parts.mean(axis=2, keepdims=True)
    scaled = (centred / np.sqrt(centred.var(axis=2, keepdims=True) + 1e-5)).reshape(x.shape)
    expected = scaled * made.gain.detach().numpy() + made.offset.detach().numpy()
    assert np.allclose(made(x).detach(), expected)


@pytest.mark.parametrize(("kind", "channels", "groups"), [("layer", 64, 1), ("group", 64, 8), ("group", 24, 6),
                                                          ("group", 6, 1), ("group", 1, 1)])  # fmt: skip
def test_groups_are_equal_and_have_four_channels_where_there_are_so_many(kind, channels: int, groups: int):
    assert units.norm(kind, channels).groups == groups


def test_batch_and_none_are_what_they_are_called():
    assert isinstance(units.norm("batch", 4), nn.BatchNorm2d)
    kinds = [type(m) for m in layer(3, 4, Style("none", "elu"))]
    assert kinds == [nn.Conv2d, nn.ELU]
    assert [type(m) for m in layer(3, 4, Style("layer", "tanh", 0.5))][1:] == [
        PixelNorm,
        nn.Tanh,
        nn.Dropout2d,
    ]


def test_a_convolution_has_a_bias_only_where_no_norm_follows():
    assert layer(3, 4, Style("none"))[0].bias is not None and layer(3, 4, Style("batch"))[0].bias is None


def test_a_residual_block_of_zero_weights_passes_what_is_positive():
    made, x = Residual(4, Style("none")).double(), drawn(1, 4, 5, 6)
    for weight in made.parameters():
        weight.data.zero_()
    assert torch.equal(made(x), x.clamp(min=0))
    assert not torch.equal(jittered(made)(x), x.clamp(min=0))


def test_a_separable_convolution_has_a_kernel_a_channel_and_one_matrix():
    made = separable(6, 10, Style("none", "tanh"))
    assert sum(p.numel() for p in made.parameters()) == (6 * 9 + 6) + (6 * 10 + 10)
    made, x = jittered(made), drawn(1, 6, 5, 5)
    deep = torch.stack(
        [torch.conv2d(x[:, i, None], made[0][0].weight[i, None], padding=1)[:, 0] for i in range(6)], 1
    )
    mixed = torch.tanh(deep + made[0][0].bias[:, None, None])
    out = torch.einsum("oi,nihw->nohw", made[1][0].weight[:, :, 0, 0], mixed) + made[1][0].bias[:, None, None]
    assert torch.allclose(made(x), torch.tanh(out))


def test_a_shuffle_passes_half_of_the_channels_and_interleaves_the_branches():
    made, x = jittered(Shuffle(8, 8, Style())), drawn(2, 8, 6, 6)
    out = made(x)
    assert torch.equal(out[:, 0::2], x[:, :4]) and torch.equal(out[:, 1::2], made.second(x[:, 4:]))


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(8, 12, 1), (8, 8, 2), (4, 16, 2)])
def test_a_shuffle_that_changes_size_sees_all_channels_in_both_branches(
    inputs: int, outputs: int, stride: int
):
    made, x = jittered(Shuffle(inputs, outputs, Style(), stride=stride)), drawn(1, inputs, 7, 6)
    out = made(x)
    assert out.shape == (1, outputs, -(-7 // stride), -(-6 // stride))
    assert torch.equal(out[:, 0::2], made.first(x)) and torch.equal(out[:, 1::2], made.second(x))


def test_squeeze_gates_by_the_mean_of_what_is_in_the_image_around():
    made, x = jittered(Squeeze(8, 3)), drawn(1, 8, 5, 4)
    around = torch.zeros_like(x)
    for r, c in itertools.product(range(5), range(4)):
        around[..., r, c] = x[..., max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].mean(dim=(2, 3))
    weights = [made.gate[0].weight[:, :, 0, 0], made.gate[2].weight[:, :, 0, 0]]
    few = torch.relu(torch.einsum("oi,nihw->nohw", weights[0], around) + made.gate[0].bias[:, None, None])
    gate = torch.sigmoid(torch.einsum("oi,nihw->nohw", weights[1], few) + made.gate[2].bias[:, None, None])
    assert torch.allclose(made(x), x * gate)


def test_attention_is_the_weighted_mean_of_values_in_the_window():
    made, x = jittered(Attention(4, 3, 2)), drawn(1, 4, 4, 5)
    projected = made.project(made.norm(x)).detach().numpy()[0]
    q, k, v = (p.reshape(2, 2, 4, 5) for p in np.split(projected, 3))
    bias, temperature = made.bias.detach().numpy(), made.temperature.detach().numpy()[:, 0, 0]
    seen = np.zeros((2, 2, 4, 5))
    for head, r, c in itertools.product(range(2), range(4), range(5)):
        logits, values = [], []
        for place, (i, j) in enumerate(itertools.product(range(-1, 2), range(-1, 2))):
            inside = 0 <= r + i < 4 and 0 <= c + j < 5
            key = k[head, :, r + i, c + j] if inside else np.zeros(2)
            here = q[head, :, r, c]
            cosine = here @ key / np.linalg.norm(here) / (np.linalg.norm(key) if inside else 1)
            logits.append(cosine / temperature[head] + bias[head, place])
            values.append(v[head, :, r + i, c + j] if inside else np.zeros(2))
        weights = np.exp(np.array(logits) - max(logits))
        seen[head, :, r, c] = weights @ np.array(values) / weights.sum()
    expected = x + made.merge(torch.from_numpy(seen.reshape(1, 4, 4, 5)))
    assert torch.allclose(made(x), expected)


@pytest.mark.parametrize("kind", ["batch", "group", "layer", "none"])
def test_no_norm_reaches_beyond_the_kernel(kind):
    made, x = jittered(layer(4, 8, Style(kind))), drawn(1, 4, 9, 9)
    x[..., 4, 4] = torch.nan
    hit = torch.nonzero(torch.isnan(made(x))[0, 0])
    assert hit.min() == 3 and hit.max() == 5


@pytest.mark.parametrize(("made", "reach"), [(Attention(4, 5, 2), 2), (Squeeze(4, 7), 3)])
def test_windows_reach_half_their_side(made: nn.Module, reach: int):
    x = drawn(1, 4, 15, 15).float()
    x[..., 7, 7] = torch.nan
    hit = torch.nonzero(torch.isnan(made.eval()(x))[0, 0])
    assert hit.min() == 7 - reach and hit.max() == 7 + reach


def net(family: str, channels: int = 3, **params: object) -> nn.Module:
    torch.manual_seed(0)
    sized = {"size": 16, "code": 6} if family == "dense" else {}
    return build(family, channels, {"width": 4, **sized, **params})


@FAMILY
@pytest.mark.parametrize("channels", [1, 3, 5, 13, 200])
def test_every_family_takes_any_number_of_bands(family: str, channels: int):
    made, x = net(family, channels).eval(), drawn(2, channels, 19, 24).float()
    out = made(x, torch.ones(2, 1, 19, 24))
    assert out.reconstruction.shape == x.shape and torch.isfinite(out.reconstruction).all()


@FAMILY
@pytest.mark.parametrize("kind", ["batch", "group", "layer", "none"])
@pytest.mark.parametrize("activation", list(units.ACTIVATIONS))
def test_every_norm_and_activation_learns(family: str, kind: str, activation: str):
    made, x = net(family, norm=kind, activation=activation).train(), drawn(2, 3, 16, 16).float()
    made(x, torch.ones(2, 1, 16, 16)).reconstruction.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())
    assert any(isinstance(m, type(units.ACTIVATIONS[activation]())) for m in made.modules())
    assert any(isinstance(m, PixelNorm) for m in made.modules()) == (
        kind in ("group", "layer") or family == "attention"
    )


@FAMILY
def test_dropout_is_for_training_alone(family: str):
    made, x, valid = net(family, dropout=0.5), drawn(2, 3, 16, 16).float(), torch.ones(2, 1, 16, 16)
    twice = [[made.train(mode)(x, valid).reconstruction for _ in range(2)] for mode in (True, False)]
    assert not torch.equal(*twice[0]) and torch.equal(*twice[1])


@FAMILY
@pytest.mark.parametrize(("output", "least", "most"), [("sigmoid", 0, 1), ("tanh", -1, 1)])
def test_a_bounded_output_stays_in_its_range(family: str, output: str, least: float, most: float):
    x = 1e6 * drawn(1, 3, 16, 16).float()
    out = net(family, output=output).eval()(x, torch.ones(1, 1, 16, 16)).reconstruction
    assert out.min() >= least and out.max() <= most
    assert net(family).eval()(x, torch.ones(1, 1, 16, 16)).reconstruction.abs().max() > 1


@FAMILY
@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"norm": "instance"}, "'batch', 'group', 'layer' or 'none'"),
        ({"activation": "swish"}, "'relu', 'leaky_relu', 'elu', 'gelu', 'silu' or 'tanh'"),
        ({"output": "softmax"}, "'linear', 'sigmoid' or 'tanh'"),
        ({"dropout": 1.0}, "dropout 1.0 is not at least 0 and below 1"),
        ({"dropout": float("nan")}, "dropout nan is not"),
        ({"width": 0}, "width 0 is not between 1 and 1024"),
    ],
)
def test_a_wrong_value_is_refused_with_those_there_are(family: str, params: dict, said: str):
    with pytest.raises(ConfigError, match=rf"^model\.params[^\n]*{said}"):
        net(family, **params)


OWN = [
    ("residual", {"blocks": 0}, "blocks 0"), ("shuffle", {"width": 5}, "width 5 is odd"),
    ("attention", {"window": 4}, "window 4"), ("attention", {"heads": 3}, "heads 3"),
    ("attention", {"by": "global"}, "'window', 'squeeze' or 'both'"), ("skip", {"skip": 0}, "skip 0"),
    ("skip", {"drop": 1}, "drop 1.0"), ("dense", {"size": 20}, "size 20"), ("dense", {"code": 0}, "code 0"),
    ("variational", {"compression": 0}, "compression 0.0"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "params", "said"), OWN, ids=str)
def test_a_wrong_value_of_its_own_is_refused(family: str, params: dict, said: str):
    with pytest.raises(ConfigError, match=rf"^model\.params[^\n]*{said}"):
        net(family, **params)


def test_an_overcomplete_code_is_larger_than_the_input_and_an_undercomplete_one_smaller():
    assert build("conv", 4, {"compression": 0.5}).code_size == 2 * 4 * 16
    assert build("conv", 4, {}).code_size == 2


def test_conv_is_what_it_was():
    """Weights of the plain architecture, counted by hand: 4 bands, a width of 16, a code of 2."""
    layers = [(4, 16, 9), (16, 32, 9), (32, 32, 9), (2, 32, 1), (32, 32, 9), (32, 16, 9)]
    normed = sum(i * o * k + 2 * o for i, o, k in layers)
    assert sum(p.numel() for p in build("conv", 4, {}).parameters()) == normed + (32 * 2 + 2) + (
        16 * 4 * 9 + 4
    )


def test_dense_is_the_three_layer_model_of_the_literature():
    made = build("dense", 3, {})
    down, up = [(3, 32), (32, 64), (64, 128)], [(128, 64), (64, 32), (32, 3)]
    count = sum(9 * i * o + o for i, o in down) + sum(4 * i * o + o for i, o in up)
    assert sum(p.numel() for p in made.parameters()) == count + (2048 * 128 + 128) + (128 * 2048 + 2048)
    kinds = [type(m) for m in made.modules() if not list(m.children())]
    assert kinds.count(nn.MaxPool2d) == kinds.count(nn.ConvTranspose2d) == kinds.count(nn.Conv2d) == 3
    assert (made.code_size, made.stride, made.frame) == (128, 32, 32)


def test_frames_of_a_dense_code_do_not_know_of_each_other():
    made, x = net("dense").eval(), drawn(1, 3, 32, 48).float()
    whole = made(x, torch.ones(1, 1, 32, 48))
    assert whole.code.shape == (1, 6, 2, 3)
    for row, col in itertools.product(range(2), range(3)):
        part = x[..., 16 * row : 16 * row + 16, 16 * col : 16 * col + 16]
        alone = made(part, torch.ones(1, 1, 16, 16))
        there = whole.reconstruction[..., 16 * row : 16 * row + 16, 16 * col : 16 * col + 16]
        assert torch.allclose(alone.reconstruction, there, atol=1e-6)
        assert torch.allclose(alone.code[..., 0, 0], whole.code[..., row, col], atol=1e-6)


def test_the_drawn_code_is_mean_and_deviation_times_noise_in_training_and_the_mean_in_use():
    made, x, valid = net("variational"), drawn(2, 3, 16, 16).float(), torch.ones(2, 1, 16, 16)
    torch.manual_seed(7)
    out = made.train()(x, valid)
    torch.manual_seed(7)
    noise = torch.randn(out.code.shape)
    code = out.code + torch.exp(out.log_variance / 2) * noise
    assert out.log_variance.shape == out.code.shape
    assert torch.allclose(out.reconstruction, made.decode(code, 16, 16), atol=1e-6)
    used = made.eval()(x, valid)
    assert torch.equal(used.reconstruction, made.decode(used.code, 16, 16))


def test_a_log_variance_stays_in_bounds():
    made = net("variational", norm="none").eval()
    out = made(1e9 * drawn(1, 3, 16, 16).float(), torch.ones(1, 1, 16, 16))
    assert out.log_variance.abs().max() == 10


def test_nothing_passes_a_skip_that_is_dropped():
    """With all skips at zero the reconstruction follows from the code alone."""
    made, x = net("skip").eval(), drawn(1, 3, 32, 32).float()
    valid = torch.ones(1, 1, 32, 32)
    before = made(x, valid).reconstruction
    for skip in made.skips:
        skip[0].weight.data.zero_()
        skip[0].bias.data.zero_()
    assert not torch.equal(before, made(x, valid).reconstruction)
    made.encoder[1].weight.data.zero_()
    flat = made(x, valid).reconstruction[..., 8:24, 8:24]
    assert torch.allclose(flat, made(-x, valid).reconstruction[..., 8:24, 8:24])
