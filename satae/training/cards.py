"""The card of a trained model: what it is, what it was trained on, and how it went."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

import satae
from satae import models
from satae.config import Recipe
from satae.inference.card import Band, Card, Normalization, Parity, TrainingScene, now
from satae.tiles.store import TileSet
from satae.training.domain import training_domain
from satae.training.export import Lattice
from satae.training.loop import TrainedModel


def card(
    sets: Sequence[TileSet],
    recipe: Recipe,
    trained: TrainedModel,
    places: Lattice,
    agreed: Parity,
    device: str,
) -> Card:
    """The card of a model that is not calibrated yet; `places` and `agreed` are what was measured on it."""
    record, n, model = sets[0].record, trained.normalizer, trained.model
    best = trained.state.history[trained.state.best_epoch - 1]
    gsd = [s.grid.gsd_m for s in sets]
    none = [None] * len(record.bands)
    facts = (record.bands, record.scales, record.offsets, record.wavelengths or none, record.widths or none)
    return Card(
        satae_version=satae.__version__,
        created=now(),
        architecture=recipe.model.name,
        parameters=models.all_params(recipe.model.name, recipe.model.params),
        weights=sum(p.numel() for p in model.parameters()),
        objective=" + ".join(recipe.objective.terms),
        score=" + ".join(head.name for head in recipe.score),
        bands=[
            Band(name=name, scale=scale, offset=offset, wavelength=nm, width=width)
            for name, scale, offset, nm, width in zip(*facts, strict=True)
        ],
        dtype=record.dtype,
        gsd_m=[g for g in gsd if g is not None],
        tile=record.size,
        **dataclasses.asdict(places),
        code_size=models.Traits.of(model).code_size,
        normalization=Normalization(
            space=recipe.input.space,
            stretch="log" if n.logarithmic else "linear",
            log_floor=n.log_floor if n.logarithmic else None,
            low=n.low.tolist(),
            high=n.high.tolist(),
            floor=n.floor.tolist(),
            ceiling=n.ceiling.tolist(),
            components=len(n.whitening),
            ridge=recipe.input.ridge,
        ),
        recipe=recipe.model_dump(),
        trained_on=device,
        scenes=[_training_scene(s) for s in sets],
        metrics={"train_loss": best.train_loss, "val_loss": best.val_loss},
        parity=agreed,
        domain=training_domain(sets, trained.split.train),
        feedback=_decided(sets),
    )


def _decided(sets: Sequence[TileSet]) -> dict[str, int] | None:
    count = {kind: sum(getattr(s.heed, kind) for s in sets) for kind in ("accepted", "rejected")}
    return count if any(count.values()) else None


def _training_scene(tiles: TileSet) -> TrainingScene:
    record = tiles.record
    ring = tiles.grid.lonlat(tiles.grid.footprint())
    return TrainingScene(
        name=record.scene,
        sha256=record.sha256,
        tiles=len(tiles),
        gsd_m=tiles.grid.gsd_m,
        footprint=ring.round(7).tolist() if np.isfinite(ring).all() else [],
    )
