"""docs/settings.md shows every recipe and every setting as configs and code have them."""

import runpy
from pathlib import Path

from satae.training.presets import COARSE, MANY

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_recipes_say() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "settings.py"))["page"]()
    assert made == TEXT, "run python docs/settings.py"


def test_the_rule_by_which_a_recipe_is_chosen_has_the_bounds_of_the_code() -> None:
    assert f"| {MANY} bands or more |" in TEXT and f"pixels of {COARSE:g} m or more" in TEXT
