"""Training of a network over dates on the history of one place, and its file, compared with torch before it is used.

The loop is that of `satae train`. A sample is a pixel, and a batch an episode of some pixels: what a part of the
history left is to be expected from the rest and, up to a date that is drawn, from what the part's own first dates left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import torch
from scipy import stats
from torch import Tensor, nn

import satae
from satae.config import Recipe
from satae.errors import ConfigError, ModelError
from satae.inference import network, runtime
from satae.inference.card import Parity, now
from satae.inference.sequences import Episode, Network, Place, SequenceCard, Tell, Trainer
from satae.models import Output, sequence
from satae.models.sequence import OUTPUTS, SURE, SequenceDetector
from satae.objectives import Objective
from satae.training.export import IR_VERSION, OPSET, PARITY
from satae.training.feed import Batch, shuffled_batches
from satae.training.loop import Task, descend
from satae.training.tracing import Trace
from satae.training.translation import TRANSLATIONS

EXAMPLE = 2, 7, 9, 11  # sequences, dates, rows and columns that the detector is run on to be written down
TAIL = 4.0  # degrees of freedom of the distribution that is predicted: clouds and changes are in any history
CALM = 3.0  # deviations from which on a date of the part itself is not looked at, as `satae series` has it
COMPARED = 256  # pixels

Indices = npt.NDArray[np.int64]


def trainer(recipe: Recipe) -> Trainer:
    """What learns a network by a recipe; ConfigError where the recipe is of none."""
    if recipe.model.name not in sequence.LEARNED:
        raise ConfigError(
            f"model.name = {recipe.model.name}: a series is learned by {' or '.join(sequence.LEARNED)}"
        )
    return lambda episodes, place, tell: train(episodes, place, recipe, tell)


def train(
    episodes: Sequence[Episode], place: Place, recipe: Recipe, tell: Tell = lambda done, total: None
) -> Network:
    """The network of a place, in ONNX Runtime. Raises ConfigError, DivergedError, and ModelError as `to_onnx`."""
    cfg, pixels = recipe.train, episodes[0].left.shape[2]
    torch.manual_seed(cfg.seed)
    model = sequence.build(recipe.model.name, len(place.bands), recipe.model.params)
    order = np.random.default_rng([cfg.seed, 8]).permutation(pixels)
    held_out, learned = np.split(order, [max(1, round(cfg.validation * pixels))])
    source = Episodes(episodes, cfg.seed, cfg.batch)
    task = Task(
        model, source, learned if len(learned) else held_out, held_out, recipe, Objective(recipe.objective),
        torch.device("cpu"), forward=lambda left, seen: _output(model, left, seen),
    )  # fmt: skip
    state = descend(task, report=lambda done, total, epoch: tell(done, total))
    best = state.history[state.best_epoch - 1]
    detector = SequenceDetector(model, torch.eye(len(place.bands))).eval()
    content = to_onnx(detector, len(place.bands)).SerializeToString(deterministic=True)
    _, seen, _ = next(iter(source.plain(held_out[:COMPARED])))
    card = SequenceCard(
        satae_version=satae.__version__,
        created=now(),
        architecture=recipe.model.name,
        parameters=dataclasses.asdict(sequence.SEQUENCES.params(recipe.model.name, recipe.model.params)),
        weights=sum(p.numel() for p in model.parameters()),
        recipe=recipe.model_dump(),
        metrics={"train_loss": best.train_loss, "val_loss": best.val_loss},
        parity=parity(detector, content, *_inputs(seen)),
        **dataclasses.asdict(place),
    )
    return network.network_of(content, card)


class Episodes:
    """Batches of the episodes of a place.

    A batch is what a part left (date, B, 1, pixel), what the model is given, and which of it counts (date, 1, 1,
    pixel). Given are, of all dates in order, what they left, whether that is known, the day, and whether the date is of
    the part: (date, B + 3, 1, pixel).
    """

    def __init__(self, episodes: Sequence[Episode], seed: int, batch: int) -> None:
        self.episodes, self.seed, self.batch = episodes, seed, batch

    def batches(self, where: Indices, epoch: int, at_least: int) -> list[Indices]:
        """Pixels of each step of an epoch."""
        wanted = max(len(where), at_least * min(self.batch, len(where)))
        return shuffled_batches(where, min(self.batch, len(where)), wanted, [self.seed, 9, epoch])

    def training(self, where: Indices, epoch: int, step: int) -> Batch:
        """An episode at random, of which some dates are hidden, and its part known up to a date."""
        rng = np.random.default_rng([self.seed, 10, epoch, step])
        episode = self.episodes[int(rng.integers(len(self.episodes)))]
        seen = episode.seen[:, :, where].copy()
        seen[rng.random(len(seen)) > rng.uniform(0.5, 1)] = np.nan
        # half of the time nothing comes after, as when a place is monitored
        if rng.random() < 0.5:
            seen[episode.days > episode.days_left[0]] = np.nan
        return self._of(episode, seen, where, int(rng.integers(len(episode.left))))

    def plain(self, where: Indices) -> Iterator[Batch]:
        """All episodes of pixels, each with nothing known of its part."""
        for start in range(0, len(where), self.batch):
            part = where[start : start + self.batch]
            for episode in self.episodes:
                yield self._of(episode, episode.seen[:, :, part], part, 0)

    def tiles(self, where: Indices) -> list[str]:
        """Pixels by number."""
        return [f"pixel {w} of the sample" for w in where]

    def _of(self, episode: Episode, seen: npt.NDArray[np.float32], where: Indices, known: int) -> Batch:
        left = episode.left[:, :, where]
        shown = left.copy()
        shown[known:] = np.nan
        # what is far from what was expected is not learned from when a place is monitored
        shown[np.broadcast_to((shown**2).mean(axis=1, keepdims=True) >= CALM**2, shown.shape)] = np.nan
        days = np.concatenate([episode.days, episode.days_left])
        order, part = np.argsort(days, kind="stable"), np.arange(len(days)) >= len(episode.days)
        every = np.concatenate([seen, shown])[order]
        flat = np.ones((len(days), 1, len(where)), np.float32)
        good = np.isfinite(every[:, :1]).astype(np.float32)
        given = [np.nan_to_num(every), good, flat * days[order, None, None], flat * part[order, None, None]]
        counted = np.isfinite(left[:, :1]).astype(np.float32)
        # dates that are known have no part in the loss: each of them is looked at by itself
        counted[:known] = 0
        arrays = np.nan_to_num(left), np.concatenate(given, axis=1).astype(np.float32), counted
        x, entered, count = (torch.from_numpy(a)[:, :, None] for a in arrays)
        return x, entered, count


def _inputs(given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`sequence`, `valid` and `days` of what the model is given."""
    bands = given.shape[1] - 3
    return given[None, :, :bands], given[None, :, bands : bands + 1], given[None, :, bands + 1, 0, 0]


