"""The regions in another order: as what was decided so far would rank them, and by how little that says of each.

It is what `satae score --feedback` does, without a new result: nothing is trained, and the ranks of the file stay.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from satae.later import Later
from satae.review.store import Review

if TYPE_CHECKING:
    from satae.decisions import preference
else:
    preference = Later("satae.decisions.preference")

LATEST = 1000  # decisions that are learned from: with more the page would wait


@dataclass(frozen=True)
class Ranking:
    """What decisions say of regions: by fid, what is added to the score, and how likely the region is to be accepted.

    `older` decisions were too many, `unused` ones are on regions without a signature.
    """

    accepted: int
    rejected: int
    older: int
    unused: int
    regions: dict[int, tuple[float, float]]


def ranking_of(review: Review) -> Ranking:
    """The ranking by the decisions that are stored now; without any, or without signatures, it moves nothing."""
    _, entries = review.changes(0)
    texts = review.signatures
    known = dict(zip(texts, preference.numbers_of(texts.values()), strict=True))
    # of signatures of several lengths those that most regions have are of the sensor in question
    length = max(Counter(map(len, known.values())).items(), key=lambda pair: pair[1], default=(0, 0))[0]
    usable = {fid: numbers for fid, numbers in known.items() if len(numbers) == length > 0}
    kind_of = {row["fid"]: row["kind"] for row in review.regions}.get
    judged = [fid for fid, e in entries.items() if e.opinion.status in ("accepted", "rejected")]
    # revisions grow with time, but for those that were there before this run
    taken = sorted((f for f in judged if f in usable), key=lambda f: entries[f].revision)
    latest = taken[-LATEST:]
    # who is unsure teaches nothing
    accepted = {fid: entries[fid].opinion.status == "accepted" for fid in latest}
    regions: dict[int, tuple[float, float]] = {}
    # decisions on objects order objects, those on areas areas
    for kind in set(map(kind_of, usable if latest else ())):
        own, others = ([fid for fid in fids if kind_of(fid) == kind] for fids in (latest, usable))
        decided, every = (np.array([usable[fid] for fid in fids]) for fids in (own, others))
        judged_so = np.array([accepted[fid] for fid in own], bool)
        moved = preference.odds(decided, judged_so, every).round(4).tolist()
        chance = preference.chances(decided, judged_so, every).round(4).tolist()
        regions |= {fid: (m, c) for fid, m, c in zip(others, moved, chance, strict=True)}
    yes = sum(accepted.values())
    counts = yes, len(latest) - yes, len(taken) - len(latest), len(judged) - len(taken)
    return Ranking(*counts, regions)
