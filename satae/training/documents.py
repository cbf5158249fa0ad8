"""What a run leaves in its folder for people: curves, reconstructions, the diagnosis and the numbers behind it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from satae import composite, models
from satae.config import Recipe
from satae.console import Bar
from satae.detector import graph
from satae.nn.checkpoint import Epoch
from satae.publish import publish_all, staging
from satae.tiles.split import spread_evenly
from satae.tiles.store import TileSet
from satae.training import diagnosis, figures
from satae.training.calibration import Block
from satae.training.evidence import Evidence, Tiles, gather
from satae.training.feed import Feed
from satae.training.loop import TrainedModel

DIAGNOSIS = "diagnosis.md"
EVIDENCE = "evidence.json"  # the last that a run writes before its model
FIGURES = ("curves.png", "history.csv", "reconstructions.png", DIAGNOSIS, EVIDENCE)
COLUMNS = ("epoch", "train_loss", "val_loss", "learning_rate", "gradient_norm", "clipped")
SHOWN_TILES = 500  # training tiles whose quality is looked at
LOOKED = 60_000  # pixels of training and of held-out tiles on which a run is diagnosed

Indices = npt.NDArray[np.int64]


def document(
    sets: Sequence[TileSet],
    recipe: Recipe,
    trained: TrainedModel,
    detector: graph.Detector,
    scored: Sequence[Block],
    run: Path,
    bar: Bar,
) -> list[str]:
    """Write FIGURES to the run folder; gives the findings. `scored` are the blocks of the calibration; `bar`
    counts what is measured, and the figures."""
    history = trained.state.history
    losses = [e.train_loss for e in history], [e.val_loss for e in history]
    bar.total = 1  # the figures; as many as are measured are added
    seen = _evidence(sets, recipe, trained, bar)
    found = diagnosis.findings(seen)
    with staging(run / FIGURES[0]) as folder:
        curves, table, rebuilt, report, evidence = (folder / name for name in FIGURES)
        figures.curves(curves, *losses, trained.state.best_epoch, seen.mean_loss, *_beside(seen))
        table.write_text(history_table(history), encoding="utf-8", newline="\n")
        figures.reconstructions(rebuilt, _worst_and_median(sets, trained, detector, scored))
        report.write_text(diagnosis.report(seen, found), encoding="utf-8")
        evidence.write_text(seen.json(), encoding="utf-8")
        publish_all([(folder / name, run / name) for name in FIGURES])
    bar.add(1)
    return [str(f) for f in found]


def history_table(history: Sequence[Epoch]) -> str:
    """The epochs as CSV, for a spreadsheet: what history.jsonl has but for seconds and single layers."""
    names = list(dict.fromkeys(name for epoch in history for name in epoch.measures))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*COLUMNS, *names])
    for epoch in history:
        rows.writerow([*(getattr(epoch, c) for c in COLUMNS), *(epoch.measures.get(n, "") for n in names)])
    return text.getvalue()


def _evidence(sets: Sequence[TileSet], recipe: Recipe, trained: TrainedModel, bar: Bar) -> Evidence:
    """What the run shows on some of its tiles."""
    context = models.Traits.of(trained.model).context
    tiles = feed(sets, recipe, trained, context=context)
    at_once = 1 if context else None  # with what is seen around it a tile is ten times as large
    learned, held_out = (tiles.some(where, LOOKED) for where in (trained.split.train, trained.split.held_out))
    return gather(
        trained.model,
        recipe,
        trained.state,
        quality(sets, trained.split.train),
        lambda: tiles.plain(learned, hide=True, batch=at_once),
        lambda: tiles.plain(held_out, batch=at_once),
        bar,
    )


def quality(sets: Sequence[TileSet], where: Indices) -> Tiles:
    """How good the training tiles are, by evenly spread ones of them."""
    some = spread_evenly(where, SHOWN_TILES)
    valid = [float(sets[s].valid[t].mean()) for s, t in some]
    flat = [_constant(sets[s].images[t][:, sets[s].valid[t]]) for s, t in some]
    inside = float(np.mean([_inside(sets[s], t) for s, t in some]))
    # as wide as the narrowest scene, or of half the size where that is wide enough
    narrow = min(min(sets[s].grid.height, sets[s].grid.width) for s, _ in some)
    smaller = min(narrow, max(1, sets[0].record.size // 2))
    return Tiles(len(where), float(np.mean(valid)), float(np.mean(flat)), inside, smaller)


def _inside(tiles: TileSet, tile: int) -> float:
    """The share of a tile's pixels that lie in the scene."""
    part = tiles.window(tile).within(tiles.grid.window)
    return 0.0 if part is None else part.height * part.width / tiles.record.size**2