def _output(model: nn.Module, left: Tensor, given: Tensor) -> Output:
    """What is expected of a part, and how improbable what it left is, by Student's distribution over bands."""
    found = model(*_inputs(given))
    part = given[:, -1, 0, 0] > 0
    mean, variance, bands = found.mean[0, part], found.variance[0, part], left.shape[1]
    square = ((left - mean) ** 2).sum(dim=1, keepdim=True) / (1 + variance)
    # over the least that there can be, so that it is never negative
    surprise = (TAIL + bands) / 2 * torch.log1p(square / TAIL) + bands / 2 * (
        torch.log1p(variance) + 2 * SURE
    )
    return Output(mean, surprise=surprise)


def to_onnx(detector: SequenceDetector, bands: int) -> onnx.ModelProto:
    """The graph of a detector; N, T, H and W are dynamic. Raises ModelError where a call has no translation."""
    n, dates, rows, cols = EXAMPLE
    # values that are all alike would make what follows from them constants of no account
    values = torch.rand(n, dates, bands, rows, cols)
    valid = torch.ones(n, dates, 1, rows, cols)
    days = torch.arange(dates).float()[None] * 20 + torch.zeros(n, 1)
    trace = Trace(detector.eval(), TRANSLATIONS)
    for name, value in (("sequence", values), ("valid", valid), ("days", days)):
        trace.bind(value, name)
    with torch.no_grad(), trace:
        outputs = detector(values, valid, days)
    proto = trace.model(
        {"sequence": ("N", "T", bands, "H", "W"), "valid": ("N", "T", 1, "H", "W"), "days": ("N", "T")},
        {
            name: (made, ("N", "T", made.shape[2], "H", "W"))
            for name, made in zip(OUTPUTS, outputs, strict=True)
        },
        OPSET,
    )
    proto.ir_version = IR_VERSION
    onnx.checker.check_model(proto)
    return proto


@torch.no_grad()
def parity(detector: SequenceDetector, content: bytes, values: Tensor, valid: Tensor, days: Tensor) -> Parity:
    """Torch beside ONNX Runtime on sequences; ModelError where outputs differ by more than PARITY of their range."""
    session = runtime.open_session(content, "the exported network")
    # the dates as they are, and fewer of them
    worst, ranks = 0.0, []
    for kept in (slice(None), slice(None, None, 2)):
        feed = [values[:, kept], valid[:, kept], days[:, kept]]
        theirs = session.run(
            list(OUTPUTS), dict(zip(("sequence", "valid", "days"), (f.numpy() for f in feed), strict=True))
        )
        for one, other in zip(detector(*feed), theirs, strict=True):
            ours = one.numpy()
            worst = max(worst, float(np.abs(ours - other).max()) / max(1.0, float(np.ptp(ours))))
            ranks.append(
                float(stats.spearmanr(ours.ravel(), other.ravel()).statistic) if np.ptp(ours) else 1.0
            )
    if not worst <= PARITY:
        raise ModelError(
            f"the exported network differs from torch by {worst:.1e} of its range, limit {PARITY:.0e}; it was not "
            "written"
        )
    return Parity(tiles=2, largest_difference=worst, share_of_range=worst, rank_correlation=min(ranks))
