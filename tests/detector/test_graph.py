"""The detector as one graph: its input steps, its reach (with failing controls), and its invalid pixels."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from detectors import BANDS, EVERY_HEAD, NETS, Named, detector, fitted, head_of, image, mask, net_of, pixels

from satae import models
from satae.config import MapSettings
from satae.detector import graph
from satae.detector.fusion import Mapping
from satae.detector.graph import Detector, Input, at_pixels
from satae.errors import ModelError
from satae.heads import View
from satae.models import Output

STEPS = {"blur": 0.5, "around_px": 7, "support_px": 5, "max_object_px": 9}
WITH_STEPS = pytest.mark.parametrize("steps", [{}, STEPS], ids=["plain", "steps"])
HALO = 96  # more than any small detector reaches, and a multiple of every stride among them


def probed(net: str, *heads: Named, **steps: float) -> Detector:
    """A detector in float64 whose every input is felt."""
    return detector(net, *heads, positive=True, **steps).double()


def reach_of(found: Detector) -> int:
    return graph.reach(found.float(), BANDS, found.model.stride)


@functools.cache
def reach_with(net: str, **steps: float) -> int:
    """The reach of an architecture without and with steps of the map, measured once for all tests."""
    return reach_of(probed(net, **steps))


def scene(side: int, seed: int = 0) -> torch.Tensor:
    return image(1, side, side, seed).double()


@torch.no_grad()
def anomaly_map(net: Detector, dn: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    valid = torch.ones_like(dn[:, :1]) if valid is None else valid
    return net(dn, valid)[0][0, 0]


def stitched(net: Detector, dn: torch.Tensor, *, core: int, halo: int) -> torch.Tensor:
    """The map of an image put together from tiles that are read with a halo, nothing beyond the image."""
    side = dn.shape[-1]
    frame = torch.nn.functional.pad(dn, (halo,) * 4)
    valid = torch.nn.functional.pad(torch.ones_like(dn[:, :1]), (halo,) * 4)
    out = torch.zeros(side, side, dtype=dn.dtype)
    for row in range(0, side, core):
        for col in range(0, side, core):
            part = ..., slice(row, row + core + 2 * halo), slice(col, col + core + 2 * halo)
            tile = anomaly_map(net, frame[part], valid[part])
            out[row : row + core, col : col + core] = tile[halo : halo + core, halo : halo + core]
    return out


def untiled(net: Detector, dn: torch.Tensor) -> torch.Tensor:
    """The map of the whole image inside a wide border of nothing."""
    return stitched(net, dn, core=dn.shape[-1], halo=HALO)


@NETS
def test_reach_is_what_a_finite_change_of_one_pixel_shows(net: str):
    found = probed(net)
    stride, side, widest = found.model.stride, 112, 0
    start = 48 // stride * stride
    for seed in range(8):
        valid = mask(1, side, side, 0.5 if seed else 1.0, seed).double()
        dn = scene(side, seed)
        for place in range(start, start + stride):
            changed, seen = dn.clone(), valid.clone()
            seen[..., place, place] = 1
            base = anomaly_map(found, dn, seen)
            changed[..., place, place] = found.input.floor[0, :, 0, 0]
            rows, cols = torch.nonzero(anomaly_map(found, changed, seen) != base, as_tuple=True)
            if len(rows):
                widest = max(widest, int((rows - place).abs().max()), int((cols - place).abs().max()))
    assert reach_with(net) == widest


@NETS
@WITH_STEPS
def test_a_halo_of_the_reach_stitches_to_the_untiled_map_and_a_smaller_one_does_not(net: str, steps: dict):
    found, side = probed(net, **steps), 64
    stride, dn = found.model.stride, scene(side)
    halo = -(-reach_with(net, **steps) // stride) * stride
    whole = untiled(found, dn)
    assert torch.allclose(stitched(found, dn, core=16, halo=halo), whole, rtol=1e-9)
    if halo > 2 * stride:
        # no output at the edge of a core lies so within its stride that it needs the last stride of the reach
        less = halo - 2 * stride if not steps else stride
        assert not torch.allclose(stitched(found, dn, core=16, halo=less), whole, rtol=1e-6)


@EVERY_HEAD
@WITH_STEPS
def test_every_head_stitches(head: Named, steps: dict):
    net = "density" if head[0] == "surprise" else "conv"
    found, dn = probed(net, head, **steps), scene(48)
    stride = found.model.stride
    halo = -(-reach_of(probed(net, head, **steps)) // stride) * stride
    assert torch.allclose(stitched(found, dn, core=16, halo=halo), untiled(found, dn), rtol=1e-7)
    less = stitched(found, dn, core=16, halo=stride if halo > stride else 0)
    assert halo == 0 or not torch.allclose(less, untiled(found, dn), rtol=1e-6)


@pytest.mark.parametrize("combine", ["min", "mean"])
def test_rings_that_are_compared_are_all_felt(combine: str):
    made = fitted()
    net = models.build("annulus", BANDS, {"rings": "3-5,5-9,9-13", "combine": combine})
    found = Detector(made, net, [head_of(("whitened", {}), made)], Mapping(MapSettings(), 1))
    assert graph.reach(found, BANDS, 1) == 6
    found, dn = found.double(), scene(48)
    assert torch.allclose(stitched(found, dn, core=16, halo=6), untiled(found, dn), rtol=1e-9)


def test_several_heads_stitch():
    heads = ("whitened", {}), ("ssim", {}), ("latent", {})
    found, dn = probed("conv", *heads, **STEPS), scene(48)
    halo = -(-reach_of(probed("conv", *heads, **STEPS)) // 4) * 4
    assert torch.allclose(stitched(found, dn, core=16, halo=halo), untiled(found, dn), rtol=1e-7)


@NETS
def test_tiles_off_the_stride_do_not_stitch(net: str):
    found, dn = probed(net), scene(60)
    if found.model.stride == 1:
        pytest.skip("moves with every pixel")
    assert not torch.allclose(stitched(found, dn, core=15, halo=48), untiled(found, dn), rtol=1e-6)


FILLS = [0, -1e30, 65_535, torch.nan, torch.inf, -torch.inf]


def check_fills(found: Detector) -> None:
    """What an invalid pixel holds changes no output."""
    dn, valid = image(1, 32, 32), mask(1, 32, 32)
    outputs = found(dn, valid)
    assert all(torch.isfinite(out).all() for out in outputs)
    for fill in FILLS:
        filled = torch.where(valid > 0, dn, fill)
        for one, other in zip(outputs, found(filled, valid), strict=True):
            assert torch.equal(one, other), fill


@NETS
@WITH_STEPS
def test_what_an_invalid_pixel_holds_changes_nothing(net: str, steps: dict):
    check_fills(detector(net, **steps))


@EVERY_HEAD
@WITH_STEPS
def test_what_an_invalid_pixel_holds_changes_no_head(head: Named, steps: dict):
    check_fills(detector("density" if head[0] == "surprise" else "conv", head, **steps))


@NETS
def test_an_image_without_a_valid_pixel_is_all_zeros(net: str):
    found = detector(net, **STEPS)
    for one in found(torch.full((1, BANDS, 24, 24), torch.nan), torch.zeros(1, 1, 24, 24)):
        assert (one == 0).all()


@NETS
@WITH_STEPS
def test_an_invalid_pixel_is_not_felt_out_of_reach(net: str, steps: dict):
    found, dn = probed(net, **steps), scene(128)
    reach = reach_with(net, **steps)
    valid = torch.ones_like(dn[:, :1])
    valid[..., 61:64, 66:68] = 0
    differs = anomaly_map(found, dn, valid) != anomaly_map(found, dn)
    rows, cols = torch.nonzero(differs, as_tuple=True)
    assert rows.min() >= 61 - reach and rows.max() <= 63 + reach
    assert cols.min() >= 66 - reach and cols.max() <= 67 + reach


@NETS
def test_the_outputs_fit_each_other(net: str):
    found, dn, valid = detector(net), image(2, 40, 40), mask(2, 40, 40)
    with torch.no_grad():
        heat, peak, shares, rebuilt = found(dn, valid)
    assert heat.shape == (2, 1, 40, 40) and peak.shape == (2,)
    assert shares.shape == rebuilt.shape == (2, BANDS, 40, 40)
    assert torch.allclose(shares.sum(dim=1, keepdim=True), heat, rtol=1e-3, atol=1e-3)
    assert torch.equal(peak, heat.amax(dim=(1, 2, 3)))
    for out in (heat, shares, rebuilt):
        assert (out[valid.expand_as(out) == 0] == 0).all()


def test_shares_of_several_heads_are_in_units_of_their_medians():
    heads = ("whitened", {}), ("mse", {})
    both = detector("conv", *heads)
    alone = [detector("conv", h) for h in heads]
    dn, valid = image(1, 24, 24), mask(1, 24, 24)
    units = both.mapping.median
    expected = sum(one(dn, valid)[2] / unit for one, unit in zip(alone, units, strict=True))
    assert torch.allclose(both(dn, valid)[2], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stretch", [{}, {"logarithmic": True}])
def test_a_perfect_reconstruction_is_the_image_and_the_mean_is_a_constant(stretch: dict):
    made = fitted(**stretch)
    dn = image(1, 8, 8).clamp(
        torch.tensor(made.floor[:, None, None]), torch.tensor(made.ceiling[:, None, None])
    )
    inputs = Input(made)
    dn = dn.float()
    x = inputs(dn, torch.ones(1, 1, 8, 8))
    assert torch.allclose(inputs.reconstruction(dn, torch.zeros_like(x)), dn, rtol=1e-3, atol=0.5)
    mean = inputs.reconstruction(dn, x)
    assert torch.allclose(mean, mean[..., :1, :1].expand_as(mean), rtol=1e-2)


@pytest.mark.parametrize("whitened", [True, False])
@pytest.mark.parametrize("logarithmic", [True, False])
def test_the_input_steps_are_those_of_the_normaliser(whitened: bool, logarithmic: bool):
    made = fitted(whitened=whitened, logarithmic=logarithmic)
    dn = np.concatenate([pixels(100), made.floor[None] - 100, made.ceiling[None] + 100])
    tall = torch.tensor(dn.T[None, :, :, None], dtype=torch.float32)
    found = Input(made)(tall, torch.ones(1, 1, len(dn), 1))[0, :, :, 0].numpy().T
    assert np.allclose(found, (made.stretch_values(dn) - made.mean) @ made.affine.T, rtol=1e-3, atol=2e-3)


def test_scaled_pixels_lie_between_0_and_1_with_the_quantiles_in_between():
    made = fitted()
    points = np.stack([made.floor, made.low, made.high, made.ceiling, made.ceiling * 9], axis=1)
    u = Input(made).scale(torch.tensor(points[None, :, :, None], dtype=torch.float32))[0, :, :, 0].numpy()
    assert np.allclose(u[:, 0], 0, atol=1e-6) and np.allclose(u[:, -2:], 1, atol=1e-6)
    assert np.allclose(u[:, 2], 1 - (made.high - made.low) / (made.ceiling - made.floor), atol=1e-5)


def test_invalid_pixels_are_at_the_mean_of_the_sample_where_nothing_is_valid():
    assert (Input(fitted())(image(1, 8, 8), torch.zeros(1, 1, 8, 8)) == 0).all()


@pytest.mark.parametrize(
    ("stride", "height", "width"), [(1, 5, 6), (4, 8, 8), (4, 17, 33), (12, 25, 12), (4, 101, 3)]
)
def test_a_code_is_at_every_pixel_of_its_cell(stride: int, height: int, width: int):
    code = torch.randn(2, 3, -(-height // stride), -(-width // stride))
    rows, cols = torch.arange(height) // stride, torch.arange(width) // stride
    assert torch.equal(at_pixels(code, stride, height, width), code[:, :, rows][..., cols])


class Stub(torch.nn.Module):
    """A model made of one function of x."""

    stride = 1

    def __init__(self, of: object) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> Output:
        return Output(self.of(x))


def stubbed(of: object) -> Detector:
    made = fitted()
    return Detector(made, Stub(of), [head_of(("mse", {}), made)], Mapping(MapSettings(), 1))


def test_a_model_that_reads_everything_is_refused():
    with pytest.raises(ModelError, match=rf"further than {graph.LARGEST_REACH} pixels"):
        graph.reach(stubbed(lambda x: x + x.mean(dim=(2, 3), keepdim=True)), BANDS, 1)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_the_reach_of_one_convolution_is_half_its_kernel_and_the_fill_of_its_neighbours(kernel: int):
    net = torch.nn.Conv2d(BANDS, BANDS, kernel, padding="same")
    assert graph.reach(stubbed(net), BANDS, 1) == kernel // 2 + (graph.FILL // 2 if kernel > 1 else 0)


def test_the_reach_of_the_steps_of_the_map_is_measured_too():
    plain = graph.reach(detector("rx"), BANDS, 1)
    blurred = graph.reach(detector("rx", blur=1.0), BANDS, 1)
    opened = graph.reach(detector("rx", max_object_px=15), BANDS, 1)
    supported = graph.reach(detector("rx", support_px=15, blur=1.0), BANDS, 1)
    compared = graph.reach(detector("rx", around_px=21, blur=1.0), BANDS, 1)
    assert plain == 0 and blurred == 3 and opened == 14 and supported == 7 + 3 and compared == 10 + 3


def test_settling_is_repeatable_and_looks_at_chosen_pixels_alone():
    def settled(seed: int) -> dict[str, torch.Tensor]:
        found = detector("conv", ("whitened", {}), ("latent", {}), max_object_px=9)
        valid, dn = mask(2, 24, 24), image(2, 24, 24)
        dn[1] = image(1, 24, 24, seed=seed)[0]
        chosen = valid * torch.tensor([1.0, 0.0])[:, None, None, None]
        found.settle(lambda: iter([(found.input(dn, valid), valid, chosen)]))
        return found.state_dict()

    one, *others = settled(0), settled(0), settled(1)
    assert all(torch.equal(one[key], other[key]) for other in others for key in other)


FITTED = [("edges", {}), ("minor", {}), ("memory", {}), ("latent", {})]


def settled(room: int, monkeypatch: pytest.MonkeyPatch, *heads: Named) -> tuple[list[torch.Tensor], int]:
    """Constants of a detector that was settled on three tiles with room for so many bytes, and how often it ran."""
    monkeypatch.setattr(graph, "KEPT_BYTES", room)
    made = fitted()
    found = Detector(
        made, net_of("conv"), [head_of(h, made) for h in heads], Mapping(MapSettings(), len(heads))
    )
    runs: list[int] = []
    found.model.register_forward_hook(lambda *_: runs.append(1))
    tiles = [(image(1, 24, 24, seed=i), mask(1, 24, 24, seed=i)) for i in range(3)]
    looks: list[int] = []
    found.settle(
        lambda: ((found.input(dn, valid), valid, valid) for dn, valid in tiles), lambda: looks.append(1)
    )
    assert len(looks) == found.passes * len(tiles)
    return [*found.state_dict().values()], len(runs)


def test_the_model_runs_once_over_the_sample_whatever_the_heads(monkeypatch: pytest.MonkeyPatch):
    kept, once = settled(2**30, monkeypatch, *FITTED)
    assert once == 3
    again, often = settled(0, monkeypatch, *FITTED)
    assert often == 3 * (len(FITTED) + 1)
    part, between = settled(50_000, monkeypatch, *FITTED)
    assert once < between < often
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(kept, again, part, strict=True))


@pytest.mark.parametrize("logarithmic", [False, True])
def test_the_unit_space_is_within_0_and_1_and_leads_back_to_dn(logarithmic: bool):
    made = fitted(unit=True, logarithmic=logarithmic)
    enter = Input(made)
    low, high = (torch.tensor(end, dtype=torch.float32)[None, :, None, None] for end in (made.low, made.high))
    dn = low + (high - low) * torch.linspace(-2, 3, 101)[None, None, :, None]  # beyond what is clipped
    x = enter(dn, torch.ones(1, 1, 101, 1))
    assert x.min() >= -1e-6 and x.max() <= 1 + 1e-6 and x.max() > 0.99 and x.min() < 0.01
    back = enter.reconstruction(dn, torch.zeros_like(x))
    inside = (dn >= enter.floor) & (dn <= enter.floor + enter.range)
    assert torch.allclose(back[inside], dn[inside], rtol=1e-3)


def test_heads_say_the_same_of_a_residual_in_the_unit_space():
    """What is measured in bands does not depend on the space that the autoencoder sees."""
    dn, valid = image(1, 20, 20), mask(1, 20, 20)
    maps = []
    for made in (fitted(whitened=False), fitted(unit=True)):
        x = Input(made)(dn, valid)
        near = Input(made)(dn * 1.1, valid)
        heads = [head_of((name, {}), made) for name in ("mse", "mae", "ssim")]
        maps.append([head(View(x, valid, near)) for head in heads])
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(*maps, strict=True))
