"""Terminal sessions in pages: what is typed in them, and whether what is printed is what they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"\d[\d.,]*(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Step:
    """A command of a session, and the lines that it prints."""

    page: str
    command: str
    lines: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """What is typed, without `satae` and comments."""
        satae, *words = shlex.split(self.command, comments=True)
        assert satae == "satae", f"{self.page}: {self.command} is no command of satae"
        return words

    def shows(self, printed: str) -> bool:
        """Whether the lines are what was printed; any number stands for any other, `...` for any text."""
        pattern = "".join(r"(?:.*\n)*" if line == "..." else f"{like(line)}\n" for line in self.lines)
        return re.fullmatch(pattern, printed) is not None


def like(line: str) -> str:
    """A pattern for a line."""
    pieces = (re.escape(NUMBER.sub("\0", piece)) for piece in line.split("..."))
    return ".*".join(pieces).replace("\0", NUMBER.pattern) + " *"


def steps(page: Path) -> Iterator[Step]:
    """The commands of all sessions of a page, in order."""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        assert block.startswith("$ "), f"{page.name}: a session begins with a command"
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *lines = part.rstrip("\n").split("\n")
            yield Step(page.name, command, tuple(lines))
