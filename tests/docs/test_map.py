"""The maps in README.md and CONTRIBUTING.md show what there is: all of it, and nothing else."""

import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAP = runpy.run_path(str(ROOT / "docs" / "map.py"))


def tracked() -> list[Path]:
    """The files that git knows; the test is skipped where this is no clone."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(name) for name in done.stdout.split("\0") if name]


@pytest.mark.parametrize("name", MAP["MAPS"])
def test_the_map_of_a_page_is_what_the_docstrings_say(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert MAP["BEGIN"] in text and MAP["END"] in text
    assert text == MAP["page"](name), "run python docs/map.py"


def test_everything_at_the_top_level_has_a_line() -> None:
    assert {path.parts[0] for path in tracked()} == {*MAP["TOP"], "satae"}


def test_every_file_of_the_package_has_a_line() -> None:
    whole = tuple(f"satae/{name}" for name in MAP["OTHER"])
    lines = MAP["tree"]().splitlines()
    files = [path for path in tracked() if path.parts[0] == "satae" and path.name != "__init__.py"]
    listed = [path for path in files if not path.as_posix().startswith(whole)]
    missing = [str(path) for path in listed if not any(f"- `{path.stem}` " in line for line in lines)]
    assert missing == []
    in_package = [
        line for line in lines[1 : lines.index(f"- `configs/` {MAP['TOP']['configs']}")] if "/`" not in line
    ]
    assert len(in_package) == len(listed) + sum("." in name for name in MAP["OTHER"])


def test_no_line_of_the_map_is_empty_or_cut_off() -> None:
    lines = [line.strip() for line in MAP["tree"]().splitlines()]
    assert [line for line in lines if line.endswith((",", ":")) or line.count("`") % 2] == []
