"""Sequence models: each date from the others, beside refits by numpy, and in ONNX what they are in torch."""

import numpy as np
import onnxruntime
import pytest
import torch

from satae.models import sequence
from satae.models.sequence import SequenceDetector, seasonal
from satae.training import sequence as export


def example(dates=30, bands=3, side=(4, 5), seed=0, n=2):
    """A season with noise and gaps on irregular days: sequence, valid, days."""
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(1200, (n, dates)), axis=1).astype(np.float32)
    wave = 100 * np.sin(2 * np.pi * days / 365.25)[:, :, None, None, None]
    x = 1000 + wave + rng.normal(0, 15, (n, dates, bands, *side))
    valid = (rng.random((n, dates, 1, *side)) > 0.25).astype(np.float32)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(valid), torch.tensor(days)


def model(name, bands=3, **params):
    torch.manual_seed(0)
    return sequence.build(name, bands, params).eval()


def test_the_seasonal_model_expects_what_a_fit_without_the_date_does():
    x, valid, days = example()
    with torch.no_grad():
        found = model("seasonal", rounds=0)(x, valid, days)
    t = (days.numpy().astype(float) - days.numpy().astype(float).mean(axis=1, keepdims=True)) / 365.25
    for n, date, row, col in [(0, 3, 1, 2), (1, 17, 0, 0), (0, 29, 3, 4), (1, 0, 2, 3)]:
        good = valid[n, :, 0, row, col].numpy() > 0
        count = good.sum()
        a = 2 * np.pi * t[n]
        terms = np.stack([np.ones_like(a), t[n], np.cos(a), np.sin(a), np.cos(2 * a), np.sin(2 * a)], axis=1)
        values = x[n, :, :, row, col].numpy().astype(float)
        middle = values[good].mean(axis=0)
        rest = good.copy()
        rest[date] = False
        penalty = np.where(count < np.array(seasonal.NEEDED), seasonal.ABSENT, np.array(seasonal.RIDGE))
        rows = np.concatenate([terms[rest], np.diag(np.sqrt(penalty))])
        right = np.concatenate([values[rest] - middle, np.zeros((6, 3))])
        wanted = terms[date] @ np.linalg.lstsq(rows, right, rcond=None)[0] + middle
        np.testing.assert_allclose(found.mean[n, date, :, row, col], wanted, atol=0.05)


@pytest.mark.parametrize("name", sequence.NAMES)
def test_what_a_date_holds_has_no_part_in_what_is_expected_of_it(name):
    x, valid, days = example()
    other = x.clone()
    other[:, 7] += 40 if name == "seasonal" else 4000
    with torch.no_grad():
        one = model(name, **({"rounds": 0} if name == "seasonal" else {}))(x, valid, days).mean[:, 7]
        two = model(name, **({"rounds": 0} if name == "seasonal" else {}))(other, valid, days).mean[:, 7]
    good = valid[:, 7].expand_as(one) > 0
    # the mean of the pixel is taken off with the date in it, and given back: a rounding, and the ridge's share of it
    assert (one - two)[good].abs().max() < 0.2


@pytest.mark.parametrize("name", sequence.NAMES)
def test_what_is_not_valid_has_no_effect(name):
    x, valid, days = example()
    detector = SequenceDetector(model(name), torch.eye(3) / 15)
    spoilt = torch.where(valid > 0, x, torch.full_like(x, float("nan")))
    with torch.no_grad():
        for one, two in zip(detector(x, valid, days), detector(spoilt, valid, days), strict=True):
            assert torch.equal(one, two) and torch.isfinite(two).all()


@pytest.mark.parametrize("name", sequence.NAMES)
def test_onnx_equals_torch_for_other_numbers_of_dates_rows_and_columns(name):
    detector = SequenceDetector(model(name), torch.tensor(np.diag([0.1, 0.07, 0.05]), dtype=torch.float32))
    content = export.to_onnx(detector, 3).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for dates, side, n in ((30, (4, 5), 2), (13, (7, 3), 1), (5, (1, 1), 3)):
        x, valid, days = example(dates, side=side, n=n)
        with torch.no_grad():
            ours = detector(x, valid, days)
        feed = {"sequence": x.numpy(), "valid": valid.numpy(), "days": days.numpy()}
        for one, two in zip(ours, session.run(list(sequence.OUTPUTS), feed), strict=True):
            span = max(1.0, float(np.ptp(one.numpy())))
            assert np.abs(one.numpy() - two).max() / span < 1e-4


def trained(name, x, valid, days):
    """A model of the first place, by 250 steps on its pixels where it has weights."""
    found = model(name)
    if name != "seasonal":
        cube, good = (a[0].flatten(2).squeeze(1) for a in (x, valid))
        losses = export.fit(found, cube, good, days[0], torch.full((3,), 15.0), steps=150, seed=0)
        assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
    return found


@pytest.mark.parametrize("name", sequence.NAMES)
def test_a_changed_date_stands_out(name):
    x, valid, days = example(n=1, dates=40)
    found = trained(name, x, valid, days)
    changed = x.clone()
    changed[:, 12] += 150
    with torch.no_grad():
        error, bands, _ = SequenceDetector(found, torch.eye(3) / 15)(changed, valid, days)
        mean = found(x, valid, days).mean
    good = valid[:, 12] > 0
    assert error[:, 12][good].median() > 20 > 4 > error[:, 20:][valid[:, 20:] > 0].median()
    np.testing.assert_allclose(bands.sum(dim=2), error[:, :, 0], rtol=1e-4, atol=1e-4)
    # the season of 100 DN is expected to a third of it: noise has 15
    assert (mean - x)[valid.expand_as(x) > 0].std() < 33


def test_the_graph_scores_as_satae_series_does(monkeypatch):
    from satae.series import detector as tool
    from satae.series import seasonal as numbers

    needed = (1, numbers.TREND_NEEDED, *np.repeat(numbers.NEEDED, 2))
    assert (
        numbers.RIDGE, needed, numbers.ABSENT, tool.HELD_OUT,
    ) == (seasonal.RIDGE, seasonal.NEEDED, seasonal.ABSENT, seasonal.LEAST)  # fmt: skip
    x, valid, days = example(n=1)
    cube, good = x[0].reshape(30, 3, -1).numpy(), valid[0].reshape(30, -1).numpy() > 0
    white = np.array([[0.1, 0, 0], [0.02, 0.07, 0], [0, -0.01, 0.05]])
    rules = tool.Rules("seasonal", tuple(map(float, days[0])), np.full(3, 1000.0), white)

    def both(rounds):
        monkeypatch.setattr(tool, "ROUNDS", rounds)
        _, square, _ = tool._fitted(rules, cube, good)
        graph = SequenceDetector(model("seasonal", rounds=rounds), torch.tensor(white, dtype=torch.float32))
        with torch.no_grad():
            found = graph(x, valid, days)[0]
        return square[good], found[0].reshape(30, -1).numpy()[good]

    numpy, torch_ = both(0)
    np.testing.assert_allclose(torch_, numpy, rtol=2e-3, atol=2e-3)
    # weights differ: a median of squares there, their mean here, for ONNX has no median; so alike, and not equal
    numpy, torch_ = both(1)
    assert np.corrcoef(numpy, torch_)[0, 1] > 0.99