def _constant(pixels: npt.NDArray[Any]) -> bool:
    """Whether pixels (B, n) are all the same."""
    return bool((pixels == pixels[:, :1]).all())


def _beside(seen: Evidence) -> tuple[float, str]:
    """For the curves: what the PCA costs in the loss of the run, NaN where that is another; and its error in
    words."""
    if seen.pca_mse is None:
        return math.nan, ""
    weight = seen.recipe.objective.terms.get("mse", math.nan)
    alone = len(seen.recipe.objective.terms) == 1
    told = f"held-out squared error {seen.mse:.3g}, PCA of the same code {seen.pca_mse:.3g}"
    return weight * seen.pca_mse if alone else math.nan, told


@torch.no_grad()
def _worst_and_median(
    sets: Sequence[TileSet], trained: TrainedModel, detector: graph.Detector, scored: Sequence[Block]
) -> list[tuple[str, Any, Any, Any]]:
    """Rows for `figures.reconstructions`: the two held-out tiles with the largest score, the two in the middle."""
    chosen = extremes(scored, trained.split.held_out)
    return [(title, *_pictures(*tensors(sets, where), trained, detector)) for where, title in chosen]


def extremes(scored: Sequence[Block], held_out: Indices) -> list[tuple[Indices, str]]:
    """(set, tile) of the two held-out tiles with the largest peak and of the two in the middle, and what they are."""
    known = {(int(s), int(t)) for s, t in held_out}
    peaks = [
        (peak, tuple(where)) for b in scored for where, peak in zip(b.tiles.tolist(), b.peaks, strict=True)
    ]
    order = [np.array(where) for _, where in sorted(peaks, key=lambda p: -p[0]) if where in known]
    middle = len(order) // 2
    titles = {0: "worst", min(1, middle): "second worst"} if middle else {0: "worst"}
    for i in (middle, min(middle + 1, len(order) - 1)):
        titles.setdefault(i, "median")
    return [(order[i], title) for i, title in titles.items()]


def _pictures(
    image: torch.Tensor, valid: torch.Tensor, trained: TrainedModel, detector: graph.Detector
) -> tuple[Any, Any, Any]:
    """A tile (1, B, H, W), its reconstruction and its anomaly map as they are shown."""
    scores, _, _, rebuilt = (output.numpy() for output in detector(image, valid))
    good = valid[0, 0].numpy() > 0
    low, high = trained.normalizer.low, trained.normalizer.high
    shown, expected = (composite.rgb(dn, low, high, good) for dn in (image[0].numpy(), rebuilt[0]))
    return shown, expected, np.where(good, scores[0, 0], np.nan)


def feed(sets: Sequence[TileSet], recipe: Recipe, trained: TrainedModel, context: int = 0) -> Feed:
    """The tiles as the model sees them, on the CPU, with `context` pixels around each."""
    inputs = graph.Input(trained.normalizer)
    return Feed(sets, inputs, recipe, trained.split, torch.device("cpu"), context)


def tiles(sets: Sequence[TileSet], where: Indices) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Images (n, B, H, W) in DN and `valid` (n, H, W) of tiles, (set, tile) pairs (n, 2)."""
    return np.stack([sets[s].images[t] for s, t in where]), np.stack([sets[s].valid[t] for s, t in where])


def tensors(sets: Sequence[TileSet], where: Indices) -> tuple[torch.Tensor, torch.Tensor]:
    """Image (1, B, H, W) and `valid` (1, 1, H, W) of one tile, as a detector takes them."""
    image, valid = tiles(sets, where[None])
    return torch.from_numpy(image.astype(np.float32)), torch.from_numpy(valid[:, None].astype(np.float32))
