"""The tool inside `satae run`: what is missing is scored, what fails is tried again elsewhere, the rest is told."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from satae.batch import backlog, devices, index, journal, manifest, models, parts, places, plan, sample
from satae.batch.backlog import Backlog
from satae.batch.budget import Budget, cores
from satae.batch.cluster import Cluster, check_address
from satae.batch.journal import Journal
from satae.batch.models import RunModel
from satae.batch.plan import Line, Plan
from satae.batch.pool import Pool
from satae.batch.shard import Shard
from satae.batch.task import Means, Request, Task
from satae.batch.watch import Arrivals
from satae.batch.worker import Outcome
from satae.config import Recipe
from satae.console import SILENT, Bar, Steps, clock, quantity
from satae.errors import ConfigError, ModelError, SataeError, TrainError
from satae.gis.kinds import KINDS
from satae.inference.card import now

SCORE, LEARN = "satae.batch.work:score", "satae.batch.learn:learn"
# cells of an overview, of a scene that is the only one, and of one among many
ALONE, SHARED = 1000, 250

log = logging.getLogger(__name__)
Row = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Allowance:
    """How many scenes may fail before no more are begun: a number, or a share of those to be done."""

    number: int | None = None
    share: float | None = None

    @classmethod
    def of(cls, text: str | None) -> Allowance:
        """What `N` or `P%` means; ConfigError where it means nothing."""
        if text is None:
            return cls()
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text.strip())
        if not found or (not found[2] and "." in found[1]) or (found[2] and float(found[1]) > 100):
            raise ConfigError(f"--max-failures {text} is neither a number nor a percentage such as 5%")
        return cls(share=float(found[1]) / 100) if found[2] else cls(int(found[1]))

    def is_over(self, failed: int, total: int) -> bool:
        """Whether so many failures of so many scenes are too many."""
        most = self.number if self.share is None else math.floor(self.share * total)
        return most is not None and failed > most


@dataclass(frozen=True)
class Options:
    """How to run; without a `model` one is trained by `recipe`. `others` look for another kind of thing.

    `asked_of` gives what a row of a table asks for; `known` are the columns that are options.

    `threads` of None shares the cores out. `retry` tries again what was refused before. A `scheduler` is the address
    of dask's, whose workers take the place of `jobs`. Scenes of more than `split` bytes are scanned in blocks of rows.
    With `arrivals` only what is complete by them is scored, and what failed at an earlier look is left alone.
    """

    out: Path
    model: Path | None
    asked_of: Callable[[Row], Request]
    known: Sequence[str] = ()
    stack: bool = False
    jobs: int = 1
    memory: int | None = None
    threads: int | None = None
    device: str = "auto"
    shard: Shard = field(default_factory=Shard)
    allowance: Allowance = field(default_factory=Allowance)
    retry: bool = False
    scheduler: str | None = None
    split: int | None = None
    arrivals: Arrivals | None = None
    network: bool = False
    cache: Path | None = None
    recipe: Recipe = field(default_factory=Recipe)
    others: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A scene that was not scored, and why."""

    name: str
    path: str
    code: int
    reason: str


@dataclass(frozen=True)
class Result:
    """What a run came to: of `total` scenes `before` were there and `scored` are new; `failures` names the rest.

    With several `models` all count a scene once a model. Of those that are new some are `damaged`, and `foreign` ones,
    by name, unlike what their model was trained on. `dropped` were not brought to an end, for the reason `halt`.
    `changed` tells whether anything is other than before.
    """

    out: Path
    index: Path
    total: int
    before: int
    scored: int
    failures: tuple[Failure, ...]
    damaged: int = 0
    dropped: int = 0
    halt: str = ""
    changed: bool = True
    models: int = 1
    foreign: tuple[str, ...] = ()

    @property
    def scenes(self) -> int:
        """How many scenes the list has."""
        return self.total // self.models


def run(names: Sequence[str], options: Options, steps: Steps = SILENT) -> Result:
    """Score the scenes that are named into the folder of a run, as far as that was not done before.

    Raises ConfigError for lists, ModelError for a model that cannot be used, OutputError where the folder cannot be
    written. What a scene fails of is no error but part of the result.
    """
    is_new = not options.out.exists()
    try:
        return _run(names, options, steps)
    except SataeError:
        # of a list that cannot be read nothing is to be left
        places.tidy(options.out, whole=is_new)
        raise


