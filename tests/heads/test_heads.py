"""Score heads that look around a pixel, into the code or into a memory: brute force in float64 is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectors import detector, fitted, head_of, image, mask, net_of

from satae.config import HeadSettings, MapSettings
from satae.detector.fusion import Mapping
from satae.detector.graph import Detector, Input
from satae.heads import SCORES, View, head
from satae.heads.minor import least
from satae.heads.ssim import C1, C2
from satae.models import MODELS
from satae.nn import normalize
from satae.nn.bank import PIECES
from satae.nn.normalize import Normalizer


def seen(made: Normalizer, size: int = 14, share: float = 0.8, seed: int = 0) -> tuple[View, np.ndarray]:
    """A view of noise beside smoothed noise, and its mask (H, W)."""
    bands = len(made.mean)
    valid = mask(1, size, size, share, seed)
    x = Input(made)(image(1, size, size, seed, bands), valid)
    rebuilt = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    return View(x, valid, rebuilt, x[:, :2] * 2 + 1), valid[0, 0].numpy() > 0


def in_bands(made: Normalizer, z: torch.Tensor) -> np.ndarray:
    """Stretched bands (B, H, W), their mean added."""
    back = np.einsum("bk,khw->bhw", np.linalg.pinv(made.affine), z[0].double().numpy())
    return back + made.mean[:, None, None]


def brute_ssim(a: np.ndarray, b: np.ndarray, valid: np.ndarray, window: int) -> np.ndarray:
    """SSIM of (B, H, W) by loops over windows of the valid pixels."""
    out, half = np.zeros(a.shape), window // 2
    for r, c in np.argwhere(valid):
        part = slice(max(0, r - half), r + half + 1), slice(max(0, c - half), c + half + 1)
        for i in range(len(a)):
            p, q = a[i][part][valid[part]], b[i][part][valid[part]]
            cov = ((p - p.mean()) * (q - q.mean())).mean()
            top = (2 * p.mean() * q.mean() + C1) * (2 * cov + C2)
            out[i, r, c] = top / ((p.mean() ** 2 + q.mean() ** 2 + C1) * (p.var() + q.var() + C2))
    return out


@pytest.mark.parametrize("window", [3, 7])
@pytest.mark.parametrize("space", [{}, {"whitened": False}, {"logarithmic": True}, {"common": True}], ids=str)
def test_ssim_is_that_of_wang_over_the_valid_pixels_of_a_window(window: int, space: dict):
    made = fitted(**space)
    view, valid = seen(made)
    low, high = made.stretch_values(made.low[None])[0], made.stretch_values(made.high[None])[0]
    a, b = (
        (in_bands(made, z) - low[:, None, None]) / (high - low)[:, None, None]
        for z in (view.x, view.reconstruction)
    )
    expected = (1 - brute_ssim(a, b, valid, window)) / (2 * 3)
    found = head_of(("ssim", {"window": window}), made)(view)[0].numpy()
    assert np.allclose(found[:, valid], expected[:, valid], atol=2e-4)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_ssim_sees_the_quantiles_of_a_band_at_0_and_1(logarithmic: bool):
    made = fitted(logarithmic=logarithmic)
    dn = torch.tensor(
        np.stack([made.low, made.high])[None].transpose(0, 2, 1)[..., None], dtype=torch.float32
    )
    valid = torch.ones(1, 1, 2, 1)
    found = head_of(("ssim", {}), made)._intensity(Input(made)(dn, valid), valid)
    assert np.allclose(found[0, :, :, 0].T, [[0] * 3, [1] * 3], atol=1e-4)


def test_gradient_is_the_squared_step_of_the_residual_to_valid_neighbours():
    made = fitted(whitened=False)
    view, valid = seen(made)
    r = (view.x - view.reconstruction)[0].double().numpy()  # standard deviations already
    expected = np.zeros(r.shape)
    for i, j in np.argwhere(valid):
        for p, q in ((i, j + 1), (i + 1, j), (i, j - 1), (i - 1, j)):
            if 0 <= p < 14 and 0 <= q < 14 and valid[p, q]:
                expected[:, i, j] += (r[:, i, j] - r[:, p, q]) ** 2 / (4 * 3)
    assert np.allclose(
        head_of(("gradient", {}), made)(view)[0].numpy()[:, valid], expected[:, valid], rtol=1e-4
    )


def test_a_constant_offset_has_no_gradient():
    made = fitted()
    view, _ = seen(made, share=1.0)
    shifted = view._replace(reconstruction=view.x + 3)
    assert head_of(("gradient", {}), made)(shifted).abs().max() < 1e-9


def test_edges_are_gradients_over_their_mean_on_the_ring_and_over_the_sample():
    made = fitted(whitened=False)
    view, valid = seen(made, size=40)
    found, steps = head_of(("edges", {"target_px": 2.0}), made), head_of(("gradient", {}), made)(view)
    chosen = view.valid * mask(1, 40, 40, 0.5, 3)
    found.fit(lambda: iter([(view, chosen)]))
    g = steps[0].sum(dim=0).double().numpy()
    within = head_of(("gradient", {}), made)(view._replace(valid=chosen))[0].sum(dim=0).double().numpy()
    usual = within[chosen[0, 0].numpy() > 0].mean()
    out = found(view)[0].double().numpy()
    for i, j in np.argwhere(valid)[::37]:
        rows, cols = np.indices(g.shape)
        far = np.maximum(abs(rows - i), abs(cols - j))
        ring = valid & (far > 2) & (far <= 7)
        expected = steps[0, :, i, j].numpy() / (g[ring].mean() + usual)
        assert np.allclose(out[:, i, j], expected, rtol=1e-3, atol=1e-6)


def ring_contrast(level: np.ndarray, valid: np.ndarray, i: int, j: int) -> np.ndarray:
    """(B,) the pixel less the mean over the valid pixels of the ring from 2 to 7 pixels around it."""
    rows, cols = np.indices(valid.shape)
    far = np.maximum(abs(rows - i), abs(cols - j))
    return level[:, i, j] - level[:, valid & (far > 2) & (far <= 7)].mean(axis=1)


@pytest.mark.parametrize("space", [{}, {"whitened": False}, {"logarithmic": True}], ids=str)
def test_minor_is_the_least_component_of_the_contrasts_of_dn_in_every_space(space: dict):
    made, size = fitted(**space), 30
    dn, valid = image(1, size, size), mask(1, size, size)
    x, good = Input(made)(dn, valid), valid[0, 0].numpy() > 0
    found = head_of(("minor", {"target_px": 2.0}), made)
    found.fit(lambda: iter([(View(x, valid, x), valid)]))
    level = np.clip(dn[0].double().numpy(), made.floor[:, None, None], made.ceiling[:, None, None])
    contrast = np.full((3, size, size), np.nan)
    for i, j in np.argwhere(good):
        contrast[:, i, j] = ring_contrast(level, good, i, j)
    c = contrast[:, good]
    own = np.sqrt((c**2).mean(axis=1))
    direction = np.linalg.svd((c / own[:, None]).T, full_matrices=False)[2][-1] / own
    y = np.einsum("b,bhw->hw", direction, contrast)
    y /= np.sqrt((y[good] ** 2).mean())
    out = found(View(x, valid, x))[0].double().numpy()
    for i, j in np.argwhere(good)[::29]:
        near = np.s_[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
        assert np.allclose(out[:, i, j].sum(), np.nanmean(y[near] ** 2), rtol=1e-2, atol=1e-4)
        parts = (direction * contrast[:, i, j]) ** 2
        assert np.allclose(out[:, i, j] / out[:, i, j].sum(), parts / parts.sum(), atol=1e-2)


def test_minor_asks_what_colour_a_contrast_has_and_not_how_large_it_is():
    rng, side = np.random.default_rng(0), 64
    ground = 1000 + 100 * rng.normal(size=(1, side, side)) * np.ones((3, 1, 1))  # grey, but for noise
    ground += 5 * rng.normal(size=(3, side, side))
    grey, red = ground.copy(), ground.copy()
    grey[:, 30:34, 30:34] += 200
    red[2, 30:34, 30:34] += 100
    made = normalize.fit(ground.reshape(3, -1).T, whitened=True, logarithmic=True, ridge=1e-3)
    found, valid = head_of(("minor", {}), made), torch.ones(1, 1, side, side)

    def peak(dn: np.ndarray) -> float:
        x = Input(made)(torch.tensor(dn[None], dtype=torch.float32), valid)
        if dn is ground:
            found.fit(lambda: iter([(View(x, valid, x), valid)]))
        return float(found(View(x, valid, x)).sum(dim=1)[0, 31:33, 31:33].mean())

    calm = peak(ground)
    assert max(calm, peak(grey)) < 3 and peak(red) > 30


def test_the_least_component_is_neither_a_band_without_contrast_nor_the_difference_of_a_band_from_itself():
    c = np.random.default_rng(0).normal(size=(3, 5000)) * np.array([[1.0], [2.0], [0.1]])
    c[1] += c[0]
    twin = c[:1] * (1 + 1e-6 * np.random.default_rng(1).normal(size=(1, 5000)))  # but for rounding
    for sample in (c, np.concatenate([c, twin, np.zeros((1, 5000))])):
        weight = least(sample @ sample.T / 5000)
        assert np.isclose(((weight @ sample) ** 2).mean(), 1) and not weight[4:].any()
        assert abs(weight).max() < 1e3  # rounding, brought to a mean square of 1, has weights of millions
    assert least(np.zeros((3, 3))).tolist() == [0, 0, 0]


def test_latent_is_the_mahalanobis_distance_of_the_code_from_the_chosen_codes():
    made, ridge = fitted(), 0.01
    view, valid = seen(made, size=30)
    chosen = view.valid * mask(1, 30, 30, 0.5, 3)
    found = head_of(("latent", {"ridge": ridge}), made)
    found.fit(lambda: iter([(view, chosen)]))
    code = view.code[0].double().numpy()
    sample = code[:, chosen[0, 0].numpy() > 0]
    covariance = np.cov(sample, bias=True)
    inverse = np.linalg.inv(covariance + ridge * np.trace(covariance) / 2 * np.eye(2))
    away = code - sample.mean(axis=1)[:, None, None]
    expected = np.einsum("ihw,ij,jhw->hw", away, inverse, away)
    shares = found(view)[0].numpy()
    assert np.allclose(shares.sum(axis=0)[valid], expected[valid], rtol=1e-3)
    squares = (in_bands(made, view.x - view.reconstruction) - made.mean[:, None, None]) / made.spread[
        :, None, None
    ]
    assert np.allclose(shares / shares.sum(axis=0), squares**2 / (squares**2).sum(axis=0), atol=1e-3)


def test_codes_at_a_stride_are_counted_once_a_chosen_pixel():
    found = detector("conv", ("latent", {}))
    view = found.view(*(z for z in (torch.randn(1, 3, 21, 18), torch.ones(1, 1, 21, 18))))
    coarse = found.model(view.x, view.valid).code
    assert view.code.shape[-2:] == (21, 18) and coarse.shape[-2:] == (6, 5)
    assert torch.equal(view.code[..., 9, 14], coarse[..., 2, 3])


def brute_far(features: np.ndarray, bank: np.ndarray, shares: int) -> np.ndarray:
    """Squared distance of (n, D) to the farthest of those of (m, D) that are nearest in each share."""
    distances = ((features[:, None] - bank[None]) ** 2).sum(axis=2)
    return np.max([part.min(axis=1) for part in np.split(distances, shares, axis=1)], axis=0)


PARTS = {
    "pixel": lambda view, around: view.x,
    "residual": lambda view, around: view.x - view.reconstruction,
    "code": lambda view, around: view.code,
    "context": lambda view, around: around,
}


@pytest.mark.parametrize(
    "of", ["pixel", "residual", "code", "context", "pixel+residual", "code+0.5*pixel+context"]
)
def test_memory_is_the_distance_to_the_farthest_nearest_of_parts_of_unit_spread(of: str):
    made = fitted()
    view, valid = seen(made, size=16)
    found = head_of(("memory", {"of": of, "size": 400, "shares": 4}), made)  # all chosen pixels, some twice
    found.fit(lambda: iter([(view, view.valid)]))
    around = found.context(view)
    parts = []
    for part in of.split("+"):
        weight, _, name = part.rpartition("*")
        z = PARTS[name](view, around)[0].double().numpy().reshape(-1, 256).T
        chosen = z[valid.ravel()]
        spread = np.sqrt(chosen.var(axis=0).sum()) if "+" in of else 1.0
        parts.append(z / spread * float(weight or 1))
    features = np.concatenate(parts, axis=1)
    scale = np.abs(features).max()
    remembered = found.bank.vectors.double().numpy()
    known = features[valid.ravel()]
    assert max(((r - known) ** 2).sum(axis=1).min() for r in remembered) < 1e-9 * scale**2
    expected = brute_far(features, remembered, 4)
    assert np.allclose(found(view)[0].sum(dim=0).numpy().ravel(), expected, rtol=1e-3, atol=1e-6 * scale**2)


def test_the_bands_share_the_distance_by_how_the_remembered_pixel_differs():
    made = fitted()
    view, _ = seen(made, size=12)
    found = head_of(("memory", {"of": "residual+pixel", "size": 20, "shares": 2}), made)
    found.fit(lambda: iter([(view, view.valid)]))
    joined = torch.cat([z * found.scales[i] for i, z in enumerate(found.parts(view))], dim=1)
    _, index = found.bank.in_shares(joined, 2)
    pixel = found.bank.vectors[:, 3:] / found.scales[1]
    difference = view.x - pixel[index].permute(0, 3, 1, 2)
    squares = found.to_bands(difference) ** 2
    shares = found(view)
    assert torch.allclose(
        shares / shares.sum(dim=1, keepdim=True), squares / squares.sum(dim=1, keepdim=True), atol=1e-3
    )


@pytest.mark.parametrize("coreset", [False, True])
def test_a_memory_of_pixels_alone_in_one_share_is_the_architecture_of_that_name(coreset: bool):
    made = fitted(common=True, ridge=10.0)
    params = {"size": 50, "coreset": coreset}
    inputs, tiles = Input(made), []
    for i in range(2):
        valid = mask(1, 24, 24, seed=i)
        tiles.append((inputs(image(1, 24, 24, i), valid), valid, valid))
    maps = []
    for net, score in (("memory", ("whitened", {})), ("rx", ("memory", params | {"shares": 1}))):
        model = net_of(net, **(params | {"nearest": 1} if net == "memory" else {}))
        found = Detector(made, model, [head_of(score, made)], Mapping(MapSettings(), 1)).eval()
        if net == "memory":
            model.fit(lambda: iter(tiles))
        found.settle(lambda: iter(tiles))
        with torch.no_grad():
            maps.append(found(image(1, 24, 24, 7), mask(1, 24, 24, seed=7))[0])
    assert torch.allclose(*maps, rtol=1e-3, atol=1e-6)


def test_memory_needs_as_much_memory_as_its_bank_is_large():
    made = fitted()
    for name in ("memory",):
        assert head(HeadSettings(name=name, params={"size": 77, "shares": 7}), made).cells == 77 // PIECES + 1
        assert MODELS.build(name, {"size": 77}, lambda found, p: found.build(3, p)).cells == 77 // PIECES + 1
    assert SCORES.takes("memory", "of")


def test_a_constant_code_is_no_division_by_zero():
    made = normalize.fit(np.random.default_rng(0).normal(100, 5, (500, 3)), whitened=True)
    view, _ = seen(made)
    flat = view._replace(code=torch.ones_like(view.code))
    for score in (("latent", {}), ("memory", {"of": "pixel+code"})):
        found = head_of(score, made)
        found.fit(lambda: iter([(flat, flat.valid)]))
        assert torch.isfinite(found(flat)).all()
