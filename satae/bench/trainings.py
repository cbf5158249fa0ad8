"""The trainings of a contest on images: one after the other, or one a device at a time, each in a process of its own.

A training is a family, a seed and the images of a class or of all. None knows of another, so that the figures are the
same wherever and in whatever order they are done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from satae.bench import cifar, lanes
from satae.bench.cifar import CLASSES, Cifar
from satae.bench.families import (
    ClassResult,
    Family,
    FittedFamily,
    Linear,
    ReconstructionResult,
    Share,
    fit,
    rebuild,
    rebuilding,
    telling,
    with_seed,
)
from satae.errors import ConfigError
from satae.training.loop import device_of

TASKS = ("reconstruction", "one-class")
FEWEST = 20  # images to learn from, of which some are held out

Row = ReconstructionResult | ClassResult
Picture = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Contest:
    """Which families take part in which task. `limit`: images to learn from, of each class with one-class, 0 for all.

    `classes` are numbers in CLASSES: with one-class each is the normal one in turn, else only they are learned
    and measured.
    """

    task: str
    families: Sequence[Family]
    classes: tuple[int, ...] = tuple(range(len(CLASSES)))
    seeds: tuple[int, ...] = (0,)
    limit: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"--task {self.task}: there are {', '.join(TASKS)}")
        if self.limit and self.limit < FEWEST:
            raise ConfigError(f"--limit {self.limit} is less than {FEWEST} images to learn from")
        for family in self.families if self.task == TASKS[0] else ():
            for setting in ("restore", "contrast"):
                if getattr(family.recipe.images, setting):
                    raise ConfigError(
                        f"{family.name} has images.{setting} on, so its error is none of the image itself; it can "
                        "take part in --task one-class"
                    )

    @property
    def tells(self) -> bool:
        """Whether one class is learned and told from the others."""
        return self.task == TASKS[1]


@dataclass(frozen=True)
class Training:
    """A family with its seed, learned from the images below `data` of a class, or for None of all that take part.

    `pictured`: what it makes of the first test images is shown.
    """

    data: Path
    contest: Contest
    family: Family
    normal: int | None
    pictured: bool

    def __str__(self) -> str:
        images = "all classes" if self.normal is None else CLASSES[self.normal]
        return f"{images}, {self.family.name}"

    @property
    def place(self) -> str:
        """Which of all it is, with its seed."""
        return f"{self}, seed {self.family.recipe.train.seed}"


@dataclass(frozen=True)
class Measurement:
    """What came of a training: its figures, and pictures by their titles."""

    row: Row
    pictures: dict[str, Picture] = field(default_factory=dict)


class Material:
    """The images of a contest, and PCA of those that were learned from last."""

    def __init__(self, images: Cifar) -> None:
        self.images = images
        self._last: tuple[object, Linear] | None = None

    def linear(self, training: Training) -> Linear:
        """PCA of the images that a training learns from; ConfigError where they are too few."""
        contest, normal = training.contest, training.normal
        key = normal, contest.classes, contest.limit
        if self._last is None or self._last[0] != key:
            chosen = contest.classes if normal is None else (normal,)
            pixels = self.images.train[np.isin(self.images.train_classes, chosen)]
            # the first ones, which are in no order
            pixels = pixels[: contest.limit] if contest.limit else pixels
            if len(pixels) < FEWEST:
                raise ConfigError(f"{training}: {len(pixels)} images to learn from are less than {FEWEST}")
            self._last = key, Linear(pixels)
        return self._last[1]

    def test(self, contest: Contest) -> tuple[Bytes, Bytes]:
        """The test images and the class of each: of all classes, where one is told from the others."""
        chosen = np.isin(self.images.test_classes, range(len(CLASSES)) if contest.tells else contest.classes)
        return self.images.test[chosen], self.images.test_classes[chosen]

    def examples(self, contest: Contest) -> Bytes:
        """The first test image of each class."""
        test, classes = self.test(contest)
        return test[np.sort(np.unique(classes, return_index=True)[1])]


def trainings(data: Path, contest: Contest) -> list[Training]:
    """All of a contest, in the order of its table."""
    normals = contest.classes if contest.tells else (None,)
    return [
        Training(
            data,
            contest,
            with_seed(family, seed),
            normal,
            pictured=normal == normals[0] and seed == contest.seeds[0],
        )
        for normal in normals
        for seed in contest.seeds
        for family in contest.families
    ]


def measure(
    training: Training, material: Material, device: str, report: Share = lambda share: None
) -> Measurement:
    """Train, and look at the test images."""
    linear, shown = material.linear(training), material.examples(training.contest)
    found = fit(linear.pixels, training.family, device_of(device), report)
    name = training.family.name
    if training.normal is not None:
        row = telling(found, linear, material.images, training.normal)
        pictures = (
            {f"{name}, {CLASSES[training.normal]}": _pictured(found, shown)} if training.pictured else {}
        )
        return Measurement(row, pictures)
    rebuilt, _ = rebuilding(found, linear, material.test(training.contest)[0])
    if not training.pictured:
        return Measurement(rebuilt)
    code = rebuilt.code
    return Measurement(
        rebuilt, {f"PCA {code}": linear.reconstruction(shown, code), name: rebuild(found, shown)}
    )


def _pictured(found: FittedFamily, pixels: Bytes) -> Picture:
    """Reconstructions as they can be shown; those of a common contrast about the middle of the range."""
    own = rebuild(found, pixels)
    return own if not found.family.recipe.images.contrast else 0.5 + 0.25 * own


def in_turn(
    todo: Sequence[Training], material: Material, device: str, progress: lanes.Progress
) -> Iterator[Measurement]:
    """The measurements of all, one training after the other in this process."""
    for done, training in enumerate(todo):

        def report(share: float, done: int = done, note: str = str(training)) -> None:
            progress(done + share, len(todo), note)

        yield measure(training, material, device, report)
        report(0.0, done + 1)


def work(training: Training) -> Measurement:
    """A training in a process that was started for it, on the device that this is shown."""
    return measure(training, _material(training.data), lanes.device())


@lru_cache(maxsize=1)
def _material(data: Path) -> Material:
    # a process does several trainings of one contest
    return Material(cifar.read(data))