def _run(names: Sequence[str], options: Options, steps: Steps) -> Result:
    out = options.out
    if options.scheduler:
        check_address(options.scheduler)
    chosen = [] if options.model is None else models.of((options.model, *options.others))
    places.make(out)
    places.sweep(out)
    chosen = chosen or models.of([_learn(names, options, steps)])
    failed = journal.failures(out)
    # what failed otherwise may do better another time: another machine, more memory, a disk with room
    seen = options.arrivals is not None and options.arrivals.looks > 1
    refused = {
        k: f for k, f in failed.items() if seen or (f["code"] == journal.REFUSED and not options.retry)
    }
    planned = _plan(names, options, chosen, refused, steps)
    first = options.asked_of(())
    asked = hashlib.sha256(first.hash().encode()).hexdigest()
    # a file for each part, so that a result of all can tell whether they were asked for the same
    parts.note(planned.path, chosen, {"asked": asked, "rule": str(first.rule), "chips": first.chips})
    tally = _Tally(planned, options)
    if len(planned.sizes):
        _score(planned, options, chosen, tally, steps)
        # an empty folder would be all that is left of them
        places.sweep(out)
    places.tidy(out)
    target = index.path_of(out, options.shard)
    changed = bool(planned.fresh or tally.tried or not target.exists())
    # a second run with nothing to do must be over at once, however many scenes there are
    if changed:
        with steps.stage("write the index"):
            index.write(out, options.shard, [planned.path])
    own = _known(planned, refused) if planned.refused else ()
    return Result(
        out, target, planned.total, planned.done, tally.scored, (*own, *tally.failures), tally.damaged,
        len(planned.sizes) - tally.scored - len(tally.failures), tally.halt, changed, len(chosen),
        tuple(tally.foreign),
    )  # fmt: skip


def _learn(names: Sequence[str], options: Options, steps: Steps) -> Path:
    """A model of a sample of the scenes, made in a process of its own."""
    if options.shard.count > 1:
        raise ConfigError(
            "--shard needs --model: train one first, with `satae train` or `satae run` on a sample"
        )
    entries = manifest.entries(names, options.known, stack=options.stack)
    with steps.stage("choose scenes to learn from"):
        scenes, _ = sample.choose(entries, options.asked_of)
        lesson = sample.lesson(
            scenes, options.out.absolute(), options.recipe, device=options.device,
            workers=options.threads or cores(), quiet=steps.quiet, network=options.network, cache=options.cache,
        )  # fmt: skip
    if sample.is_done(lesson):
        return options.out / sample.MODEL
    sample.check_places(lesson)
    before = sample.State.read(options.out)
    if before.done and before.key != lesson.key:
        log.warning(
            "another model is made, for list or options give other scenes to learn from than those of %s, and all "
            "scenes are scored with it; to score new ones alone pass --model",
            options.out / sample.MODEL,
        )
    outcomes: list[Outcome] = []

    # training tells of itself on the terminal; here only its end counts
    def tell(task: Any, outcome: Outcome, attempt: int, last: bool) -> bool:
        outcomes.append(outcome)
        return True

    Pool(LEARN, lambda: 1, tries=1).run(iter([lesson]), tell)
    for text in outcomes[0].notes:
        log.warning("%s", text)
    if outcomes[0].code:
        raise TrainError(outcomes[0].reason)
    return options.out / sample.MODEL


def _plan(
    names: Sequence[str], options: Options, chosen: Sequence[RunModel], refused: dict[str, Any], steps: Steps
) -> Plan:
    # rows of a table often ask for the same, and a hash reads the AOI that it names
    asked = lru_cache(maxsize=1024)(lambda row: options.asked_of(row).hash())
    # what is wrong with options is told before a list is read
    asked(())
    entries = entries_of(names, options)
    if options.arrivals is not None:
        entries = options.arrivals.complete(entries)
    with steps.stage("look at the scenes", 0, "scene") as bar:
        hashes = {model.kind: model.sha256 for model in chosen}
        return plan.make(options.out, options.shard, entries, asked, hashes, refused, bar.add)


def entries_of(names: Sequence[str], options: Options) -> Iterator[manifest.Entry]:
    """The entries of a run; there may be none yet where more arrive."""
    is_open = options.arrivals is not None
    # the names of a scene in a result of several kinds are its own
    ends = [f"-{kind}" for kind in KINDS] if options.others else []
    return manifest.entries(names, options.known, stack=options.stack, empty=is_open, ends=ends)


def unit_of(number: int) -> str:
    """What is counted where each scene is scored by so many models."""
    return "scene" if number == 1 else "result"


class _Tally:
    """What has become of the tasks so far, and the line that says so."""

    def __init__(self, planned: Plan, options: Options) -> None:
        self.planned, self.options = planned, options
        self.scored = self.tried = self.damaged = 0
        self.failures: list[Failure] = []
        self.foreign: list[str] = []
        self.slowest, self.name = 0.0, ""
        self.fatal = ""

    def add(self, task: Any, outcome: Outcome) -> None:
        """Take in the last attempt at a task."""
        if outcome.seconds > self.slowest:
            self.slowest, self.name = outcome.seconds, task.name
        if outcome.code:
            paths = ";".join(task.paths)
            self.failures.append(Failure(task.name, paths, outcome.code, outcome.reason))
            return
        self.scored += 1
        self.damaged += bool(outcome.value["damaged"])
        if outcome.value["foreign"]:
            self.foreign.append(task.name)

    @property
    def is_over(self) -> bool:
        """Whether no more are to be begun."""
        return self.options.allowance.is_over(len(self.failures), len(self.planned.sizes))

    @property
    def halt(self) -> str:
        """Why not all were tried."""
        return "too many had failed (--max-failures)" if self.is_over else "the cluster was lost"

    @property
    def note(self) -> str:
        """How many are done, and which took longest."""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        unit = unit_of(1 + len(self.options.others))
        done = f"{self.scored + len(self.failures):,} of {quantity(len(self.planned.sizes), unit)}{failed}"
        return done + (f"; slowest {self.name} {clock(self.slowest)}" if self.name else "")


