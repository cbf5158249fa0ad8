"""Runs a notebook's cells in a plain interpreter and writes what they show into it: python docs/notebook.py

It needs no Jupyter. tests/docs/test_notebook.py runs the same cells and compares.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).with_name("first-hour.ipynb")
LARGEST = 20_000  # characters of a page that is kept; a report is one of several hundred thousand


def run(notebook: dict[str, Any], folder: Path) -> list[list[dict[str, Any]]]:
    """The outputs of each code cell, as a notebook keeps them, when all are run one after the other in a folder."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        return [_outputs("".join(c["source"]), names) for c in notebook["cells"] if c["cell_type"] == "code"]


def _outputs(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    # the value of a last line that is an expression is shown
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None  # type: ignore[attr-defined]
    found: list[dict[str, Any]] = []
    if text := printed.getvalue():
        found.append({"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)})
    if value is not None:
        found.append({"data": _shown(value), "metadata": {}, "output_type": "execute_result"})
    return found


def _shown(value: Any) -> dict[str, Any]:
    """A value in the forms in which Jupyter shows it: text, and a page or picture where it has one."""
    # an address would be another one each time
    text = re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(value))
    shown: dict[str, Any] = {"text/plain": text.splitlines(keepends=True)}
    if hasattr(value, "_repr_png_"):
        shown["image/png"] = base64.b64encode(value._repr_png_()).decode()
    page = value._repr_html_() if hasattr(value, "_repr_html_") else None
    if page and len(page) < LARGEST:
        shown["text/html"] = page.splitlines(keepends=True)
    return shown


def main() -> None:
    """Run the notebook and write it back."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        outputs = run(notebook, Path(folder))
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    for number, (cell, found) in enumerate(zip(cells, outputs, strict=True), start=1):
        counted = [
            {**f, "execution_count": number} if f["output_type"] == "execute_result" else f for f in found
        ]
        cell |= {"execution_count": number, "outputs": counted}
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
