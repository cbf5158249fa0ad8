"""Decisions move ranks as laws say, whatever the numbers: alike ones follow, unlike ones stay, nobody goes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from rows import grid, layer
from scipy import optimize, special, stats

from satae.decisions import preference
from satae.decisions.decisions import ACCEPTED, REJECTED, Decisions
from satae.decisions.preference import chances, normal_scores, odds, prefer
from satae.gis.columns import LAYERS, Region, by_rank

RNG = np.random.default_rng(0)
WIDTH = 6


def regions(count: int = 40) -> list[Region]:
    """Regions whose scores fall by a tenth, in two kinds: the even ones look bright, the odd ones dark."""
    looks = (
        np.random.default_rng(0).normal(size=(count, WIDTH)) * 0.1
        + np.where(np.arange(count) % 2, -1, 1)[:, None]
    )
    (like,) = layer(grid()).regions
    return [
        replace(like, anomaly_id=f"r{i}", score=6 - 0.1 * i, peak=1.0, signature=json.dumps(look.tolist()))
        for i, look in enumerate(looks)
    ]


def decided(rows: list[Region], **statuses: str) -> Decisions:
    """Decisions on regions that look exactly as these rows do."""
    chosen = {row.anomaly_id: row for row in rows}
    table = [
        {"kind": chosen[name].kind, "signature": chosen[name].signature, "review_status": status}
        for name, status in statuses.items()
    ]
    frame = geopandas.GeoDataFrame(
        table, columns=list(LAYERS["anomalies"]), geometry=[shapely.box(0, 0, 1, 1)] * len(table)
    )
    return Decisions(Path("reviewed.gpkg"), frame)


def order(rows: list[Region]) -> list[str]:
    return [row.anomaly_id for row in by_rank(rows)]


def test_without_decisions_the_ranks_are_those_of_the_score() -> None:
    rows = regions()
    before = order(rows)
    rows, told = prefer(rows, decided(rows))
    assert order(rows) == before == [f"r{i}" for i in range(40)]
    assert (told.accepted, told.rejected, told.unusable, told.moved) == (0, 0, 0, 0)
    assert all(math.isnan(row.feedback) for row in rows)


@pytest.mark.parametrize("status", [ACCEPTED, REJECTED])
def test_what_looks_like_an_accepted_region_rises_and_like_a_rejected_one_falls(status: str) -> None:
    rows = regions()
    before = order(rows)
    rows, told = prefer(rows, decided(rows, r20=status))
    feedback = {row.anomaly_id: row.feedback for row in rows}
    sign = 1 if status == ACCEPTED else -1
    alike, unlike = ([sign * feedback[f"r{i}"] for i in range(k, 40, 2)] for k in (0, 1))
    assert min(alike) > 0 and np.mean(alike) > 2 * np.abs(unlike).mean()
    assert sign * feedback["r20"] == max(alike)
    moved = before.index("r20") - order(rows).index("r20")
    assert sign * moved > 0
    assert told.moved == sum(a != b for a, b in zip(before, order(rows), strict=True)) > 0


def test_nobody_disappears_and_no_score_changes() -> None:
    rows = regions()
    scores = {row.anomaly_id: row.score for row in rows}
    rows, _ = prefer(rows, decided(rows, r0=REJECTED, r2=REJECTED, r1=ACCEPTED, r3=ACCEPTED))
    assert sorted(order(rows)) == sorted(scores)
    assert {row.anomaly_id: row.score for row in rows} == scores
    assert order(rows) != list(scores)


def test_a_decision_and_its_opposite_on_one_look_move_nothing() -> None:
    rows = regions(8)
    twice = decided(rows, r0=ACCEPTED, r1=ACCEPTED, r2=REJECTED, r3=REJECTED)
    twice.frame["signature"] = rows[0].signature
    rows, _ = prefer(rows, twice)
    assert np.allclose([row.feedback for row in rows], 0, atol=1e-9)


def test_more_decisions_of_a_kind_move_more_but_never_without_bound() -> None:
    rows = regions()
    fall = []
    for count in (1, 3, 10, 20):
        found, _ = prefer(rows, decided(rows, **{f"r{2 * i}": REJECTED for i in range(count)}, r1=ACCEPTED))
        fall.append(-found[0].feedback)
    assert fall == sorted(fall) and fall[0] > 0
    assert fall[-1] < 3 * preference.STRENGTH / math.log(10)


def test_decisions_without_a_signature_of_this_kind_are_counted_and_not_used() -> None:
    rows = regions()
    made = decided(rows, r0=REJECTED, r1=REJECTED, r2=REJECTED, r3=ACCEPTED, r4=ACCEPTED)
    made.frame["signature"] = ["", "[1, 2]", '{"a": 1}', "[NaN, 1, 1, 1, 1, 1]", rows[4].signature]
    rows, told = prefer(rows, made)
    assert (told.accepted, told.rejected, told.unusable) == (1, 0, 4)
    assert rows[4].feedback > 0


def test_decisions_on_areas_move_areas_alone() -> None:
    rows = regions()
    areas = [replace(row, kind="area", anomaly_id=f"a{row.anomaly_id}") for row in rows]
    mixed, told = prefer([*rows, *areas], decided([*rows, *areas], r0=REJECTED, ar1=ACCEPTED))
    for mine, row in ((rows, "r0"), (areas, "ar1")):
        status = REJECTED if row == "r0" else ACCEPTED
        expected = [region.feedback for region in prefer(mine, decided(mine, **{row: status}))[0]]
        assert [r.feedback for r in mixed if r.kind == mine[0].kind] == expected
    assert (told.accepted, told.rejected, told.unusable) == (1, 1, 0)
    # of a result of one kind those on the other are left out, and older results do not tell
    _, told = prefer(rows, decided([*rows, *areas], ar1=ACCEPTED))
    assert (told.accepted, told.unusable, told.moved) == (0, 1, 0)
    older = decided(rows, r0=REJECTED)
    older.frame["kind"] = ""
    assert prefer(areas, older)[1].rejected == 1


def test_a_result_without_regions_takes_any_decision() -> None:
    assert prefer([], decided(regions(), r0=REJECTED))[1].moved == 0


def test_only_the_order_of_each_number_matters() -> None:
    known, new = RNG.normal(size=(12, 4)), RNG.normal(size=(30, 4))
    accepted = np.arange(12) % 3 == 0
    other = [np.exp(side * [1, 2, 0.1, 3]) * 1000 - 7 for side in (known, new)]
    assert np.allclose(odds(known, accepted, new), odds(other[0], accepted, other[1]))


def test_normal_scores_are_quantiles_of_ranks() -> None:
    values = np.array([[3.0], [1.0], [2.0], [2.0]])
    assert np.allclose(normal_scores(values)[:, 0], stats.norm.ppf(np.array([4, 1, 2.5, 2.5]) / 5))


def test_the_mode_is_that_of_the_posterior() -> None:
    """Found by a general optimiser over the latent log-odds, in numbers whitened by the covariance."""
    known, new = RNG.normal(size=(15, 3)), RNG.normal(size=(5, 3))
    accepted = RNG.random(15) < 0.4
    scores = normal_scores(np.concatenate([known, new]))
    apart = ((scores[:, None] - scores[None]) ** 2).mean(axis=2)
    kernel = preference.STRENGTH**2 * np.exp(-apart / (2 * preference.LENGTH**2))
    root = np.linalg.cholesky(kernel[:15, :15] + 1e-12 * np.eye(15))
    prior, sign = special.logit((accepted.sum() + 1) / 17), np.where(accepted, 1, -1)

    def loss(white: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign * (root @ white + prior)).sum() + white @ white / 2)

    latent = root @ optimize.minimize(loss, np.zeros(15), method="BFGS", options={"gtol": 1e-9}).x
    expected = kernel[15:, :15] @ np.linalg.solve(kernel[:15, :15], latent) / math.log(10)
    assert np.allclose(odds(known, accepted, new), expected, atol=1e-4)


def test_chances_are_the_posterior_averaged_over_what_it_is_unsure_of() -> None:
    """Against the formula with inverses written out, and quadrature over the logistic function."""
    known, new = RNG.normal(size=(9, 3)), RNG.normal(size=(6, 3))
    accepted = np.arange(9) % 3 == 0
    scores = normal_scores(np.concatenate([known, new]))
    apart = ((scores[:, None] - scores[None]) ** 2).mean(axis=2)
    kernel = preference.STRENGTH**2 * np.exp(-apart / (2 * preference.LENGTH**2))
    prior = special.logit((accepted.sum() + 1) / 11)
    mean = odds(known, accepted, new) * math.log(10) + prior
    # the mode at the decisions themselves solves f = K (y - p)
    latent = optimize.fsolve(
        lambda f: f - kernel[:9, :9] @ (accepted - special.expit(f + prior)), np.zeros(9), xtol=1e-12
    )
    p = special.expit(latent + prior)
    inverse = np.linalg.inv(kernel[:9, :9] + np.diag(1 / (p * (1 - p))))
    deviation = np.sqrt(np.diag(kernel[9:, 9:] - kernel[9:, :9] @ inverse @ kernel[:9, 9:]))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    wanted = special.expit(mean[:, None] + deviation[:, None] * nodes) @ weights / weights.sum()
    assert np.abs(chances(known, accepted, new) - wanted).max() < 0.02  # the probit is close to the logistic


def test_chances_are_even_without_decisions_and_keep_to_the_prior_far_from_them() -> None:
    new = RNG.normal(size=(4, 3))
    assert chances(np.zeros((0, 3)), np.zeros(0, bool), new).tolist() == [0.5] * 4
    assert len(chances(new, np.ones(4, bool), np.zeros((0, 3)))) == 0
    known = np.zeros((6, 3)) + np.arange(6)[:, None] / 1e3
    far = np.full((1, 3), 50.0)
    sure = chances(known, np.ones(6, bool), np.concatenate([known, far]))
    assert sure[:6].min() > sure[-1] > 0.5  # nearly all were accepted, and these look like them