def _score(planned: Plan, options: Options, chosen: Sequence[RunModel], tally: _Tally, steps: Steps) -> None:
    """Do what is to be done."""
    lanes = [] if options.scheduler else devices.shares(options.device)
    # none of the devices that were asked for is left idle
    wanted = max(options.jobs, len(lanes)) if options.device == "cuda" else options.jobs
    jobs = max(1, min(wanted, sum(backlog.count(size, options.split) for size in planned.sizes)))
    # K processes that each take all cores would spend their time on waiting for each other
    threads = options.threads or (1 if options.scheduler else max(1, cores() // jobs))
    budget, diary = Budget(jobs, options.memory), Journal(options.out, options.shard)
    # pictures of a thousand scenes are seen side by side, that of one alone
    is_alone = planned.total == len(chosen) and options.shard.count == 1
    side = round(ALONE / math.sqrt(len(chosen))) if is_alone else SHARED
    created = now()
    means = {
        model.kind: Means(
            options.out.absolute(), model.path, model.sha256, options.device, threads, side, created, options.network,
            options.cache,
        )
        for model in chosen
    }  # fmt: skip

    if strangers := {*places.strangers(options.out)}:
        for key in strangers - {line.key for line in plan.lines(plan.current(options.out))}:
            places.forget(options.out, key)

    def drop(task: Task) -> None:
        diary.add(journal.DROPPED, key=task.key, name=task.name)

    tasks = Backlog((_task(line, options, means) for line in planned.to_do()), options.split)
    with steps.stage("score", planned.size, "B", brief=0) as bar:
        tell = _Telling(tally, tasks, diary, budget, bar)
        try:
            crew: Pool | Cluster
            if options.scheduler:
                crew = Cluster(options.scheduler, SCORE, gpu=options.device == "cuda", dropped=drop)
            else:
                crew = Pool(
                    SCORE, lambda: budget.slots, environment=_shares(threads), lanes=lanes, dropped=drop,
                    gone=lambda number: places.sweep(options.out, dead=number),
                )  # fmt: skip
            crew.run(tasks, tell)
        finally:
            diary.close()
    if tally.fatal:
        raise ModelError(tally.fatal)


def _shares(threads: int) -> dict[str, str]:
    """What tells libraries, which look at it once when they are loaded, how many threads are theirs."""
    return {"GDAL_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}


class _Telling:
    """Writes the journal and the line of progress as attempts end, and says whether to go on."""

    def __init__(self, tally: _Tally, tasks: Backlog, diary: Journal, budget: Budget, bar: Bar) -> None:
        self.tally, self.tasks, self.diary, self.budget, self.bar = tally, tasks, diary, budget, bar

    def __call__(self, task: Any, outcome: Outcome, attempt: int, last: bool) -> bool:
        tally = self.tally
        tally.tried += 1
        # neither the scene nor its journal has anything to do with it
        if outcome.fatal:
            tally.fatal = tally.fatal or outcome.reason
            return False
        good = outcome.code == 0
        done = journal.DONE if task.block is None else journal.BLOCK
        state = done if good else journal.FAILED if last else journal.AGAIN
        said = {"code": outcome.code, "attempt": attempt, "host": outcome.host, "process": outcome.process}
        said |= {"seconds": round(outcome.seconds, 3), "cpu": round(outcome.cpu, 3)}
        said |= {"peak_mb": round(outcome.peak / 2**20, 1)}
        said |= {"reason": outcome.reason} if outcome.code else dict(outcome.value or {})
        said |= {"notes": outcome.notes} if outcome.notes else {}
        self.diary.add(state, key=task.key, name=task.name, path=";".join(task.paths), **said)
        self.budget.note(outcome.peak)
        if last:
            if self.tasks.over(task, good=good):
                tally.add(task, outcome)
                if outcome.code == journal.REFUSED:
                    places.forget(tally.options.out, task.key)
            self.bar.update(self.bar.done + task.size, tally.note)
        return not tally.is_over


def _task(line: Line, options: Options, means: Mapping[str, Means]) -> Task:
    return Task(line.name, line.key, line.paths, options.asked_of(line.options), means[line.kind], line.size)


def _known(planned: Plan, refused: dict[str, Any]) -> Iterator[Failure]:
    """Of what was refused before, that which is asked for again."""
    for line in plan.lines([planned.path]):
        if said := refused.get(line.key):
            yield Failure(line.name, ";".join(line.paths), said["code"], said["reason"])
