"""What `satae models` says of an architecture is counted and measured on the architecture itself."""

from __future__ import annotations

import pytest

from satae import models
from satae.cli import catalogue
from satae.cli.catalogue import architecture_row, lines, recipes


@pytest.mark.parametrize(
    ("name", "weights", "code", "patch", "frame"),
    [
        ("conv", 29_254, 2, 4, None),
        ("rx", 0, 4, 1, None),
        ("masked", 40_308, 0, 8, None),
        ("dense", 661_572, 128, 32, 32),
    ],
)
def test_weights_code_and_patch_are_those_of_the_defaults(
    name: str, weights: int, code: int, patch: int, frame: int | None
):
    found = architecture_row(name)
    assert (found["weights"], found["code"], found["patch"], found["frame"]) == (weights, code, patch, frame)
    assert found["params"] == models.all_params(name, {})


def test_the_reach_of_conv_is_what_its_layers_add_up_to():
    """By hand: a pixel at 0 is felt up to 5 by the fill of its neighbours and the first convolution; a cell k of the
    code reads 4 k - 3 to 4 k + 3, so 2 is the last; what is made of it ends at 4 k + 7."""
    last = (5 + 3) // 4
    assert 4 * last + 7 == 15
    assert architecture_row("conv")["reach"] == 15
    assert architecture_row("rx")["reach"] == 0 and architecture_row("dense")["reach"] is None


def test_the_text_has_what_is_known_of_each_family():
    rows = [
        {"kind": "architecture", "name": "net", "about": "Net: good.", "params": {"width": 4, "by": "both"},
         "weights": 12_345, "code": 6, "patch": 8, "reach": 9, "frame": None},
        {"kind": "architecture", "name": "framed", "about": "Framed.", "params": {},
         "weights": 1, "code": 0, "patch": 32, "reach": None, "frame": 32},
        {"kind": "objective", "name": "mse", "about": "Mean."},
    ]  # fmt: skip
    text = "\n".join(lines(rows))
    assert "reaches 9 px, keeps 6 numbers a patch of 8 x 8 px and 4 bands, 12,345 weights" in text
    assert "width 4, by both" in text and "sees frames of 32 px, keeps no numbers" in text
    assert len(lines(rows)) == 3 + 2 + 1 and catalogue.BANDS == 4
    # on a terminal the same words, none beyond its edge
    folded = lines(rows, 80)
    assert max(map(len, folded)) <= 80 and len(folded) > 6
    assert " ".join(folded).split() == text.split()


def test_a_recipe_is_told_in_one_whole_sentence() -> None:
    told = {row["name"]: row["about"] for row in recipes()}
    assert (
        told["cifar10_restore"].endswith("(Fei et al. 2020).")
        and told["default"] == "All settings there are."
    )
    assert all(text.endswith(".") for text in told.values())
