"""Sequence models: laws of what is expected of a date from the others, and in ONNX what they are in torch."""

import numpy as np
import onnxruntime
import pytest
import torch

from satae.models import sequence
from satae.models.sequence import LEARNED, SequenceDetector, seasonal
from satae.nn import ground
from satae.training import sequence as export

PLAIN = {"rounds": 0, "common": False}  # one fit by least squares, of which the laws hold exactly


def example(dates=30, bands=3, side=(4, 5), seed=0, n=2):
    """A season with noise and gaps on irregular days: sequence, valid, days."""
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(1200, (n, dates), replace=False), axis=1).astype(np.float32)
    wave = 100 * np.sin(2 * np.pi * days / 365.25)[:, :, None, None, None]
    x = 1000 + wave + rng.normal(0, 15, (n, dates, bands, *side))
    valid = (rng.random((n, dates, 1, *side)) > 0.25).astype(np.float32)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(valid), torch.tensor(days)


def left(**how):
    """What a season leaves of such dates, in deviations."""
    x, valid, days = example(**how)
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) * 2, valid, days


def model(name, bands=3, **params):
    """A model with weights, also where the first ones are 0."""
    torch.manual_seed(0)
    made = sequence.build(name, bands, params).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.2 * torch.randn(weight.shape)
    return made


def inputs(name):
    return (model(name), *left()) if name in LEARNED else (model(name, **PLAIN), *example())


def test_the_seasonal_model_expects_what_a_fit_without_the_date_does():
    x, valid, days = example()
    with torch.no_grad():
        found = model("seasonal", **PLAIN)(x, valid, days)
    t = (days.numpy().astype(float) - days.numpy().astype(float).mean(axis=1, keepdims=True)) / 365.25
    for n, date, row, col in [(0, 3, 1, 2), (1, 17, 0, 0), (0, 29, 3, 4), (1, 0, 2, 3)]:
        good = valid[n, :, 0, row, col].numpy() > 0
        a = 2 * np.pi * t[n]
        terms = np.stack([np.ones_like(a), t[n], np.cos(a), np.sin(a), np.cos(2 * a), np.sin(2 * a)], axis=1)
        penalty = np.where(good.sum() < np.array(seasonal.NEEDED), seasonal.ABSENT, np.array(seasonal.RIDGE))
        good[date] = False
        rows = np.concatenate([terms[good], np.diag(np.sqrt(penalty))])
        right = np.concatenate([x[n, :, :, row, col].numpy().astype(float)[good], np.zeros((6, 3))])
        wanted = terms[date] @ np.linalg.lstsq(rows, right, rcond=None)[0]
        np.testing.assert_allclose(found.mean[n, date, :, row, col], wanted, atol=0.05)


@pytest.mark.parametrize("name", sequence.NAMES)
def test_what_a_date_holds_has_no_part_in_what_is_expected_of_it(name):
    found, x, valid, days = inputs(name)
    other = x.clone()
    other[:, 7] += 40
    with torch.no_grad():
        one, two = found(x, valid, days), found(other, valid, days)
    good = valid[:, 7].expand_as(one.mean[:, 7]) > 0
    # the mean of the pixel is taken off with the date in it, and given back: a rounding
    limit = 0.05 if name == "seasonal" else 1e-5
    assert (one.mean - two.mean)[:, 7][good].abs().max() < limit
    assert (one.variance - two.variance)[:, 7].abs().max() < 1e-4
    # and it has a part in what is expected of the others
    assert (one.mean - two.mean)[:, 8].abs().max() > 10 * limit


@pytest.mark.parametrize("name", sequence.NAMES)
def test_what_is_not_valid_has_no_effect(name):
    found, x, valid, days = inputs(name)
    detector = SequenceDetector(found, torch.eye(3) / 15)
    spoilt = torch.where(valid > 0, x, torch.full_like(x, float("nan")))
    with torch.no_grad():
        for one, two in zip(detector(x, valid, days), detector(spoilt, valid, days), strict=True):
            assert torch.equal(one, two) and torch.isfinite(two).all()


