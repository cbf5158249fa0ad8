"""Objects and areas in one result: which models may share it, what a scene is called for each, how many scenes it has.

A scene is in such a result once a kind, each time with a row, a heatmap and regions of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from satae.errors import ConfigError

KINDS = "object", "area"


def check(names: Sequence[str], kinds: Sequence[str]) -> None:
    """ConfigError where two models of these names look for one kind of thing."""
    for kind, number in Counter(kinds).items():
        if number == 1:
            continue
        alike = [name for name, own in zip(names, kinds, strict=True) if own == kind]
        raise ConfigError(
            f"{' and '.join(alike)} look for one kind of thing, {kind}s; name one model for objects and one for "
            "areas (`satae train --set target.kind=area`), or ask for a second opinion by --baseline"
        )


def name_of(scene: str, kind: str, first: str) -> str:
    """What a result calls a scene as a model for one kind sees it; for the `first` model it keeps its name."""
    # a name of its own, so that heatmaps, decisions and thresholds of two kinds are never mixed
    return scene if kind == first else f"{scene}-{kind}"


def scenes_in(results: Iterable[tuple[str, str]]) -> int:
    """Of how many scenes some results are, each given as its files and its kind: of a scene there is one a kind."""
    most: dict[str, int] = {}
    # one file may be several scenes, as with other options in a table
    for (files, _), number in Counter(results).items():
        most[files] = max(most.get(files, 0), number)
    return sum(most.values())
