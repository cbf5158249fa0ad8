"""Steps that print nothing and remember what they were told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from satae.console import Bar, Steps


class Told(Steps):
    """`told` has title, total and what was done of every stage that came to its end."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.told: list[tuple[str, float, float]] = []

    @contextmanager
    def stage(self, title: str, total: float = 0.0, unit: str = "", *, brief: float = 0.0) -> Iterator[Bar]:
        with super().stage(title, total, unit, brief=brief) as bar:
            yield bar
        self.told.append((title, bar.total, bar.done))
