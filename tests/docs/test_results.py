"""docs/results.md shows the columns of every layer as they are written."""

import re
from pathlib import Path

import pytest

from satae.gis.columns import LAYERS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("layer", LAYERS)
def test_the_columns_of_a_layer_are_those_of_the_code(layer: str) -> None:
    section = TEXT.split(f"\n## Layer {layer}\n")[1].split("\n## ")[0]
    shown = re.findall(r"^\| `(\w+)` \| (\w+) \| (\S.*) \|$", section, re.M)
    assert shown == [(name, column.word, column.meaning) for name, column in LAYERS[layer].items()]
