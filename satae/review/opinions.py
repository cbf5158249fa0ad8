"""What a reviewer says of a region: a status, a label and a note, and who said it when."""

from __future__ import annotations

from dataclasses import dataclass, replace

from satae.errors import ResultError
from satae.gis.columns import REVIEW_STATUSES

LONGEST_NOTE = 2000
LONGEST_LABEL = 40


@dataclass(frozen=True)
class Opinion:
    """What a reviewer says of one region. One that is read may hold whatever other programs wrote."""

    status: str = REVIEW_STATUSES[0]
    label: str = ""
    note: str = ""

    def check(self) -> Opinion:
        """Check the opinion and give it back; ResultError where satae would not write it."""
        if self.status not in REVIEW_STATUSES:
            raise ResultError(f"{self.status!r} is no status; there are {', '.join(REVIEW_STATUSES)}")
        if len(self.label) > LONGEST_LABEL or not (self.label == "" or self.label.isprintable()):
            raise ResultError(f"a label is one line of at most {LONGEST_LABEL} characters")
        if len(self.note) > LONGEST_NOTE or "\0" in self.note:
            raise ResultError(f"a note is text of at most {LONGEST_NOTE} characters")
        return self


@dataclass(frozen=True)
class Entry:
    """An opinion and its revision, a number that grows with every change of any region, whoever made it.

    `by` and `time` say who it was and when, as ISO 8601; empty where nobody said.
    """

    opinion: Opinion
    revision: int
    by: str = ""
    time: str = ""


def label_names(text: str) -> tuple[str, ...]:
    """Up to nine names between commas; ResultError where they are not."""
    names = tuple(name.strip() for name in text.split(","))
    if not 1 <= len(names) <= 9 or len(set(names)) < len(names) or "" in names:
        raise ResultError(f"--labels {text} is not a list of one to nine different names such as ship,roof")
    for name in names:
        replace(Opinion(), label=name).check()
    return names
