"""What docs/troubleshooting.md quotes is what satae says."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTES = re.findall(r"^> (.*)$", TEXT, re.M)


def sentences() -> list[str]:
    """The text in satae's sources, with a gap where a value is put in."""
    found = []
    for path in (ROOT / "satae").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%\.?\d*[a-z]", "\0", node.value))
    return found


SENTENCES = sentences()


@pytest.mark.parametrize("quote", QUOTES)
def test_what_is_quoted_is_said(quote: str) -> None:
    pieces = [re.escape(piece.strip()) for piece in quote.split("…") if piece.strip()]
    pattern = re.compile(r"[\s\0]+".join(pieces))
    assert any(pattern.search(sentence) for sentence in SENTENCES), quote


@pytest.mark.parametrize(
    "question",
    ["Everything is red", "Nothing is found", "Seams", "Nodata edges", "Wrong bands", "CUDA is not used"],
)
def test_every_question_has_an_answer_with_a_command(question: str) -> None:
    section = TEXT.split(f"\n## {question}\n")[1].split("\n## ")[0]
    assert re.search(r"^ {4,}satae \w+", section, re.M)
    assert f"](#{question.lower().replace(' ', '-')})" in TEXT
