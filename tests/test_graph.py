"""The detector as one graph: its input steps, its reach (with failing controls), and its invalid pixels."""

import itertools

import numpy as np
import pytest
import torch

from satae import graph, models, normalize, scores
from satae.errors import ModelError
from satae.graph import Detector, Input
from satae.normalize import Normalizer

BANDS = 3
NETS = pytest.mark.parametrize("net", models.NAMES)


def pixels(n: int = 3_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 500 * np.exp(0.3 * rng.normal(size=(n, BANDS)) @ rng.normal(size=(BANDS, BANDS)))


def fitted(**how: object) -> Normalizer:
    return normalize.fit(pixels(), **{"whitened": True, **how})


def detector(net: str = "conv", score: str = "whitened") -> Detector:
    """In float64 with weights that let every input be felt in every output that reads it."""
    torch.manual_seed(0)
    made = fitted()
    model = models.build(net, BANDS, {"width": 4})
    for weight in model.parameters():
        weight.data = weight.data.abs() + 0.05
    out: Detector = Detector(made, model, scores.head(score, made)).double().eval()
    return out


def scene(side: int, seed: int = 0) -> torch.Tensor:
    drawn = pixels(side * side).reshape(side, side, BANDS).transpose(2, 0, 1)
    return torch.tensor(np.random.default_rng(seed).permutation(drawn, axis=1)[None], dtype=torch.float64)


@torch.no_grad()
def anomaly_map(net: Detector, image: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    valid = torch.ones_like(image[:, :1]) if valid is None else valid
    return net(image, valid)[0][0, 0]


def stitched(net: Detector, image: torch.Tensor, *, core: int, halo: int) -> torch.Tensor:
    """The map of an image put together from tiles that are read with a halo, nothing beyond the image."""
    side = image.shape[-1]
    frame = torch.nn.functional.pad(image, (halo,) * 4)
    valid = torch.nn.functional.pad(torch.ones_like(image[:, :1]), (halo,) * 4)
    out = torch.zeros(side, side, dtype=image.dtype)
    for row in range(0, side, core):
        for col in range(0, side, core):
            part = ..., slice(row, row + core + 2 * halo), slice(col, col + core + 2 * halo)
            tile = anomaly_map(net, frame[part], valid[part])
            out[row : row + core, col : col + core] = tile[halo : halo + core, halo : halo + core]
    return out


def untiled(net: Detector, image: torch.Tensor) -> torch.Tensor:
    """The map of the whole image inside a wide border of nothing."""
    return stitched(net, image, core=image.shape[-1], halo=64)


@NETS
def test_reach_is_what_a_finite_change_of_one_pixel_shows(net: str):
    found = detector(net)
    stride, image, widest = found.model.stride, scene(128), 0
    for share in (0.0, *[0.5] * 10):
        valid = (torch.rand(1, 1, 128, 128) >= share).double()
        base = anomaly_map(found, image, valid)
        for row, col in itertools.product(range(64, 64 + stride), repeat=2):
            changed = image.clone()
            changed[..., row, col] = found.input.floor[0, :, 0, 0]
            rows, cols = torch.nonzero(anomaly_map(found, changed, valid) != base, as_tuple=True)
            if len(rows):
                widest = max(widest, int((rows - row).abs().max()), int((cols - col).abs().max()))
    assert graph.reach(detector(net).float(), BANDS, stride) == widest


@NETS
def test_a_halo_of_the_reach_stitches_to_the_untiled_map_and_a_smaller_one_does_not(net: str):
    found, image = detector(net), scene(64)
    stride = found.model.stride
    halo = -(-graph.reach(detector(net).float(), BANDS, stride) // stride) * stride
    whole = untiled(found, image)
    assert torch.allclose(stitched(found, image, core=16, halo=halo), whole, rtol=1e-9)
    # no output at the edge of a core lies so within its stride that it needs the last stride of the reach
    assert not torch.allclose(stitched(found, image, core=16, halo=halo - 2 * stride), whole, rtol=1e-3)


@NETS
def test_the_reach_is_at_most_one_stride_more_than_tiles_need(net: str):
    found, image = detector(net), scene(64)
    stride, whole = found.model.stride, untiled(detector(net), image)
    exact = [torch.allclose(stitched(found, image, core=16, halo=h), whole) for h in range(0, 64, stride)]
    reach = graph.reach(detector(net).float(), BANDS, stride)
    assert exact.index(True) * stride <= reach < (exact.index(True) + 1) * stride
    assert all(exact[exact.index(True) :])


@NETS
def test_tiles_off_the_stride_do_not_stitch(net: str):
    found, image = detector(net), scene(60)
    if found.model.stride == 1:
        pytest.skip("moves with every pixel")
    assert not torch.allclose(stitched(found, image, core=15, halo=32), untiled(found, image), rtol=1e-6)


@NETS
@pytest.mark.parametrize("score", scores.SCORES)
@pytest.mark.parametrize("fill", [0, -1e30, 65_535, torch.nan, torch.inf, -torch.inf])
def test_what_an_invalid_pixel_holds_changes_nothing(net: str, score: str, fill: float):
    found, image = detector(net, score), scene(48)
    valid = (torch.rand(1, 1, 48, 48) > 0.2).double()
    filled = torch.where(valid > 0, image, fill)
    for one, other in zip(found(image, valid), found(filled, valid), strict=True):
        assert torch.equal(one, other) and torch.isfinite(one).all()


@NETS
def test_an_invalid_pixel_is_not_felt_out_of_reach(net: str):
    found, image = detector(net), scene(128)
    reach = graph.reach(detector(net).float(), BANDS, found.model.stride)
    valid = torch.ones_like(image[:, :1])
    valid[..., 61:64, 66:68] = 0
    differs = anomaly_map(found, image, valid) != anomaly_map(found, image)
    rows, cols = torch.nonzero(differs, as_tuple=True)
    assert rows.min() >= 61 - reach and rows.max() <= 63 + reach
    assert cols.min() >= 66 - reach and cols.max() <= 67 + reach


@NETS
@pytest.mark.parametrize("score", scores.SCORES)
def test_the_outputs_fit_each_other(net: str, score: str):
    found, image = detector(net, score), scene(40).repeat(2, 1, 1, 1)
    valid = (torch.rand(2, 1, 40, 40) > 0.2).double()
    with torch.no_grad():
        heat, peak, shares = found(image, valid)
    assert heat.shape == (2, 1, 40, 40) and peak.shape == (2,) and shares.shape == (2, BANDS, 40, 40)
    assert torch.allclose(shares.sum(dim=1, keepdim=True), heat)
    assert torch.equal(peak, heat.amax(dim=(1, 2, 3)))
    assert (heat[valid == 0] == 0).all() and (shares[valid.expand_as(shares) == 0] == 0).all()


@pytest.mark.parametrize("whitened", [True, False])
@pytest.mark.parametrize("logarithmic", [True, False])
def test_the_input_steps_are_those_of_the_normaliser(whitened: bool, logarithmic: bool):
    made = fitted(whitened=whitened, logarithmic=logarithmic)
    dn = np.concatenate([pixels(100), made.floor[None] - 100, made.ceiling[None] + 100])
    image = torch.tensor(dn.T[None, :, :, None], dtype=torch.float32)
    found = Input(made)(image, torch.ones(1, 1, len(dn), 1))[0, :, :, 0].numpy().T
    assert np.allclose(found, (made.stretched(dn) - made.mean) @ made.affine.T, rtol=1e-3, atol=2e-3)


def test_scaled_pixels_lie_between_0_and_1_with_the_quantiles_in_between():
    made = fitted()
    points = np.stack([made.floor, made.low, made.high, made.ceiling, made.ceiling * 9], axis=1)
    u = Input(made).scale(torch.tensor(points[None, :, :, None], dtype=torch.float32))[0, :, :, 0].numpy()
    assert np.allclose(u[:, 0], 0, atol=1e-6) and np.allclose(u[:, -2:], 1, atol=1e-6)
    assert np.allclose(u[:, 2], 1 - (made.high - made.low) / (made.ceiling - made.floor), atol=1e-5)


def test_invalid_pixels_are_at_the_mean_of_the_sample():
    valid = torch.zeros(1, 1, 8, 8)
    x = Input(fitted())(scene(8).float(), valid)
    assert (x == 0).all()


class Everywhere(torch.nn.Module):
    """Adds the mean of the whole image to every pixel: no halo would do."""

    stride = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x.mean(dim=(2, 3), keepdim=True)


def test_a_model_that_reads_everything_is_refused():
    made = fitted()
    with pytest.raises(ModelError, match=rf"further than {graph.LARGEST_REACH} pixels"):
        graph.reach(Detector(made, Everywhere(), scores.head("mse", made)), BANDS, 1)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_the_reach_of_one_convolution_is_half_its_kernel_and_the_fill_of_its_neighbours(kernel: int):
    made = fitted()
    net = torch.nn.Conv2d(BANDS, BANDS, kernel, padding="same")
    assert graph.reach(Detector(made, net, scores.head("mse", made)), BANDS, 1) == kernel // 2 + (
        graph.FILL // 2 if kernel > 1 else 0
    )
