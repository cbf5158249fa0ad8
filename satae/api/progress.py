"""A function that is told how far a call is, in the place of the lines of a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from satae import interrupts
from satae.console import BRIEF, SILENT, Bar, Steps

Tell = Callable[[str, float, float], None]
"""Called with the title of a stage, how much of it is done, and how much there is to do, 0 where nobody knows."""


class Calls(Steps):
    """Stages that are told to a function, at their begin, at every change and at their end."""

    def __init__(self, tell: Tell, above: str = "") -> None:
        super().__init__(quiet=True, above=above)
        self.tell = tell

    def under(self, title: str) -> Steps:
        """Steps of what is done as a part of something else."""
        return Calls(self.tell, f"{self.above}{title}: ")

    @contextmanager
    def stage(self, title: str, total: float = 0.0, unit: str = "", *, brief: float = BRIEF) -> Iterator[Bar]:
        """The bar of a stage."""
        interrupts.check()
        bar = Bar(self.above + title, total, unit, self.now, self._told)
        self._told(bar)
        yield bar
        self.tell(bar.title, total, total)

    def _told(self, bar: Bar) -> None:
        self.tell(bar.title, bar.done, bar.total)


def steps_of(progress: Tell | Steps | None) -> Steps:
    """Steps as the tools take them; None: nobody is told."""
    if progress is None:
        return SILENT
    return progress if isinstance(progress, Steps) else Calls(progress)
