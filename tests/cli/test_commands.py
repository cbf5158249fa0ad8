"""What is documented of the command line is what there is: all of it, and nothing else."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from satae.cli import app
from satae.cli.manual import MANUAL

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SATAE = "import sys; sys.argv[0] = 'satae'; from satae.cli.app import main; main()"
EVERYWHERE = {"-h", "--help"}
# written about and not there yet
PENDING: set[str] = set()
# satae, then words up to the end of the line, a comment or the next command
CALLED = re.compile(r"(?<![\w./-])satae(?= [a-z-])([^`#;&|>\n]*)")
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.M | re.S)


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from walk(below, f"{name} {child}")


COMMANDS: dict[str, Any] = dict(walk(typer.main.get_command(app.app), "satae"))
LEAVES = sorted(name for name, command in COMMANDS.items() if not hasattr(command, "commands"))


def options(name: str) -> set[str]:
    """The options of a command as they are typed."""
    return {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")}


def section(name: str) -> str:
    text = (ROOT / "docs" / "commands.md").read_text()
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, f"docs/commands.md has no section on {name}; run python docs/commands.py"
    return found[1]


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every command line of satae in the code of a page: its command, and the options that it is given."""
    plain = FENCED.sub("", text)
    typed = re.findall(r"^\$ .*$", "".join(FENCED.findall(text)), re.M)
    code = "\n".join([*typed, *re.findall(r"^    .*$", plain, re.M), *re.findall(r"`([^`]+)`", plain)])
    for words in (found.split() for found in CALLED.findall(code.replace("\\\n", " "))):
        while words and words[0].startswith("-"):  # of the program itself
            yield "satae", [words.pop(0)]
        name = "satae"
        while words and f"{name} {words[0]}" in COMMANDS:
            name = f"{name} {words.pop(0)}"
        if words and hasattr(COMMANDS[name], "commands") and words[0].islower():
            name = f"{name} {words.pop(0)}"  # no such command
        yield name, [w.partition("=")[0].strip("[],.)") for w in words if re.match("--?[a-z]", w)]


def test_the_page_of_commands_is_what_help_says() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "commands.py"))["page"]()
    assert (ROOT / "docs" / "commands.md").read_text() == made, "run python docs/commands.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    cells = re.findall(r"^\| `(.*?)` \|", section(name), re.M)
    documented = {o for cell in cells for o in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", cell)}
    assert options(name) - EVERYWHERE <= documented
    assert documented <= options(name)


def test_no_section_is_about_a_command_that_is_not_there() -> None:
    headings = re.findall(r"^## (satae.*)$", (ROOT / "docs" / "commands.md").read_text(), re.M)
    assert headings == list(COMMANDS)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_pages_type_no_command_or_option_that_is_not_there(path: Path) -> None:
    wrong = [
        f"{name} {' '.join(given)}"
        for name, given in calls(path.read_text())
        if name not in PENDING and (name not in COMMANDS or set(given) - options(name) - EVERYWHERE - PENDING)
    ]
    assert wrong == []


def test_the_reader_of_command_lines_notices_what_is_wrong() -> None:
    text = "    $ satae -q fly\nsay `satae score --nothing=1 --top 2`; satae is a tool\n    satae bench had X --far 2"
    text += "\n```console\n$ satae dive --deep\nsatae says hello\n```\nsatae is `a tool`"
    assert list(calls(text)) == [
        ("satae dive", ["--deep"]),
        ("satae", ["-q"]),
        ("satae fly", []),
        ("satae bench had", ["--far"]),
        ("satae score", ["--nothing", "--top"]),
    ]


@pytest.mark.parametrize("name", LEAVES)
def test_help_of_every_command_has_an_example_to_type(name: str) -> None:
    code = [*name.split()[1:], "--help"]
    done = subprocess.run([sys.executable, "-c", SATAE, *code], capture_output=True, text=True, check=True)
    examples = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith(name)]
    assert examples
    for line in examples:
        for called, given in calls(f"    {line}"):
            assert called == name and set(given) <= options(name)


def test_the_manual_is_about_commands_that_there_are() -> None:
    assert {f"satae {name}" for name in MANUAL} <= set(COMMANDS)


def completing(**variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, "-c", SATAE], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --command satae")]
)
def test_the_script_for_completion_is_printed(shell: str, mark: str) -> None:
    script = completing(_SATAE_COMPLETE=f"source_{shell}")
    assert mark in script and "_SATAE_COMPLETE" in script
    found = shutil.which(shell)
    if found:  # the shell itself takes the script
        subprocess.run([found, "-n", "/dev/stdin"], input=script, text=True, check=True, capture_output=True)


def test_words_are_completed_for_each_shell() -> None:
    bash = completing(_SATAE_COMPLETE="complete_bash", COMP_WORDS="satae s", COMP_CWORD="1")
    assert bash.split() == ["score", "series"]
    bash = completing(_SATAE_COMPLETE="complete_bash", COMP_WORDS="satae score --th", COMP_CWORD="2")
    assert bash.split() == ["--threshold"]
    zsh = completing(_SATAE_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="satae bench i")
    assert "inject" in zsh
    fish = completing(
        _SATAE_COMPLETE="complete_fish",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_ARGS="satae tr",
    )
    assert fish.split()[0] == "train"


def test_completion_works_in_bash_itself(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    program = tmp_path / "satae"
    program.write_text(f"#!{sys.executable}\n{SATAE}\n")
    program.chmod(0o755)
    (tmp_path / "script").write_text(completing(_SATAE_COMPLETE="source_bash"))
    typed = (
        "source script; COMP_WORDS=(satae tra); COMP_CWORD=1; _satae_completion satae; echo ${COMPREPLY[@]}"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "-c", typed], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["train"]


def test_show_completion_prints_the_script_of_the_shell_that_asks(tmp_path: Path) -> None:
    pytest.importorskip("shellingham")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    program = tmp_path / "satae"
    program.write_text(f"#!{sys.executable}\n{SATAE}\n")
    program.chmod(0o755)
    done = subprocess.run(
        [bash, "-c", f"{program} --show-completion; true"], capture_output=True, text=True, timeout=60
    )
    assert "_satae_completion" in done.stdout


def test_pictures_that_pages_show_are_there_and_small() -> None:
    shown = {(p.parent / name) for p in PAGES for name in re.findall(r"!\[.+?\]\((.+?)\)", p.read_text())}
    assert {p.name for p in (ROOT / "docs" / "pictures").iterdir()} == {
        p.name for p in shown if "pictures" in p.parts
    }
    assert all(p.stat().st_size < 300_000 for p in shown)


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+?)(?:#[\w-]+)?\)", page.read_text()):
            assert (page.parent / link).exists() or link in PENDING, f"{page.name}: {link}"
