"""The contract of every score head, and the heads of the residual; float64 numpy says what the error must be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from detectors import EVERY_HEAD, HEADS, Named, fitted, head_of, image, mask, net_of, pixels

from satae import heads, models
from satae.config import HeadSettings
from satae.detector.graph import Input
from satae.errors import ConfigError
from satae.heads import View, apportion
from satae.nn.normalize import Normalizer

RIDGE = 0.02
RESIDUAL = pytest.mark.parametrize("name", ["whitened", "mse", "mae", "ssim", "gradient"])
SPACES = pytest.mark.parametrize("whitened", [True, False])


def made_for(whitened: bool, bands: int = 4, components: int = 32) -> Normalizer:
    return fitted(bands, whitened=whitened, ridge=RIDGE, components=components)


def residuals(made: Normalizer, size: int = 12) -> np.ndarray:
    """Residuals (2, B, H, W) in stretched bands."""
    return np.random.default_rng(1).normal(size=(2, len(made.mean), size, size)) * made.spread[:, None, None]


def contributions(head: Named, made: Normalizer, r: np.ndarray) -> np.ndarray:
    """What a head makes of stretched residuals that are brought to the space of the autoencoder."""
    n, bands, *size = r.shape
    x = Input(made)(image(n, *size, bands=bands), torch.ones(n, 1, *size))
    residual = torch.tensor(np.einsum("kb,nbhw->nkhw", made.affine, r), dtype=torch.float32)
    found = head_of(head, made)
    with torch.no_grad():
        out = found(View(x, torch.ones(n, 1, *size), x - residual, x[:, :2], (x**2).sum(dim=1, keepdim=True)))
    return out.numpy().astype(np.float64)


@EVERY_HEAD
@SPACES
@pytest.mark.parametrize("bands", [1, 3, 13])
def test_a_head_gives_one_share_a_band(head: Named, whitened: bool, bands: int):
    made = made_for(whitened, bands)
    out = contributions(head, made, residuals(made))
    assert out.shape == (2, bands, 12, 12) and np.isfinite(out).all()


@EVERY_HEAD
@SPACES
def test_the_sum_of_the_shares_is_never_negative(head: Named, whitened: bool):
    made = made_for(whitened)
    assert contributions(head, made, residuals(made)).sum(axis=1).min() >= -1e-4


@RESIDUAL
@SPACES
def test_no_residual_is_the_least_score(name: str, whitened: bool):
    made = made_for(whitened)
    least = contributions((name, {}), made, 0 * residuals(made)).sum(axis=1)
    assert np.abs(least).max() <= 1e-6
    assert contributions((name, {}), made, residuals(made)).sum(axis=1).min() > least.max()


@RESIDUAL
def test_the_space_that_the_autoencoder_sees_does_not_change_the_score_of_a_residual(name: str):
    r = residuals(made_for(True))
    one, other = (contributions((name, {}), made_for(space), r) for space in (True, False))
    assert np.allclose(one, other, rtol=1e-3, atol=1e-3)


@RESIDUAL
def test_the_band_that_errs_alone_has_the_largest_share(name: str):
    made = made_for(True)
    r = np.zeros((1, 4, 9, 9))
    r[:, 2, 4, 4] = made.spread[2]
    assert (contributions((name, {}), made, r)[:, :, 4, 4].argmax(axis=1) == 2).all()


@EVERY_HEAD
def test_a_larger_residual_at_one_pixel_is_no_smaller_a_score_there(head: Named):
    made = made_for(True)
    r = np.zeros((1, 4, 9, 9))
    scores_at = []
    for size in (0.0, 1.0, 4.0):
        r[:, :, 4, 4] = size * made.spread
        scores_at.append(contributions(head, made, r).sum(axis=1)[0, 4, 4])
    assert scores_at[0] <= scores_at[1] + 1e-4 and scores_at[1] <= scores_at[2] + 1e-4


@SPACES
def test_mse_is_the_mean_over_bands_of_squared_standard_deviations(whitened: bool):
    made = made_for(whitened)
    spread = made.stretch_values(pixels(bands=4)).std(axis=0)
    r = residuals(made)
    expected = (r / spread[:, None, None]) ** 2 / 4
    assert np.allclose(contributions(("mse", {}), made, r), expected, rtol=1e-3, atol=1e-4)


@SPACES
def test_mae_is_the_mean_over_bands_of_absolute_standard_deviations(whitened: bool):
    made = made_for(whitened)
    r = residuals(made)
    expected = np.abs(r / made.spread[:, None, None]) / 4
    assert np.allclose(contributions(("mae", {}), made, r), expected, rtol=1e-3, atol=1e-4)


@SPACES
def test_whitened_is_a_mahalanobis_distance_with_a_shrunk_covariance(whitened: bool):
    made = made_for(whitened)
    covariance = np.cov(made.stretch_values(pixels(bands=4)).T, bias=True)
    inverse = np.linalg.inv(covariance + RIDGE * np.trace(covariance) / 4 * np.eye(4))
    r = residuals(made)
    expected = np.einsum("nihw,ij,njhw->nhw", r, inverse, r)
    assert np.allclose(contributions(("whitened", {}), made, r).sum(axis=1), expected, rtol=1e-3)


def test_whitened_over_leading_components_is_the_length_of_the_whitened_residual():
    made = made_for(True, bands=13, components=5)
    r = residuals(made)
    inside = np.einsum("bk,kc,nchw->nbhw", np.linalg.pinv(made.affine), made.affine, r)
    expected = (np.einsum("kb,nbhw->nkhw", made.whitening, inside) ** 2).sum(axis=1)
    assert np.allclose(contributions(("whitened", {}), made, r).sum(axis=1), expected, rtol=1e-3)


def views_of(net: torch.nn.Module, last: int) -> list[tuple[View, torch.Tensor]]:
    """Two tiles, of which no pixel of the second is chosen; `last` is what it holds."""
    out, inputs = [], Input(fitted())
    for i, seed in enumerate((3, last)):
        valid = mask(1, 16, 16, seed=i)
        x = inputs(image(1, 16, 16, seed), valid)
        with torch.no_grad():
            made = net(x, valid)
        out.append((View(x, valid, *made[:3]), valid * (i == 0) * mask(1, 16, 16, 0.9, 7)))
    return out


FITTED = [head for head in HEADS if hasattr(head_of(head, fitted()), "fit")]


@pytest.mark.parametrize("head", FITTED, ids=str)
def test_a_head_is_fitted_to_chosen_pixels_alone_and_repeatably(head: Named):
    net = net_of("ring")

    def state(last: int) -> dict[str, torch.Tensor]:
        found, calls = head_of(head, fitted()), []

        def views() -> Iterator[tuple[View, torch.Tensor]]:
            calls.append(1)
            yield from views_of(net, last)

        found.fit(views)
        assert calls
        return found.state_dict()

    one, *others = state(0), state(0), state(1)
    assert all(torch.equal(one[key], other[key]) for other in others for key in other)
    fresh = head_of(head, fitted()).state_dict()
    assert any(fresh[key].shape != one[key].shape or not torch.equal(fresh[key], one[key]) for key in fresh)


@pytest.mark.parametrize("head", FITTED, ids=str)
def test_a_head_is_not_fitted_to_what_is_not_chosen_in_the_same_tile(head: Named):
    if "context" in head[1].get("of", ""):
        pytest.skip("looks around")
    net, states = net_of("rx"), []
    for offset in (0.0, 9.0):
        (view, chosen), _ = views_of(net, 0)
        x = torch.where(chosen > 0, view.x, view.x + offset)
        made = net(x, view.valid)
        found = head_of(head, fitted())
        found.fit(
            lambda x=x, view=view, made=made, chosen=chosen: iter([(View(x, view.valid, *made[:3]), chosen)])
        )
        states.append(found.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_an_error_is_shared_out_in_proportion_and_evenly_where_nothing_differs():
    error = torch.tensor([6.0, 6.0]).reshape(1, 1, 1, 2)
    squares = torch.tensor([[1.0, 0.0], [2.0, 0.0]]).reshape(1, 2, 1, 2)
    assert apportion(error, squares).reshape(2, 2).tolist() == [[2, 3], [4, 3]]


def test_an_unknown_score_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=rf"score.name = 'ssim9': .*{', '.join(heads.NAMES)}"):
        heads.head(HeadSettings(name="ssim9"), fitted())


def test_the_heads_that_are_promised_are_there():
    assert {"whitened", "mse", "mae", "ssim", "gradient", "edges", "latent", "memory"} <= {*heads.NAMES}


REFUSED = [
    ("mse", {"power": 2}), ("ssim", {"window": 4}), ("ssim", {"window": 1}), ("ssim", {"window": 99}),
    ("latent", {"ridge": 0}), ("latent", {"ridge": float("nan")}), ("memory", {"of": "colour"}),
    ("memory", {"of": ""}), ("memory", {"of": "pixel+pixel"}), ("memory", {"of": "x*pixel"}),
    ("memory", {"of": "-1*pixel"}), ("memory", {"of": "0*pixel"}), ("memory", {"size": 0}),
    ("memory", {"nearest": 2, "size": 1}), ("memory", {"ring": "5-3"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params"), REFUSED, ids=str)
def test_a_parameter_out_of_range_is_refused_in_one_sentence(name: str, params: dict):
    with pytest.raises(ConfigError, match=r"^score\.params[^\n]*$") as caught:
        heads.head(HeadSettings.model_construct(name=name, params=params), fitted())
    assert next(iter(params)) in str(caught.value) or "of" in params


@pytest.mark.parametrize(("name", "params"), [("latent", {}), ("memory", {"of": "code"}), ("surprise", {})])
def test_a_head_says_which_part_of_the_architecture_it_misses(name: str, params: dict):
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ConfigError, match=r"^score[^\n]*the architecture [^\n]*$"):
        head_of((name, params), fitted())(View(x, torch.ones(1, 1, 8, 8), x))


def test_every_output_of_an_architecture_but_the_spread_of_its_code_is_in_a_view():
    assert (*View._fields[3:], "log_variance") == models.Output._fields[1:]
