"""Terminal sessions in the README and in docs are typed here, on a small scene, and print what the pages show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import typed
from sessions import Step, steps
from shared import Shared

from satae.demo import run as demo
from satae.demo import synthetic

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if list(steps(page))]
FIRST = ("satae tile scene.tif", "satae train")  # what pages begin with is done once for all of them
BRIEF = ("--epochs", "2", "--set", "train.min_steps=4")  # the default recipe, in seconds


def said(step: Step) -> str:
    """What a command of a session prints; training is cut short, and what is wrong with that is left out."""
    brief = BRIEF if step.words[0] == "train" else ()
    result = typed(*step.words, *brief)
    assert result.exit_code == 0, f"{step.page}: $ {step.command}\n{result.stderr}"
    lines = result.stdout.splitlines(keepends=True)
    return "".join(line for line in lines if not (brief and line.startswith("! ")))


def begun(shared: Shared) -> Path:
    """A folder with a small made-up scene in which FIRST was typed; what was printed lies beside it."""

    def begin(folder: Path) -> None:
        demo.write(synthetic.scene(height=192, width=224, seed=2), folder / "scene.tif")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for number, command in enumerate(FIRST):
                (folder / f"said{number}").write_text(said(Step("all pages", command, ())))

    return shared.made("session", begin)


def test_the_readme_and_the_tutorial_have_sessions_of_the_commands() -> None:
    typed_in = {page.name: {step.words[0] for step in steps(page)} for page in PAGES}
    assert typed_in["README.md"] >= {"tile", "train", "score"}
    assert typed_in["tutorial.md"] >= {"info", "tile", "train", "score", "export"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_session_prints_what_the_page_shows(
    page: Path, shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(begun(shared), folder)
    monkeypatch.chdir(folder)
    for step in steps(page):
        known = folder / f"said{FIRST.index(step.command)}" if step.command in FIRST else None
        printed = known.read_text() if known else said(step)
        assert step.shows(printed), f"{page.name}: $ {step.command}\nprints\n{printed}"


@pytest.mark.parametrize(
    ("lines", "printed", "same"),
    [
        (("a: 20 of 3.77e-07",), "a: 3 of 1,024.5\n", True),
        (("a: 20",), "a: none\n", False),
        (("a", "b"), "a\n", False),
        (("a",), "a\nb\n", False),
        (("a", "...", "d"), "a\nb\nc\nd\n", True),
        (("a ... z",), "a b c z\n", True),
        ((), "", True),
        ((), "a\n", False),
    ],
)
def test_a_line_that_is_missing_new_or_different_is_noticed(
    lines: tuple[str, ...], printed: str, same: bool
) -> None:
    assert Step("page", "satae tile", lines).shows(printed) is same


def test_sessions_are_read_as_they_are_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ satae tile a.tif  # cut\nout\n\n$ satae train\n```\ntext\n```console\n$ satae info\n```\n"
    )
    found = [(step.words, step.lines) for step in steps(page)]
    assert found == [(["tile", "a.tif"], ("out",)), (["train"], ()), (["info"], ())]