@pytest.mark.parametrize("name", ["seasonal", "sequence_transformer"])
def test_gaps_and_the_order_of_dates_are_of_no_account(name):
    found, x, valid, days = inputs(name)
    valid[:, 5:9] = 0
    # years are counted from the middle, so that is where it was
    days[:, 5:9] = days.mean(dim=1, keepdim=True)
    kept = [i for i in np.random.default_rng(3).permutation(30) if not 5 <= i < 9]
    days[:, 5:9] = days[:, kept].mean(dim=1, keepdim=True)
    with torch.no_grad():
        whole, part = found(x, valid, days), found(x[:, kept], valid[:, kept], days[:, kept])
    np.testing.assert_allclose(
        whole.mean[:, kept], part.mean, rtol=1e-4, atol=2e-2 if name == "seasonal" else 1e-4
    )
    np.testing.assert_allclose(whole.variance[:, kept], part.variance, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", LEARNED)
def test_dates_that_are_not_valid_are_as_if_they_had_not_been(name):
    found, x, valid, days = inputs(name)
    # among the others, and after the last, where a history ends in one place and goes on in clouds in another
    gone = [0, 11, 12, 13, 28, 29]
    kept = [i for i in range(30) if i not in gone]
    valid[:, gone] = 0
    with torch.no_grad():
        whole, part = found(x, valid, days), found(x[:, kept], valid[:, kept], days[:, kept])
    for one, two in zip(whole, part, strict=True):
        np.testing.assert_allclose(one[:, kept], two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LEARNED)
def test_nothing_is_expected_after_nothing_and_at_first_nothing_at_all(name):
    x, valid, days = left()
    torch.manual_seed(0)
    first = sequence.build(name, 3, {})(x, valid, days)
    assert not first.mean.any() and not first.variance.any()
    # a series that is exactly its season leaves nothing, and no weights make an error of it
    with torch.no_grad():
        assert not model(name)(x * 0, valid, days).mean.any()
        assert model(name)(x, valid, days).mean.any()


@pytest.mark.parametrize("name", sequence.NAMES)
def test_onnx_equals_torch_for_other_numbers_of_dates_rows_and_columns(name):
    white = torch.tensor(np.diag([0.1, 0.07, 0.05]), dtype=torch.float32)
    found = model(name)
    if name == "seasonal":
        for buffer, value in (
            ("whitening", white),
            ("centre", torch.tensor(1000.0)),
            ("spread", torch.tensor(50.0)),
        ):
            getattr(found, buffer).copy_(value)
    detector = SequenceDetector(found, white)
    content = export.to_onnx(detector, 3).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    # 18 x 13 pixels are enough to tell what a date has in common
    for dates, side, n in ((30, (4, 5), 2), (13, (18, 13), 1), (5, (1, 1), 3)):
        x, valid, days = (left if name in LEARNED else example)(dates=dates, side=side, n=n)
        with torch.no_grad():
            ours = detector(x, valid, days)
        feed = {"sequence": x.numpy(), "valid": valid.numpy(), "days": days.numpy()}
        for one, two in zip(ours, session.run(list(sequence.OUTPUTS), feed), strict=True):
            span = max(1.0, float(np.ptp(one.numpy())))
            # fits by least squares in float32 are less exact than networks
            assert np.abs(one.numpy() - two).max() / span < (1e-5 if name in LEARNED else 1e-4)


def test_medians_and_regressions_of_the_graph_are_those_of_numpy():
    from satae.series import common

    rng = np.random.default_rng(5)
    x, valid = rng.normal(size=(2, 9, 3, 300)), rng.random((2, 9, 1, 300)) > 0.3
    valid[0, 4] = False
    found = ground.median(torch.tensor(x), torch.tensor(valid.astype(float)), 3).numpy()
    for n, t in ((0, 0), (1, 8)):
        np.testing.assert_allclose(found[n, t, :, 0], np.median(x[n, t][:, valid[n, t, 0]], axis=1))
    assert not found[0, 4].any()
    kinds, white = rng.normal(size=(2, 4, 300)) * 3, np.array([[1, 0.2, 0], [0, 2, 0], [0.5, 0, 1]])
    middle, spread = rng.normal(size=4), 1 + rng.random(4)
    residual = x + rng.normal(size=(2, 9, 3, 4)) @ kinds[:, None]
    known = ground.signs(*map(torch.tensor, (kinds, middle, spread)))
    double = [torch.tensor(a).double() for a in (residual, valid, white)]
    solved = ground.regress(known.double(), *double).numpy()
    for n, t in ((0, 0), (1, 3), (1, 8)):
        good = valid[n, t, 0]
        wanted = common.regress(
            common.signs(kinds[n], middle, spread)[:, good], residual[n, t][:, good], white
        )
        np.testing.assert_allclose(solved[n, t], wanted, rtol=1e-6, atol=1e-6)


def hazy():
    """DN (date, 3, row, col), valid and days of two kinds of ground, to each of which a date does its own."""
    rng = np.random.default_rng(0)
    days = np.sort(rng.choice(1300, 40, replace=False)).astype(float)
    kind = rng.integers(0, 2, (16, 16))
    wave = np.sin(2 * np.pi * days / 365.25)[:, None, None, None]
    x = (
        1000
        + rng.normal(0, 100, (3, 16, 16))
        + (100 + 200 * kind) * wave
        + rng.normal(0, 15, (40, 3, 16, 16))
    )
    x += rng.normal(0, 30, (40, 3, 1, 1)) + rng.normal(0, 30, (40, 3, 1, 1)) * kind
    return x, rng.random((40, 16, 16)) > 0.25, days


def test_the_graph_scores_as_satae_series_does_with_what_dates_have_in_common():
    from satae.series import detector as tool
    from satae.series import fits
    from satae.series import seasonal as numbers

    needed = (1, numbers.TREND_NEEDED, *np.repeat(numbers.NEEDED, 2))
    assert (numbers.RIDGE, needed, numbers.ABSENT, fits.HELD_OUT) == (
        seasonal.RIDGE, seasonal.NEEDED, seasonal.ABSENT, seasonal.LEAST,
    )  # fmt: skip
    x, valid, days = hazy()
    cube, good = x.reshape(40, 3, -1), valid.reshape(40, -1)
    rules = tool.rules_of("seasonal", days, cube, good, (2, 3))
    _, square, _ = fits.of_history(rules, cube, good)

    def graph(**params):
        made = sequence.build("seasonal", 3, params).eval()
        known = {
            "whitening": rules.whitening, "centre": rules.centre, "middle": rules.kinds[0],
            "spread": rules.kinds[1], "fewest": rules.fewest,
        }  # fmt: skip
        for name, value in known.items():
            getattr(made, name).copy_(torch.tensor(value))
        whitening = torch.tensor(rules.whitening, dtype=torch.float32)
        feed = [torch.tensor(a, dtype=torch.float32)[None] for a in (x, valid[:, None], days)]
        with torch.no_grad():
            return SequenceDetector(made, whitening)(*feed)[0][0].reshape(40, -1).numpy()[good]

    np.testing.assert_allclose(graph(), square[good], rtol=1e-3, atol=1e-3)
    assert np.median(graph(common=False)) > 2 * np.median(square[good])
