"""The notebook is run, cell by cell, and shows what is stored in it: text by its words, pictures pixel by pixel."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sessions import like

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-hour.ipynb"


def runner() -> Any:
    spec = importlib.util.spec_from_file_location("notebook", PAGE.with_name("notebook.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text(output: dict[str, Any]) -> str:
    lines = output.get("text") or output["data"]["text/plain"]
    return re.sub(r" +", " ", "".join(lines).rstrip("\n"))


def alike(stored: list[dict[str, Any]], found: list[dict[str, Any]]) -> bool:
    """Whether outputs say the same, any number standing for any other, and pictures show the same."""
    if [o["output_type"] for o in stored] != [o["output_type"] for o in found]:
        return False
    for old, new in zip(stored, found, strict=True):
        pattern = " *\n".join(like(line).rstrip(" *") for line in text(old).split("\n"))
        if not re.fullmatch(pattern, text(new)) or set(old.get("data", ())) != set(new.get("data", ())):
            return False
        if "image/png" in old.get("data", {}):
            images = [picture(each["data"]["image/png"]) for each in (old, new)]
            if images[0].shape != images[1].shape or np.abs(images[0] - images[1]).mean() > 8:
                return False
    return True


def picture(encoded: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        return np.asarray(image.convert("RGB"), float)


def test_the_notebook_shows_what_its_cells_give(tmp_path: Path) -> None:
    notebook = json.loads(PAGE.read_text(encoding="utf-8"))
    stored = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = runner().run(notebook, tmp_path)
    assert any("image/png" in o.get("data", {}) for outputs in stored for o in outputs)
    wrong = [
        n for n, (old, new) in enumerate(zip(stored, found, strict=True), start=1) if not alike(old, new)
    ]
    assert wrong == [], f"cells {wrong} show something else: run python docs/notebook.py and look"


def test_it_is_small_and_names_no_path_of_a_machine() -> None:
    content = PAGE.read_text(encoding="utf-8")
    assert len(content) < 200_000 and not re.search(r"/(home|root|tmp|work|Users)/", content)
    notebook = json.loads(content)
    numbers = [c["execution_count"] for c in notebook["cells"] if c["cell_type"] == "code"]
    assert numbers == list(range(1, len(numbers) + 1)) and notebook["nbformat"] == 4


@pytest.mark.parametrize(
    ("source", "same"), [("print(7, 'tiles')", True), ("print(7, 'scenes')", False), ("x = 7", False)]
)
def test_another_output_is_noticed(source: str, same: bool, tmp_path: Path) -> None:
    stored = [{"output_type": "stream", "name": "stdout", "text": ["43 tiles\n"]}]
    (found,) = runner().run({"cells": [{"cell_type": "code", "source": [source]}]}, tmp_path)
    assert alike(stored, found) is same


def test_the_value_of_the_last_line_is_shown_and_a_page_that_is_too_large_is_not(tmp_path: Path) -> None:
    source = (
        "class Page:\n    def __repr__(self): return 'a page'\n    def _repr_html_(self): return 'x' * size\n"
    )
    cells = [{"cell_type": "code", "source": [source + f"size = {n}\nPage()"]} for n in (5, 50_000)]
    small, large = runner().run({"cells": cells}, tmp_path)
    assert small[0]["data"] == {"text/plain": ["a page"], "text/html": ["xxxxx"]}
    assert large[0]["data"] == {"text/plain": ["a page"]}
